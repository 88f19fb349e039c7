"""A gallery of one row per class: the mean of its support embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sk_fewshot.gallery._gallery import MemoryGallery, check_lengths
from sk_fewshot.gallery._growth import is_mapped, updated_rows
from sk_fewshot.gallery._labels import index_of, merge


@dataclass(frozen=True, eq=False)
class ClassMeans(MemoryGallery):
    """The mean embedding of each class.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted, each once.
    rows : ndarray of shape (n_classes, d)
        The means.
    counts : ndarray of int of shape (n_classes,)
        Embeddings of each class.
    sums : ndarray of float64 of shape (n_classes, d) or None
        Their sums. None: the rows are embeddings themselves, read from a file as needed.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.gallery import ClassMeans
    >>> gallery = ClassMeans.of(np.array([[0.0], [2.0], [9.0]]), np.array(["a", "a", "b"]))
    >>> gallery.rows
    array([[1.],
           [9.]])
    >>> gallery.enrolled(np.array([[11.0]]), np.array(["b"])).rows
    array([[ 1.],
           [10.]])
    """

    classes: NDArray
    rows: NDArray
    counts: NDArray[np.intp]
    sums: NDArray[np.float64] | None = None
    arrival: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_lengths(self, classes=self.classes, counts=self.counts)
        if self.sums is not None and self.sums.shape != self.rows.shape:
            raise ValueError(f"sums must have shape {self.rows.shape}, got {self.sums.shape}.")

    @property
    def codes(self) -> NDArray[np.intp]:
        """The class of each row."""
        return np.arange(len(self.classes))

    @property
    def keys(self) -> NDArray[np.intp]:
        """What `kneighbors` returns for each row: its index."""
        return self.codes

    @classmethod
    def of(cls, embeddings, y, ids=None) -> Self:
        """Return the means of support embeddings."""
        refuse_ids(ids)
        classes, codes = np.unique(y, return_inverse=True)
        counts = np.bincount(codes)
        if is_mapped(embeddings) and np.array_equal(codes, np.arange(len(codes))):
            return cls(classes, embeddings, counts)
        sums = _sums_by_class(embeddings.astype(np.float64), codes)
        return cls(classes, _means(sums, counts, embeddings.dtype), counts, sums)

    def enrolled(self, embeddings, y, ids=None) -> Self:
        """Return the means with those of further embeddings, as if all had come at once."""
        refuse_ids(ids)
        labels, own = np.unique(y, return_inverse=True)
        classes, touched, new = merge(self.classes, labels)
        dtype = np.result_type(self.rows, embeddings)
        before = self.rows if dtype == self.rows.dtype else self._means(dtype)
        met = np.isin(touched, new, invert=True)  # which were enrolled before
        place = touched[met] - np.searchsorted(new, touched[met])  # of those, before
        rows = np.concatenate([self._sums()[place], embeddings.astype(np.float64)])
        sums = _sums_by_class(rows, np.concatenate([np.flatnonzero(met), own]))
        counts = np.bincount(own)
        counts[met] += self.counts[place]

        def updated(rows: NDArray, values: NDArray) -> NDArray:
            return updated_rows(rows, touched, values, met)

        return type(self)(
            classes,
            updated(before, _means(sums, counts, dtype)),
            updated(self.counts, counts),
            updated(self._sums(), sums),
        )

    def without_class(self, label: Any) -> Self:
        """Return the means of the other classes."""
        code = index_of(label, self.classes)
        parts = (self.classes, self.rows, self.counts, self._sums())
        return type(self)(*(np.delete(part, code, axis=0) for part in parts))

    def without(self, ids: ArrayLike) -> NoReturn:
        """Refuse: a mean that was rounded cannot be taken apart exactly."""
        refuse_removal()

    def _sums(self) -> NDArray[np.float64]:
        return self.rows.astype(np.float64) if self.sums is None else self.sums

    def _means(self, dtype: np.dtype) -> NDArray:
        return _means(self._sums(), self.counts, dtype)


def refuse_removal() -> NoReturn:
    """Refuse to take single examples back.

    Raises
    ------
    TypeError
        Always.
    """
    raise TypeError(
        "remove takes single examples back, but prototypes are means: the examples themselves "
        "are not kept, and what a rounded mean owes to one of them is lost. Forget the class "
        "by remove_class and enrol its other examples, or use MatchingClassifier or "
        "SiameseClassifier, which keep examples."
    )


def refuse_ids(ids: ArrayLike | None) -> None:
    """Refuse keys.

    Raises
    ------
    TypeError
        If there are any.
    """
    if ids is not None:
        raise TypeError(
            "ids are keys of single examples, but prototypes are means: the examples themselves "
            "are not kept. Use MatchingClassifier or SiameseClassifier, or pass ids=None."
        )


def _means(sums: NDArray[np.float64], counts: NDArray[np.intp], dtype: np.dtype) -> NDArray:
    return (sums / counts[:, None]).astype(dtype)


def _sums_by_class(rows: NDArray, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums (n_classes, d) of the rows (n, d) with each code.

    They run over the rows in order, so that enrolling later, with the earlier sum as the first row,
    is bitwise the same as enrolling at once.
    """
    membership = sparse.csr_array((np.ones(len(rows)), (codes, np.arange(len(rows)))))
    return membership @ rows
