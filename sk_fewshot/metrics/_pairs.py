"""Pairs of examples, labelled same or different."""

from __future__ import annotations

from contextlib import suppress
from numbers import Integral, Number

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.random import sample_without_replacement

from sk_fewshot._utils.containers import NotNumbersError, as_rows
from sk_fewshot._utils.pairs import ExamplePairs
from sk_fewshot.metrics._labels import as_labels, is_missing


@validate_params(
    {
        "X": ["array-like"],
        "y": ["array-like"],
        "n_pairs": [Interval(Integral, 2, None, closed="left"), None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_pairs(
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_pairs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray | ExamplePairs, NDArray[np.int64]]:
    """Pair up labelled examples, for :class:`sk_fewshot.PairClassifier`.

    No example is paired with itself, and no two are paired twice. In each pair, the example that
    stands first in X comes first.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Examples: flat features, images, or arrays of any further dimensions; or a sequence
        (n_samples,) of text, paths or other objects.
    y : array-like of shape (n_samples,)
        Class labels.
    n_pairs : int, default=None
        Number of pairs to draw without replacement, half of them same and half different (one more
        different if odd), each half uniformly from all such pairs: a class of twice the size is in
        four times as many same pairs. They come in random order. If None, all
        ``n_samples * (n_samples - 1) / 2`` pairs, in the order of their examples.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs; an int makes them reproducible.

    Returns
    -------
    X_pairs : ndarray or ExamplePairs of shape (n_pairs, 2, ...)
        In the dtype of X. All pairs are :class:`~sk_fewshot.datasets.ExamplePairs`, which look
        examples up as they are needed: an array would be ``n_samples - 1`` times as large as X.
    y_pairs : ndarray of shape (n_pairs,), int64
        1 where both examples are of the same class, 0 where not.

    Raises
    ------
    ValueError
        If X holds fewer than two examples, or there are fewer same or different pairs than asked
        for.

    Notes
    -----
    A sample takes time and memory in the order of ``n_samples + n_pairs``, however many pairs there
    are.

    Examples
    --------
    >>> from sk_fewshot.metrics import make_pairs
    >>> X = [[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]
    >>> X_pairs, y_pairs = make_pairs(X, ["a", "b", "a"])
    >>> X_pairs.shape, y_pairs
    ((3, 2, 2), array([0, 1, 0]))
    >>> make_pairs(X, ["a", "b", "a"], n_pairs=2, random_state=0)[1]
    array([1, 0])
    """
    examples = _check_examples(X)
    labels = as_labels(y, "y")
    check_consistent_length(examples, labels)
    code = np.unique(labels, return_inverse=True)[1]
    indices = (
        _all(len(code))
        if n_pairs is None
        else _sample(code, n_pairs, check_random_state(random_state))
    )
    same = (code[indices[:, 0]] == code[indices[:, 1]]).astype(np.int64)
    pairs = ExamplePairs(examples, indices)
    return (pairs if n_pairs is None else np.asarray(pairs)), same


def _check_examples(X: ArrayLike) -> NDArray:
    """Return examples as an array (n_samples, ...), or (n_samples,) of text and other objects.

    Raises
    ------
    ValueError
        If there are fewer than two, some are missing or not finite, or numbers are one-dimensional.
    """
    with suppress(NotNumbersError):  # text and other objects
        X = np.asarray(as_rows(X))
    rows = np.asarray(X)
    raw = (
        rows.ndim == 1 and rows.dtype.kind in "OU" and not any(isinstance(x, Number) for x in rows)
    )
    if not raw:
        return check_array(X, dtype=None, allow_nd=True, ensure_min_samples=2, input_name="X")
    for i, example in enumerate(rows):
        if is_missing(example):
            raise ValueError(f"X must not have missing examples, got {example} at index {i}.")
    if len(rows) < 2:
        raise ValueError(f"X has {len(rows)} sample, while a minimum of 2 is required.")
    return rows


def _all(n_samples: int) -> NDArray[np.integer]:
    """Indices (n_pairs, 2) of all pairs, the first ones of the first example first."""
    number: NDArray[np.integer] = np.arange(n_samples, dtype=np.min_scalar_type(-n_samples))
    indices = np.empty((n_samples * (n_samples - 1) // 2, 2), dtype=number.dtype)
    indices[:, 0] = np.repeat(number, number[::-1])
    np.concatenate([number[i:] for i in range(1, n_samples)], out=indices[:, 1])
    return indices


def _sample(
    code: NDArray[np.intp], n_pairs: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Indices (n_pairs, 2) of as many same as different pairs, in random order.

    With the examples sorted by class, the later partners of each are a range: those up to the end
    of its class make same pairs, those from there on different ones.
    """
    order = np.argsort(code, kind="stable")
    position = np.arange(len(code))
    class_end = np.cumsum(np.bincount(code))[code[order]]  # (n_samples,)
    n_same = n_pairs // 2
    same = _draw(position + 1, class_end, n_same, "same", random_state)
    everyone = np.full_like(position, len(code))
    different = _draw(class_end, everyone, n_pairs - n_same, "different", random_state)
    pairs = random_state.permutation(np.concatenate([same, different]))
    return np.sort(order[pairs], axis=1)


def _draw(
    start: NDArray[np.intp],
    stop: NDArray[np.intp],
    n_draws: int,
    kind: str,
    random_state: np.random.RandomState,
) -> NDArray[np.intp]:
    """Draw from the pairs (i, j), start[i] <= j < stop[i], without replacement or listing them."""
    last = np.cumsum(stop - start)  # pairs are numbered by i, then j
    if n_draws > last[-1]:
        raise ValueError(
            f"n_pairs asks for {n_draws} {kind} pairs, but y only makes {last[-1]} of them."
        )
    number = sample_without_replacement(last[-1], n_draws, random_state=random_state)
    i = np.searchsorted(last, number, side="right")
    return np.stack([i, stop[i] - (last[i] - number)], axis=1)  # (n_draws, 2)
