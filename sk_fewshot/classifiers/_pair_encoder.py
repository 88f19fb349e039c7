"""Encoders that are fitted on pairs."""

from __future__ import annotations

from numbers import Integral

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from sk_fewshot._training import digest_of_rows
from sk_fewshot._utils.examples import check_channels
from sk_fewshot._utils.pairs import RowsOfPairs, as_pairs
from sk_fewshot._utils.rows import Rows, SelectedRows, members
from sk_fewshot.classifiers._encoder import encoder_input, first_step, last_step
from sk_fewshot.transformers._base import BaseTransformer


def check_pairs(X, encoder: BaseEstimator | str | None) -> NDArray | Rows:
    """Return X as an array of pairs, or rows of them that are read some at a time.

    Parameters
    ----------
    X : array-like
    encoder : transformer, "passthrough" or None
        What is to take the examples.

    Raises
    ------
    ValueError
        If X does not have shape (n_pairs, 2, ...), with further dimensions unless it holds text or
        other raw examples, or is empty, or if an encoder of ours would take the wrong axis for the
        channels.
    """
    pairs = as_pairs(X)
    first = first_step(encoder)
    ours = first is None or isinstance(first, str | BaseTransformer)
    if ours and getattr(first, "image_shape", None) is None and pairs.ndim == 5:
        check_channels(pairs.shape)
    return pairs


def select(pairs: NDArray | Rows, numbers: NDArray[np.intp]) -> Rows:
    """Return some of the pairs, without a copy of their examples."""
    if isinstance(pairs, RowsOfPairs):
        return RowsOfPairs.used(pairs.examples, pairs.indices[numbers])
    return SelectedRows(pairs, numbers)


def examples_of(pairs: NDArray | Rows) -> NDArray | Rows:
    """Return what pairs are made of; what is known to be in several pairs comes once."""
    return pairs.examples if isinstance(pairs, RowsOfPairs) else members(pairs)


def embedded_pairs(pairs: NDArray | Rows, embeddings: NDArray) -> NDArray | Rows:
    """Return pairs (n_pairs, 2, d) of what `examples_of` has been embedded as."""
    if isinstance(pairs, RowsOfPairs):
        return RowsOfPairs(embeddings, pairs.indices)
    return embeddings.reshape(len(pairs), 2, -1)


def learns_from_pairs(encoder: BaseEstimator) -> bool:
    """Whether an encoder, or the last step of a Pipeline, has a `fit_pairs`."""
    return hasattr(last_step(encoder), "fit_pairs")


def fit_on_pairs(
    encoder: BaseEstimator, pairs: NDArray | Rows, same: NDArray[np.bool_]
) -> BaseEstimator:
    """Fit a fresh encoder on pairs: one that learns from pairs by `same`, others without.

    Parameters
    ----------
    encoder : transformer
        Unfitted; changed in place.
    pairs : ndarray or Rows of shape (n_pairs, 2, ...)
    same : ndarray of bool of shape (n_pairs,)

    Returns
    -------
    transformer

    Raises
    ------
    ValueError
        If the encoder learns from class labels.
    """
    if hasattr(encoder, "fit_pairs"):
        return encoder.fit_pairs(pairs, same)
    if isinstance(encoder, Pipeline) and learns_from_pairs(encoder):
        first, (name, last) = encoder[:-1], encoder.steps[-1]
        if len(first):
            output = first.fit_transform(encoder_input(first, members(pairs)))
            examples = np.asarray(output)
            pairs = examples.reshape(len(pairs), 2, *examples.shape[1:])
        last = fit_on_pairs(last, pairs, same)
        if len(first) and hasattr(output, "columns"):
            validate_data(last, output, skip_check_array=True)  # remembers the names
        encoder.steps = [*first.steps, (name, last)]
        return encoder
    steps = [step for _, step in encoder.steps] if isinstance(encoder, Pipeline) else [encoder]
    for step in steps:
        if isinstance(step, BaseEstimator) and get_tags(step).target_tags.required:
            raise ValueError(
                f"The encoder {type(step).__name__} learns from class labels, which pairs do not "
                "have. Fit it on labelled examples: by meta_fit, or ahead, and pass "
                "encoder=FrozenEstimator(encoder)."
            )
    return encoder.fit(encoder_input(encoder, members(pairs)))


def resumable(
    random_state,
    encoder: BaseEstimator | str | None,
    pairs: NDArray | Rows,
    same: NDArray[np.bool_],
) -> int | np.random.RandomState | None:
    """Return what to draw by: with a `checkpoint`, the same at every `fit` on these pairs.

    Otherwise each `fit` would hold out other pairs, and never go on with the training of the file.
    """
    checkpoint = getattr(last_step(encoder), "checkpoint", None)
    frozen = isinstance(encoder, FrozenEstimator)
    if checkpoint is None or frozen or isinstance(random_state, Integral):
        return random_state
    raw = pairs.dtype.kind not in "biuf"
    given = joblib.hash(pairs) if raw else digest_of_rows(pairs)
    return int(joblib.hash((given, same))[:8], 16)


def hold_out(
    same: NDArray[np.bool_], share: float, rng: np.random.RandomState
) -> NDArray[np.bool_]:
    """Draw a share of the pairs of either kind, one or more, that training does not see.

    Raises
    ------
    ValueError
        If fewer than two pairs of either kind are left for training.
    """
    unseen = np.zeros_like(same)
    for kind, pairs in (("different", np.flatnonzero(~same)), ("same", np.flatnonzero(same))):
        n_unseen = max(1, round(share * len(pairs)))
        if len(pairs) - n_unseen < 2:
            raise ValueError(
                f"calibration_pairs={share} leaves {len(pairs) - n_unseen} of the {len(pairs)} "
                f"{kind} pairs to train the encoder on, which needs two or more. Give more pairs, "
                "a frozen encoder, or calibration_pairs=None."
            )
        unseen[rng.permutation(pairs)[:n_unseen]] = True
    return unseen
