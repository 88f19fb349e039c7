"""From an estimator to a file."""

from __future__ import annotations

import json
import math
import os
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from sk_fewshot._utils.device import as_tensor
from sk_fewshot._utils.files import write_atomically
from sk_fewshot._utils.state import snapshot
from sk_fewshot.persistence._container import InvalidFileError, pieces
from sk_fewshot.persistence._known import (
    CALLABLES,
    ESTIMATORS,
    FORMAT,
    OBJECTS,
    VERSIONS,
)
from sk_fewshot.persistence._modules import constructor_arguments, modules_within, own_state
from sk_fewshot.persistence._reading import restore
from sk_fewshot.transformers._base import BaseTransformer

NUMBERS = "biuf"
_LEFT_OUT = {"net_", "_state"}  # the training itself, and what a head makes of the gallery


def save(estimator: BaseEstimator, path: str | os.PathLike) -> None:
    """Save an estimator in a file that holds data and no code.

    The file is safetensors, with the structure and the parameters as JSON. It keeps the parameters
    and all that was fitted, so that the estimator that :func:`load` returns predicts bitwise the
    same on the same machine. Before anything is written the estimator is rebuilt from what would
    be, so that a file that was saved also loads.

    Left out are `net_` (the training with its optimizer and callbacks), the path in `checkpoint`,
    so that no loaded estimator writes where a file says, the index of FAISS, which the first query
    builds again, and the device that modules were on. `net_params` may hold settings of the
    optimizer and of the batches; others can make skorch and torch run what a file says, so that an
    estimator which has them is refused, as are `Pipeline(memory=...)`, more than 300 estimators and
    modules, and more than six estimators within one another. Remove what is not needed by
    ``set_params``.

    Pickle, joblib and cloudpickle also take what this function refuses (lambdas, callbacks, your
    own estimators), but whoever wrote such a file has their code run when you load it. Use them
    only for files that never leave your hands, and not to publish an estimator, to take one from
    others, or to keep one for years: they also break when the packages' insides change.

    Parameters
    ----------
    estimator : estimator
        One of this package's, fitted or not. Encoders inside it may be this package's,
        ``FrozenEstimator``, ``Pipeline`` (without `memory`), ``StandardScaler``, ``MinMaxScaler``,
        ``Normalizer`` or ``PCA``. Classes and functions of your own in `module`, `metric` or
        `augment` are saved by their qualified name, to be given to :func:`load`. A module given as
        an instance must be this package's or made of common layers of torch, a loss this package's.
    path : str or path-like
        Its folder must exist. A file that is there is replaced at once, or on failure left as it
        was; it keeps its owner and mode. A new one follows the umask. A symbolic link is followed.

    Raises
    ------
    TypeError
        If a part cannot be saved; the message names the parameter or attribute.
    ValueError
        If the estimator could not be rebuilt, for example because its parameters are invalid.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Reads the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sk_fewshot import PrototypicalClassifier, load, save
    >>> clf = PrototypicalClassifier("passthrough").fit(np.eye(2), ["cat", "dog"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(clf, Path(folder) / "pets.safetensors")
    ...     loaded = load(Path(folder) / "pets.safetensors")
    >>> loaded.predict([[0.9, 0.2]])
    array(['cat'], dtype='<U3')
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be a scikit-learn estimator, got {estimator!r}.")
    estimator = snapshot(estimator)  # another thread may enrol meanwhile
    writer = _Writer()
    node = writer.node(estimator, type(estimator).__name__)
    structure = {"format": FORMAT, "versions": VERSIONS, "estimator": node}
    try:
        restore(node, writer.tensors, writer.callables)
    except InvalidFileError as error:
        raise ValueError(
            f"{type(estimator).__name__} cannot be saved, as it cannot be rebuilt: {error}"
        ) from error
    text = json.dumps(structure, allow_nan=False, separators=(",", ":"))
    write_atomically(path, pieces(text, writer.tensors))


class _Writer:
    """Turns values into JSON nodes, and collects the tensors and the callers' own callables.

    An object whose only key names its kind is a node; what is met again is a reference.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.callables: dict[str, Any] = {}
        self._met: dict[int, tuple[int, Any]] = {}  # by id, which the object itself keeps taken

    def node(self, value: Any, where: str) -> Any:
        """Return the JSON of a value; `where` names it in errors."""
        if id(value) in self._met:
            return {"ref": self._met[id(value)][0]}
        if isinstance(value, np.generic) and not isinstance(value, np.str_):
            return {"scalar": self._array(np.asarray(value), where)}
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, list | tuple):
            items = [self.node(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return items if type(value) is list else {"tuple": items}
        if isinstance(value, dict):
            return {"dict": self._named(value, where)}
        if isinstance(value, np.ndarray):
            return self._array_node(value, where)
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if isinstance(value, type | FunctionType):
            return self._callable(value, where)
        return self._made(value, where)

    def _named(self, items: dict, where: str) -> dict[str, Any]:
        for key in items:
            if not isinstance(key, str):
                raise TypeError(f"{where} cannot be saved: keys must be strings, got {key!r}.")
        return {key: self.node(item, f"{where}.{key}") for key, item in items.items()}

    def _tensor(self, tensor: Tensor, where: str) -> str:
        name = f"{len(self.tensors)}.{where}"
        self.tensors[name] = tensor.detach().cpu().contiguous()
        return name

    def _array(self, array: NDArray, where: str) -> str:
        if array.dtype.kind not in NUMBERS or array.dtype.itemsize > 8:
            raise TypeError(f"{where} cannot be saved: it holds {array.dtype}.")
        return self._tensor(as_tensor(array), where)

    def _array_node(self, array: NDArray, where: str) -> dict[str, Any]:
        if array.dtype == object:
            items = array.tolist()
            if array.ndim != 1 or not all(isinstance(item, str) for item in items):
                raise TypeError(f"{where} cannot be saved: it is an array of other objects.")
            encoded = [item.encode(errors="surrogatepass") for item in items]
            text = np.frombuffer(b"".join(encoded), np.uint8)
            lengths = np.array(list(map(len, encoded)), np.int64)
            return {"strings": [self._array(text, where), self._array(lengths, where)]}
        if array.dtype.kind == "U":
            text = np.array(array[..., None], dtype=array.dtype.newbyteorder("="), order="C")
            return {"text": self._array(text.view(np.int32), where)}  # (..., width) code points
        order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        name = self._array(array if order == "C" else array.T, where)
        return self._remembered(array, {"array": [name, order]})

    def _callable(self, value: Any, where: str) -> dict[str, str]:
        name = value.__qualname__
        if CALLABLES.get(name) is value:
            return {"known": name}
        if "<lambda>" in name or self.callables.setdefault(name, value) is not value:
            raise TypeError(
                f"{where}={value!r} cannot be saved: give a class or function that has a name of "
                "its own."
            )
        return {"user": name}

    def _made(self, value: Any, where: str) -> dict[str, Any]:
        name = type(value).__name__
        if ESTIMATORS.get(name) is type(value):
            node = {"estimator": self._estimator(value, where)}
        elif OBJECTS.get(name) is type(value):
            node = {"object": self._object(value, where)}
        else:
            hint = ""
            if ".loss" in where:
                hint = " Pickle and joblib keep a loss of your own."
            elif isinstance(value, nn.Module):
                hint = " Give the module's class, and its arguments by module_params."
            raise TypeError(
                f"{where} cannot be saved: {type(value).__qualname__} is none of the classes that "
                f"a file may hold.{hint}"
            )
        return self._remembered(value, node)

    def _remembered(self, value: Any, node: dict[str, Any]) -> dict[str, Any]:
        self._met[id(value)] = (len(self._met), value)
        return node

    def _estimator(self, estimator: BaseEstimator, where: str) -> dict[str, Any]:
        params = estimator.get_params(deep=False)
        if isinstance(estimator, BaseTransformer):
            params["checkpoint"] = None  # a path of this machine, that nobody else is to write to
        fitted = {
            k: v for k, v in vars(estimator).items() if k not in params and k not in _LEFT_OUT
        }
        encoder = fitted.pop("module_", None) if isinstance(estimator, BaseTransformer) else None
        state = None if encoder is None else encoder.state_dict()
        return {
            "class": type(estimator).__name__,
            "params": self._named(params, where),
            "fitted": self._named(fitted, where),
            "encoder": None if state is None else self._state(state, f"{where}.module_"),
        }

    def _object(self, value: Any, where: str) -> dict[str, Any]:
        arguments = constructor_arguments(value)
        named = self._named(arguments, where)
        state = {}
        if isinstance(value, nn.Module):
            state = self._state(own_state(value, modules_within(arguments)), where)
        return {"class": type(value).__name__, "arguments": named, "state": state}

    def _state(self, state: dict[str, Any], where: str) -> dict[str, str]:
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{where}.{name} cannot be saved: it is no tensor.")
        return {name: self._tensor(value, f"{where}.{name}") for name, value in state.items()}
