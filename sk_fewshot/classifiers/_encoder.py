"""The `encoder` parameter of a classifier."""

from __future__ import annotations

import warnings
from typing import TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sk_fewshot._utils.containers import as_array
from sk_fewshot._utils.examples import n_dimensions
from sk_fewshot._utils.rows import Rows, pieces
from sk_fewshot.transformers._base import BaseTransformer

_Embeddings = TypeVar("_Embeddings", bound=np.ndarray | Rows)

_LARGEST = 1e17  # a sum of 10,000 squares of this ends at 1e38, as float32 does


def fresh_encoder(encoder: BaseEstimator, random_state) -> BaseEstimator:
    """Clone an encoder, for fitting; where it has no seed of its own, it gets one.

    Parameters
    ----------
    encoder : estimator
    random_state : int, RandomState instance or None
        Seeds every `random_state` of the encoder that is None.

    Returns
    -------
    estimator
    """
    fresh = clone(encoder)
    if random_state is not None:
        rng = check_random_state(random_state)
        unset = {
            name: rng.randint(np.iinfo(np.int32).max)
            for name, value in sorted(fresh.get_params().items())
            if value is None and (name == "random_state" or name.endswith("__random_state"))
        }
        fresh.set_params(**unset)
    return fresh


def warn_if_fitted(encoder: BaseEstimator) -> None:
    """Warn that a fitted encoder is about to be fitted anew."""
    if not get_tags(encoder).requires_fit:
        return
    try:
        check_is_fitted(encoder)
    except NotFittedError:
        return
    warnings.warn(
        f"The encoder {type(encoder).__name__} is already fitted; a clone of it will be fitted "
        "again on the support set. Pass encoder=FrozenEstimator(encoder) to use it as it is.",
        UserWarning,
        stacklevel=4,
    )


def encoder_input(encoder: BaseEstimator, X):
    """Return X in a form that the encoder takes: images are flattened for those that don't.

    Text, rows and DataFrames are the encoder's to judge.
    """
    if isinstance(_step(encoder, 0), BaseTransformer):
        return X
    X = np.asarray(X) if isinstance(X, Rows) else as_array(X)
    if n_dimensions(X) <= 2 or _takes_images(encoder):
        return X
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def encode_examples(encoder: BaseEstimator, X) -> np.ndarray:
    """Embed examples by any fitted scikit-learn transformer.

    Returns
    -------
    ndarray of shape (n_samples, embedding_dim)
        float32 or float64.

    Raises
    ------
    ValueError, TypeError
        If the encoder does not return a dense array (n_samples, embedding_dim) of finite numbers.
    """
    embeddings = as_array(encoder.transform(encoder_input(encoder, X)))
    if n_dimensions(embeddings) != 2:
        raise ValueError(
            "encoder.transform(X) must have shape (n_samples, embedding_dim), got shape "
            f"{np.shape(embeddings)}."
        )
    return check_array(
        embeddings,
        dtype=[np.float64, np.float32],
        input_name="encoder.transform(X)",
        ensure_min_samples=0,
    )


def check_comparable(embeddings: _Embeddings) -> _Embeddings:
    """Return embeddings whose squares and products float32 has room for, if that is their type.

    Raises
    ------
    ValueError
        If they are too large: their distances could not be told apart.
    """
    if embeddings.dtype == np.float32 and len(embeddings):
        largest = max(max(-piece.min(), piece.max()) for _, piece in pieces(embeddings))
        if largest > _LARGEST:
            raise ValueError(
                f"Embeddings must be of size {_LARGEST:g} at most to be compared in float32, got "
                f"{largest:g}; scale X, or pass float64."
            )
    return embeddings


def last_step(encoder: BaseEstimator | str) -> BaseEstimator | str:
    """Return what an encoder ends in, within any freezing and Pipeline."""
    return _step(encoder, -1)


def _step(encoder: BaseEstimator | str, position: int) -> BaseEstimator | str:
    """Return the encoder at the start (0) or the end (-1), within any freezing and Pipeline."""
    while isinstance(encoder, FrozenEstimator | Pipeline):
        encoder = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder[position]
    return encoder


def _takes_images(encoder: BaseEstimator) -> bool:
    """Whether an encoder, within any freezing and at the start of a Pipeline, takes images."""
    first = _step(encoder, 0)
    if not isinstance(first, BaseEstimator):  # "passthrough" in a Pipeline
        return False
    tags = get_tags(first)
    return tags.no_validation or tags.input_tags.three_d_array


def learned_head(encoder: BaseEstimator | str) -> nn.Module | None:
    """Return the head that an episodic transformer learned, through any freezing and Pipeline."""
    return getattr(last_step(encoder), "head_", None)
