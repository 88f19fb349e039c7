"""Pairs of examples as their row numbers, looked up as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sk_fewshot._utils.containers import NotNumbersError, as_array, as_rows
from sk_fewshot._utils.rows import Index, Rows


class ExamplePairs:
    """Pairs of examples that share the memory of the examples.

    Where an array would hold each example once for each of its pairs, this holds two row numbers a
    pair. What is selected of it along the first axis is of this kind, too, so that scikit-learn's
    splits and searches copy no example; any other index, and numpy's functions, make an array.

    Parameters
    ----------
    examples : ndarray of shape (n_samples, ...)
    indices : ndarray of int of shape (n_pairs, 2)
        Rows of the members of each pair.

    Attributes
    ----------
    shape : tuple of int
        (n_pairs, 2, ...)
    dtype : dtype
        That of the examples.

    Raises
    ------
    ValueError
        If `indices` are not row numbers of the examples, two a pair.

    See Also
    --------
    sk_fewshot.metrics.make_pairs : Makes them from labelled examples.
    sk_fewshot.PairClassifier : Embeds each example once, however many pairs it is in.

    Examples
    --------
    >>> from sk_fewshot.metrics import make_pairs
    >>> X_pairs, y_pairs = make_pairs([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    >>> X_pairs
    ExamplePairs of shape (3, 2, 1), float64
    >>> X_pairs[1:].indices
    array([[0, 2],
           [1, 2]], dtype=int8)
    >>> X_pairs[1]
    array([[0.],
           [2.]])
    """

    def __init__(self, examples: NDArray, indices: NDArray[np.integer]):
        self.examples = np.asarray(examples)
        self.indices = np.asarray(indices)
        n_samples = len(self.examples)
        if self.indices.dtype.kind not in "iu" or self.indices.shape[1:] != (2,):
            raise ValueError(
                "indices must be integers of shape (n_pairs, 2), got an array of shape "
                f"{self.indices.shape} and dtype {self.indices.dtype}."
            )
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < n_samples:
            raise ValueError(
                f"indices must be between 0 and {n_samples - 1}, as there are {n_samples} "
                f"examples, got {self.indices.min()} to {self.indices.max()}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (n_pairs, 2, ...)."""
        return (len(self.indices), 2, *self.examples.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return 1 + self.examples.ndim

    @property
    def dtype(self) -> np.dtype:
        """That of the examples."""
        return self.examples.dtype

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> ExamplePairs | NDArray:
        first, *others = key if isinstance(key, tuple) else (key,)
        if isinstance(first, Integral):
            return self.examples[self.indices[first]][tuple(others)]
        if first is not Ellipsis and first is not None and others in ([], [Ellipsis]):
            selected = self.indices[first if isinstance(first, slice) else np.asarray(first)]
            if selected.ndim == 2:
                return ExamplePairs(self.examples, selected)
        return np.asarray(self)[key]

    def __iter__(self) -> Iterator[NDArray]:
        for pair in self.indices:
            yield self.examples[pair]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self.examples[self.indices], dtype=dtype)

    def __repr__(self) -> str:
        return f"ExamplePairs of shape {self.shape}, {self.dtype}"

    def astype(self, dtype: DTypeLike) -> ExamplePairs:
        """Return the same pairs of examples of another type."""
        return ExamplePairs(self.examples.astype(dtype), self.indices)


class RowsOfPairs(Rows):
    """Pairs (n_pairs, 2, ...) of rows, read as they are needed.

    Parameters
    ----------
    examples : ndarray or Rows
    indices : ndarray of int of shape (n_pairs, 2)
    """

    def __init__(self, examples: NDArray | Rows, indices: NDArray[np.integer]):
        super().__init__((len(indices), 2, *examples.shape[1:]), examples.dtype)
        self.examples, self.indices = examples, indices

    def __getitem__(self, rows: Index) -> NDArray:
        chosen = self.indices[rows]
        read = self.examples[chosen.ravel().astype(np.intp)]
        return read.reshape(*chosen.shape, *self.shape[2:])

    @classmethod
    def used(cls, examples: NDArray | Rows, indices: NDArray[np.integer]) -> Self:
        """Return pairs, and no example that is in none of them."""
        in_use = np.zeros(len(examples), dtype=bool)
        in_use[indices] = True
        if in_use.all():
            return cls(examples, indices)
        number = np.cumsum(in_use) - 1  # among those in use
        return cls(examples[np.flatnonzero(in_use)], number[indices])


def as_pairs(X: Any, name: str = "X") -> NDArray | Rows:
    """Return an array of pairs, or rows of them that are read some at a time.

    Parameters
    ----------
    X : array-like of shape (n_pairs, 2, ...)
    name : str, default="X"
        What errors call it.

    Raises
    ------
    ValueError
        If X does not have this shape, with further dimensions unless it holds text or other raw
        examples, or is empty.
    """
    if isinstance(X, ExamplePairs):
        examples, is_raw = _numbers_or_raw(X.examples, name)
        pairs: NDArray | Rows = RowsOfPairs.used(examples, X.indices)
    else:
        pairs, is_raw = _numbers_or_raw(X, name)
    if pairs.ndim < 3 - is_raw or pairs.shape[1] != 2:
        raise ValueError(
            f"{name} must hold pairs of examples and have shape (n_pairs, 2, n_features), "
            "(n_pairs, 2, H, W) or (n_pairs, 2, C, H, W), or (n_pairs, 2) where they are text, got "
            f"shape {pairs.shape}; for one pair pass {name}[:1] instead of {name}[0]."
        )
    if 0 in pairs.shape:
        raise ValueError(f"{name} must not be empty, got shape {pairs.shape}.")
    return pairs


def _numbers_or_raw(X: Any, name: str) -> tuple[NDArray | Rows, bool]:
    """Return X as numbers or, for the encoder to judge, raw examples; and whether it is raw."""
    try:
        return as_rows(X, name), False
    except NotNumbersError:
        return np.asarray(X), True


def check_same(same: Any, n_pairs: int) -> NDArray[np.intp]:
    """Return which pairs are the same, 1, and which are different, 0.

    Raises
    ------
    ValueError
        If `same` is not one 0 or 1, False or True, for each pair, or there are fewer than two pairs
        of either kind.
    """
    labels = np.asarray(as_array(same))
    if labels.shape != (n_pairs,):
        raise ValueError(
            f"same must have shape ({n_pairs},), one number per pair, got shape {labels.shape}."
        )
    if not np.isin(labels, [0, 1]).all():
        raise ValueError(
            f"same must hold 1 or True (same) and 0 or False (different), got {labels[:5]!r}."
        )
    counts = np.bincount(labels.astype(np.intp), minlength=2)
    if counts.min() < 2:
        raise ValueError(
            "same must hold two pairs or more of either kind to learn to compare, got "
            f"{counts[1]} same and {counts[0]} different."
        )
    return labels.astype(np.intp)
