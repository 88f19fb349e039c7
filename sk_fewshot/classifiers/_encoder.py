"""The `encoder` parameter of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from math import prod
from numbers import Integral, Number
from typing import Any, TypeVar

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.validation import _num_samples, check_is_fitted
from torch import nn

from sk_fewshot._training import digest
from sk_fewshot._utils.containers import as_array
from sk_fewshot._utils.examples import n_dimensions
from sk_fewshot._utils.rows import Rows, pieces
from sk_fewshot._utils.switches import restoring
from sk_fewshot._utils.warn import warn_caller
from sk_fewshot.transformers._base import BaseTransformer

_NOT_DECIDING = ("copy", "memory", "n_jobs", "random_state", "verbose")  # what is embedded
_Embeddings = TypeVar("_Embeddings", bound=np.ndarray | Rows)

# length of an embedding; the square of twice as much is the largest squared distance
_LONGEST = {np.dtype(t): 0.49 * float(np.finfo(t).max) ** 0.5 for t in (np.float32, np.float64)}


def fresh_encoder(encoder: BaseEstimator, random_state) -> BaseEstimator:
    """Clone an encoder, for fitting; where it has no seed of its own, it gets one.

    Parameters
    ----------
    encoder : estimator
    random_state : int, RandomState instance or None
        Seeds every `random_state` of the encoder that is None; but only an int seeds one beside a
        `checkpoint`, which keeps the seed that it has drawn.

    Returns
    -------
    estimator
    """
    fresh = clone(encoder)
    if random_state is not None:
        rng, params = check_random_state(random_state), fresh.get_params()
        unset = {
            name: rng.randint(np.iinfo(np.int32).max)
            for name, value in sorted(params.items())
            if value is None and (name == "random_state" or name.endswith("__random_state"))
        }
        if not isinstance(random_state, Integral):
            for name in list(unset):
                if params.get(name.removesuffix("random_state") + "checkpoint") is not None:
                    del unset[name]
        fresh.set_params(**unset)
    return fresh


def _warn_if_fitted(encoder: BaseEstimator) -> None:
    """Warn that a fitted encoder is about to be fitted anew."""
    if not get_tags(encoder).requires_fit:
        return
    try:
        check_is_fitted(encoder)
    except NotFittedError:
        return
    warn_caller(
        f"The encoder {type(encoder).__name__} is already fitted; a clone of it will be fitted "
        "again on the support set. Pass encoder=FrozenEstimator(encoder) to use it as it is."
    )


def fitted_encoder(
    classifier: Any, fit: Callable[[BaseEstimator], BaseEstimator], random_state: Any
) -> BaseEstimator | str:
    """Return the encoder of a classifier, as its parameter `encoder` says.

    Parameters
    ----------
    classifier : estimator
        Its `_default_encoder` is the class of the encoder where `encoder` is None.
    fit : callable
        Fits a fresh encoder and returns it.
    random_state : int, RandomState instance or None
        Seeds a fresh encoder.

    Returns
    -------
    transformer or "passthrough"
        "passthrough" and what is frozen as they are; of anything else a clone, fitted.
    """
    encoder = classifier.encoder
    if isinstance(encoder, str | FrozenEstimator):
        return encoder
    unfitted = _unfitted(classifier)
    if encoder is not None:
        _warn_if_fitted(encoder)
    return fit(fresh_encoder(unfitted, random_state))


def meta_fit(self, X, y):
    """Learn to compare, once, from many labelled classes.

    Sets the parameter `encoder` to a frozen encoder trained on (X, y): clones and grid searches
    keep it. A frozen encoder is trained anew.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
        Examples of the base classes.
    y : array-like of shape (n_samples,)
        Labels of the base classes; they need not occur later.

    Returns
    -------
    self : object
        This classifier, ready for `fit`.

    Raises
    ------
    ValueError
        If `encoder` is "passthrough", which learns nothing; or as the encoder's `fit`.
    """
    self._validate_params()
    if isinstance(self.encoder, str):
        raise ValueError("meta_fit needs an encoder that learns, got encoder='passthrough'.")
    frozen = isinstance(self.encoder, FrozenEstimator)
    encoder = self.encoder.estimator if frozen else _unfitted(self)
    fitted = fresh_encoder(encoder, self.random_state).fit(encoder_input(encoder, X), y)
    self.encoder = FrozenEstimator(fitted)
    return self


def _unfitted(classifier: Any) -> BaseEstimator:
    encoder = classifier.encoder
    if isinstance(encoder, type):
        raise TypeError(
            f"encoder must be an instance, got the class {encoder.__name__}: pass "
            f"{encoder.__name__}(...)."
        )
    return classifier._default_encoder() if encoder is None else encoder


def encoder_input(encoder: BaseEstimator, X):
    """Return X in a form that the encoder takes: images are flattened for those that don't.

    Text, rows and DataFrames are the encoder's to judge.
    """
    if isinstance(first_step(encoder), BaseTransformer):
        return X
    X = np.asarray(X) if isinstance(X, Rows) else as_array(X)
    if n_dimensions(X) <= 2 or _takes_images(encoder):
        return X
    X = np.asarray(X)
    return X.reshape(len(X), -1)


@restoring
def encode_examples(encoder: BaseEstimator, X) -> np.ndarray:
    """Embed examples by any fitted scikit-learn transformer.

    Returns
    -------
    ndarray of shape (n_samples, embedding_dim)
        float32 or float64.

    Raises
    ------
    ValueError, TypeError
        If the encoder does not return a dense array (n_samples, embedding_dim) of finite numbers,
        with one row per example, or X is a single example.
    """
    _check_several(encoder, X)
    X = encoder_input(encoder, X)
    with config_context(transform_output=_output_between_steps(encoder)):
        embeddings = as_array(encoder.transform(X))
    if hasattr(embeddings, "columns"):  # by `set_output`, or because steps want names
        embeddings = np.asarray(embeddings)
    if n_dimensions(embeddings) != 2:
        raise ValueError(
            "encoder.transform(X) must have shape (n_samples, embedding_dim), got shape "
            f"{np.shape(embeddings)}."
        )
    n_rows = embeddings.shape[0]
    if n_rows != _num_samples(X):
        raise ValueError(
            f"The encoder returned {n_rows} rows for {_num_samples(X)} examples; it must "
            "return one embedding per example. Leave examples out before, not inside the encoder."
        )
    return check_array(
        embeddings,
        dtype=[np.float64, np.float32],
        input_name="encoder.transform(X)",
        ensure_min_samples=0,
    )


def _check_several(encoder: BaseEstimator, X) -> None:
    """Refuse X[0] in place of X[:1]: what has the numbers of one example, but other rows."""
    shape = X.shape if hasattr(X, "shape") else (len(X),) if n_dimensions(X) == 1 else (0,)
    as_it_should_be = len(shape) > 1 and shape[0] == 1
    if not as_it_should_be and prod(shape) == getattr(encoder, "n_features_in_", None):
        raise ValueError(
            f"X holds examples along its first axis, but its shape {tuple(shape)} is that of a "
            "single one: for one example pass X[:1] instead of X[0]. Reshape your data."
        )


def _output_between_steps(encoder: BaseEstimator) -> str:
    """Return the `transform_output` that an encoder's steps were fitted with, whatever holds now.

    Steps that were fitted with names want names, and others want none, or scikit-learn warns.
    """
    if not _later_steps_know_names(encoder):
        return "default"
    return "pandas" if find_spec("pandas") else "polars"


def _later_steps_know_names(encoder: Any, *, later: bool = False) -> bool:
    if isinstance(encoder, FrozenEstimator):
        return _later_steps_know_names(encoder.estimator, later=later)
    if isinstance(encoder, Pipeline):
        steps = [step for _, step in encoder.steps]
        return any(_later_steps_know_names(s, later=later or i > 0) for i, s in enumerate(steps))
    return later and hasattr(encoder, "feature_names_in_")


def check_comparable(embeddings: _Embeddings) -> _Embeddings:
    """Return embeddings whose squares and products their type has room for.

    Raises
    ------
    ValueError
        If they are too large: their distances could not be told apart.
    """
    longest = _LONGEST.get(embeddings.dtype)
    if longest is None or not len(embeddings):
        return embeddings
    largest = float(max(max(-piece.min(), piece.max()) for _, piece in pieces(embeddings)))
    if largest * embeddings.shape[1] ** 0.5 <= longest:
        return embeddings
    lengths = (np.linalg.norm(piece / largest, axis=1).max() for _, piece in pieces(embeddings))
    length = float(max(lengths))
    if length > longest / largest:
        raise ValueError(
            f"Embeddings must have a length of {longest:.2g} at most to be compared in "
            f"{embeddings.dtype}, got {length * largest:.2g}; scale X."
        )
    return embeddings


def first_step(encoder: Any) -> Any:
    """Return what an encoder starts with, within any freezing and Pipeline."""
    return _step(encoder, 0)


def encoder_digest(encoder: BaseEstimator | str) -> str:
    """Return what tells a fitted encoder from those whose embeddings are others.

    The same in every process, and for an encoder that was saved and loaded.
    """
    return encoder if isinstance(encoder, str) else digest(_deciding(encoder))


def _deciding(encoder: Any) -> Any:
    """Return what the embeddings depend on: steps, weights, parameters and fitted numbers."""
    if isinstance(encoder, FrozenEstimator):
        return _deciding(encoder.estimator)
    if isinstance(encoder, Pipeline):
        return [_deciding(step) for _, step in encoder.steps]
    if not isinstance(encoder, BaseEstimator):  # "passthrough" in a Pipeline
        return encoder
    if isinstance(encoder, BaseTransformer):
        unit_length = getattr(encoder, "_directional", False)
        return [type(encoder), encoder.module_.state_dict(), unit_length]
    params = {k: v for k, v in encoder.get_params(deep=False).items() if k not in _NOT_DECIDING}
    fitted = {
        name: value
        for name, value in vars(encoder).items()
        if name.endswith("_") and isinstance(value, np.ndarray | Number)
    }
    return [type(encoder), params, list(fitted.items())]


def last_step(encoder: Any) -> Any:
    """Return what an encoder ends in, within any freezing and Pipeline."""
    return _step(encoder, -1)


def _step(encoder: Any, position: int) -> Any:
    """Return the encoder at the start (0) or the end (-1), within any freezing and Pipeline."""
    while isinstance(encoder, FrozenEstimator | Pipeline):
        encoder = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder[position]
    return encoder


def _takes_images(encoder: BaseEstimator) -> bool:
    """Whether an encoder, within any freezing and at the start of a Pipeline, takes images."""
    first = first_step(encoder)
    if not isinstance(first, BaseEstimator):  # "passthrough" in a Pipeline
        return False
    tags = get_tags(first)
    return tags.no_validation or tags.input_tags.three_d_array


def learned_head(encoder: BaseEstimator | str) -> nn.Module | None:
    """Return the head that an episodic transformer learned, through any freezing and Pipeline."""
    return getattr(last_step(encoder), "head_", None)
