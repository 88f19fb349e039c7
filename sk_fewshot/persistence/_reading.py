"""From a file to an estimator."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from torch import Tensor, nn

from sk_fewshot._utils.files import open_regular
from sk_fewshot._utils.memory import out_of_memory_as_such
from sk_fewshot._utils.random import with_own_generator
from sk_fewshot._utils.switches import whatever_the_switches
from sk_fewshot.persistence._consistency import complete
from sk_fewshot.persistence._container import InvalidFileError, read
from sk_fewshot.persistence._costs import Allowance, check_encoder
from sk_fewshot.persistence._fitted import check_fitted
from sk_fewshot.persistence._known import (
    CALLABLES,
    ESTIMATORS,
    FORMAT,
    OBJECTS,
    VERSIONS,
    check_rules,
)
from sk_fewshot.persistence._modules import make_object, modules_within, with_state
from sk_fewshot.transformers._base import BaseTransformer

_LARGEST_CODE_POINT = 0x10FFFF
_DEEPEST = 60  # nodes within nodes
_HIGHEST = 6  # estimators within estimators: repr takes twice as long with each
_MOST_PARTS = 300  # estimators and modules, as often as they are used


def load(path: str | os.PathLike, *, modules: Iterable[Callable] = ()) -> Any:
    """Load an estimator that :func:`save` wrote.

    No code comes from the file: it can only name classes of this package, a few of scikit-learn and
    torch, and those that you pass. All of it is checked: a checksum against damage, names,
    parameters, shapes, types and costs against malice. That makes a file of others safe to open,
    to ask for answers and to fit anew; whether its estimator decides well, nobody can tell from the
    file.

    Unlike this, ``pickle.load``, ``joblib.load`` and ``torch.load(weights_only=False)`` run what
    the file tells them to: never use them on files that you did not write yourself.

    Parameters
    ----------
    path : str or path-like
    modules : iterable of classes and functions, default=()
        Your own that the estimator was made with, as `module`, `metric`, `augment` or `optimizer`.
        The file names them by their ``__qualname__``. Their code is run, with arguments from the
        file.

    Returns
    -------
    estimator
        As it was saved, on the CPU.

    Raises
    ------
    InvalidFileError
        A ValueError: the file is damaged or hostile, or names what is not in `modules`.
    TypeError, ValueError
        If `modules` are no classes and functions, or two have the same name.
    OSError
        If the file cannot be read.
    MemoryError
        If there is too little memory for what the file holds.

    Warns
    -----
    UserWarning
        If it was saved with another major.minor version of sk_fewshot, torch or scikit-learn.

    See Also
    --------
    save : Writes the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import sk_fewshot
    >>> clf = sk_fewshot.PrototypicalClassifier("passthrough").fit([[0.0], [1.0]], ["a", "b"])
    >>> with TemporaryDirectory() as folder:
    ...     sk_fewshot.save(clf, Path(folder, "clf.skf"))
    ...     loaded = sk_fewshot.load(Path(folder, "clf.skf"))
    >>> loaded.predict([[0.9]])
    array(['b'], dtype='<U1')
    """
    own = _by_name(modules)
    with (
        open_regular(path) as file,
        torch.inference_mode(False),
        _refusing(f"{os.fspath(path)!r} is not a file that load accepts: "),
    ):
        structure, tensors = read(file)
        _check_keys(structure, {"format", "versions", "estimator"})
        if structure["format"] != FORMAT:
            raise InvalidFileError(f"its format must be {FORMAT}, got {structure['format']!r}.")
        others = _other_versions(structure["versions"])
    if others:
        warnings.warn(
            f"{os.fspath(path)!r} was saved with {', '.join(others)}. Its predictions may differ.",
            UserWarning,
            stacklevel=2,
        )
    with _refusing(f"{os.fspath(path)!r} is not a file that load accepts: "):
        return restore(structure["estimator"], tensors, own)


def restore(node: Any, tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> BaseEstimator:
    """Make the estimator that a JSON node describes.

    Raises
    ------
    InvalidFileError
        If it describes none, or not all tensors belong to it.
    """
    with _refusing(""):
        make = partial(_restored, node, tensors, own)
        return with_own_generator(make, torch.device("cpu"))


@whatever_the_switches
def _restored(node: Any, tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> BaseEstimator:
    reader = _Reader(tensors, own)
    estimator = reader.value(node)
    if not isinstance(estimator, BaseEstimator):
        raise InvalidFileError("it does not hold an estimator.")
    reader.check_all_used()
    return estimator


class _Reader:
    """Turns JSON nodes into what they describe, each tensor used once."""

    def __init__(self, tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> None:
        self._tensors = dict(tensors)
        self._own = own
        self._allowance = Allowance(sum(tensor.nbytes for tensor in tensors.values()))
        self._depth = 0
        self._made: list[tuple[Any, int, int]] = []  # with their number of parts and height
        self._n_parts = 0
        self._height = 0  # of the estimators that are within the one being made
        self._readers: dict[str, Callable[[Any], Any]] = {
            "array": self._array,
            "device": torch.device,
            "dict": self._named,
            "estimator": self._estimator,
            "float": {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}.__getitem__,
            "known": CALLABLES.__getitem__,
            "object": self._object,
            "strings": self._strings,
            "ref": self._reference,
            "scalar": self._scalar,
            "text": self._text,
            "tuple": self._tuple,
            "user": self._user,
        }

    def value(self, node: Any) -> Any:
        """Return what a node describes."""
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InvalidFileError("it is nested too deeply.")
        value = self._readers[kind](content)
        self._depth -= 1
        return value

    def check_all_used(self) -> None:
        """Check that no tensor is left."""
        if self._tensors:
            raise InvalidFileError(f"it has extra tensors: {sorted(self._tensors)[:3]}.")

    def _named(self, content: Any) -> dict[str, Any]:
        return {name: self.value(node) for name, node in content.items()}

    def _tuple(self, content: Any) -> tuple:
        _check_type(content, list)
        return tuple(self.value(item) for item in content)

    def _reference(self, index: Any) -> Any:
        if type(index) is not int or not 0 <= index < len(self._made):
            raise InvalidFileError(f"it refers to what it does not hold, {index!r}.")
        made, n_parts, height = self._made[index]
        self._count(n_parts)
        self._height = max(self._height, height)
        return made

    def _count(self, n_parts: int) -> None:
        """Count estimators and modules, as often as they are used: they may share parts."""
        self._n_parts += n_parts
        if self._n_parts > _MOST_PARTS:
            raise InvalidFileError(f"it has more than {_MOST_PARTS} estimators and modules.")

    def _user(self, name: Any) -> Any:
        if name not in self._own:
            raise InvalidFileError(
                f"it was saved with {name!r}; pass that class or function by modules=({name},)."
            )
        return self._own[name]

    def _scalar(self, name: Any) -> Any:
        array = self._tensors.pop(name).numpy()
        if array.ndim:
            raise InvalidFileError(f"{name} must be a scalar, got shape {array.shape}.")
        return array[()]

    def _array(self, content: Any) -> np.ndarray:
        name, order = content
        array = self._tensors.pop(name).numpy()
        self._made.append(({"C": array, "F": array.T}[order], 0, 0))
        return self._made[-1][0]

    def _text(self, name: Any) -> np.ndarray:
        codes = self._tensors.pop(name).numpy()  # (..., width)
        if codes.dtype != np.int32 or codes.ndim < 2 or not codes.shape[-1]:
            raise InvalidFileError(f"{name} is no array of strings.")
        if codes.size and not 0 <= codes.min() <= codes.max() <= _LARGEST_CODE_POINT:
            raise InvalidFileError(f"{name} holds what are no characters.")
        return codes.view(f"U{codes.shape[-1]}")[..., 0]

    def _strings(self, content: Any) -> np.ndarray:
        text, lengths = (self._tensors.pop(name).numpy() for name in content)
        if text.dtype != np.uint8 or lengths.dtype != np.int64 or text.ndim + lengths.ndim != 2:
            raise InvalidFileError("an array of strings is malformed.")
        ends = np.cumsum(lengths)
        if (lengths < 0).any() or ends[-1:].sum() != len(text):
            raise InvalidFileError("an array of strings has wrong lengths.")
        strings = np.empty(len(lengths), dtype=object)
        encoded = text.tobytes()
        for i, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
            strings[i] = encoded[end - length : end].decode(errors="surrogatepass")
        return strings

    def _object(self, content: Any) -> Any:
        _check_keys(content, {"class", "arguments", "state"})
        before = self._n_parts
        cls = OBJECTS[content["class"]]
        arguments = self._named(content["arguments"])
        check_rules(cls, arguments)
        state = self._state(content["state"])

        def make() -> Any:
            return make_object(cls, arguments)

        if issubclass(cls, nn.Module):
            made = with_state(make, state, modules_within(arguments), trusted=False)
        else:
            made = make()
        return self._remembered(made, before)

    def _estimator(self, content: Any) -> BaseEstimator:
        _check_keys(content, {"class", "params", "fitted", "encoder"})
        before, height_beside, self._height = self._n_parts, self._height, 0
        cls = ESTIMATORS[content["class"]]
        params = self._named(content["params"])
        if unknown := params.keys() - set(cls._get_param_names()):
            raise InvalidFileError(f"{cls.__name__} has no parameters {sorted(unknown)}.")
        check_rules(cls, params)
        estimator = cls(**params)
        if not isinstance(estimator, FrozenEstimator):
            estimator._validate_params()
        fitted = self._named(content["fitted"])
        check_fitted(cls, fitted)
        vars(estimator).update(fitted)
        if content["encoder"] is not None:
            _check_type(estimator, BaseTransformer)
            estimator.module_ = self._encoder(estimator, self._state(content["encoder"]))
        complete(estimator, self._allowance)
        height = self._height + 1
        if height > _HIGHEST:
            raise InvalidFileError(f"its estimators are more than {_HIGHEST} deep.")
        self._height = max(height, height_beside)
        return self._remembered(estimator, before, height)

    def _encoder(self, estimator: BaseTransformer, state: dict[str, Tensor]) -> nn.Module:
        """Make the encoder of a transformer; the caller's own is taken on trust."""
        trusted = estimator.module in self._own.values()
        module = with_state(estimator._make_module, state, parts=(), trusted=trusted)
        if not trusted:
            shape, n_outputs = estimator._input_shape, estimator.embedding_dim_
            check_encoder(module, shape, n_outputs, self._allowance)
        return module

    def _remembered(self, made: Any, n_parts_before: int, height: int = 0) -> Any:
        self._count(1)
        self._made.append((made, self._n_parts - n_parts_before, height))
        return made

    def _state(self, names: Any) -> dict[str, Tensor]:
        return {name: self._tensors.pop(tensor) for name, tensor in names.items()}


def _check_keys(node: Any, keys: set[str]) -> None:
    _check_type(node, dict)
    if node.keys() != keys:
        raise InvalidFileError(f"it must have {sorted(keys)} where it has {sorted(node)[:5]}.")


def _check_type(value: Any, cls: type) -> None:
    if not isinstance(value, cls):
        raise InvalidFileError(f"it has a {type(value).__name__} in place of a {cls.__name__}.")


def _other_versions(saved: Any) -> list[str]:
    """Say which versions differ in major.minor."""
    _check_keys(saved, set(VERSIONS))
    for version in saved.values():
        if not re.fullmatch(r"\d{1,6}\.\d{1,6}[\w.+-]{0,40}", version, re.ASCII):
            raise InvalidFileError("a version is malformed.")
    return [
        f"{name} {saved[name]} (here {version})"
        for name, version in VERSIONS.items()
        if saved[name].split(".")[:2] != version.split(".")[:2]
    ]


def _by_name(modules: Iterable[Callable]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if not isinstance(modules, Iterable):
        raise TypeError(f"modules must be a list of classes and functions, got {modules!r}.")
    for module in modules:
        if not isinstance(module, type | FunctionType):
            raise TypeError(f"modules must be classes and functions, got {module!r}.")
        if own.setdefault(module.__qualname__, module) is not module:
            raise ValueError(f"modules has two of the name {module.__qualname__!r}.")
    return own


@contextmanager
def _refusing(prefix: str) -> Iterator[None]:
    """Turn errors into an InvalidFileError: what a wrong file can raise has no end.

    Not those of the machine: a good file may be hard to read, or need more memory than there is.
    """
    try:
        with out_of_memory_as_such():
            yield
    except (MemoryError, OSError):
        raise
    except InvalidFileError as error:
        raise InvalidFileError(f"{prefix}{error}") from error.__cause__
    except Exception as error:
        raise InvalidFileError(f"{prefix}{type(error).__name__}: {str(error)[:300]}") from error
