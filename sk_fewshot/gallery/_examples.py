"""A gallery of the support examples themselves, with the caller's keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sk_fewshot.gallery._gallery import MemoryGallery, check_lengths
from sk_fewshot.gallery._growth import is_mapped
from sk_fewshot.gallery._keys import after, checked_ids, numbered
from sk_fewshot.gallery._labels import index_of, kind_of, merge


@dataclass(frozen=True, eq=False)
class Examples(MemoryGallery):
    """The embeddings of all support examples.

    They are sorted by class, then by their bytes, so that everything computed from them is bitwise
    independent of the order in which they came. A memory map whose rows come class by class is kept
    as it is.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted, each once.
    rows : ndarray of shape (n_rows, d)
    codes : ndarray of int of shape (n_rows,)
        The class of each row, as an index into `classes`; ascending.
    arrival : ndarray of int of shape (n_rows,)
        Numbers in the order of enrolment.
    ids : ndarray of shape (n_rows,)
        Keys: integers or strings, each once.
    next_id : int, default=0
        Number of the next example that comes without a key.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.gallery import Examples
    >>> gallery = Examples.of(np.array([[0.0], [9.0]]), np.array(["a", "b"]), ids=[70, 80])
    >>> gallery = gallery.enrolled(np.array([[2.0]]), np.array(["a"]), ids=[90])
    >>> gallery.ids
    array([70, 90, 80])
    >>> gallery.without([70]).rows
    array([[2.],
           [9.]])
    """

    classes: NDArray
    rows: NDArray
    codes: NDArray[np.intp]
    arrival: NDArray[np.intp]
    ids: NDArray
    next_id: int = 0

    def __post_init__(self) -> None:
        check_lengths(self, codes=self.codes, arrival=self.arrival, ids=self.ids)
        counts = np.bincount(self.codes) if (self.codes >= 0).all() else np.zeros(0)
        if len(counts) != len(self.classes) or not counts.all() or (np.diff(self.codes) < 0).any():
            raise ValueError(
                "codes must ascend from 0 and have each of the "
                f"{len(self.classes)} classes at least once."
            )

    @property
    def keys(self) -> NDArray:
        """What `kneighbors` returns for each row: its id."""
        return self.ids

    @classmethod
    def of(cls, embeddings, y, ids=None) -> Self:
        """Return a gallery of support embeddings."""
        classes, codes = np.unique(y, return_inverse=True)
        arrival = np.arange(len(codes))
        if ids is None:
            return cls._sorted(classes, embeddings, codes, arrival, arrival, len(codes))
        ids = checked_ids(ids, len(codes))
        return cls._sorted(classes, embeddings, codes, arrival, ids, after(ids, 0))

    def enrolled(self, embeddings, y, ids=None) -> Self:
        """Return a gallery with further embeddings, as if all had come at once."""
        labels, own = np.unique(y, return_inverse=True)
        classes, place, new = merge(self.classes, labels)
        known = np.delete(np.arange(len(classes)), new)  # codes of those before
        first = self.arrival.max() + 1
        arrival = np.arange(first, first + len(own))
        if ids is None:
            if self.ids.dtype.kind not in "iu":
                raise ValueError(
                    f"ids must be given, as the examples enrolled before have keys such as "
                    f"{self.ids[0]!r}, got ids=None."
                )
            ids = numbered(self.next_id, len(own))
        else:
            ids = checked_ids(ids, len(own), among=self.ids)
        shared = self.ids is self.arrival and np.array_equal(ids, arrival)
        joined = np.concatenate([self.arrival, arrival])
        return self._sorted(
            classes,
            np.concatenate([self.rows, embeddings]),
            np.concatenate([known[self.codes], place[own]]),
            joined,
            joined if shared else np.concatenate([self.ids, ids]),
            after(ids, self.next_id),
        )

    def find(self, embeddings: NDArray, codes: NDArray[np.intp]) -> NDArray[np.intp]:
        """Find the rows of enrolled examples.

        Parameters
        ----------
        embeddings : ndarray of shape (n, d)
        codes : ndarray of int of shape (n,)
            Their classes, as indices into `classes`.

        Returns
        -------
        ndarray of int of shape (n,)
            Rows that are equal and of the class, none of them twice; -1 where there is none.
        """
        given = np.ascontiguousarray(embeddings.astype(self.rows.dtype) + 0.0)
        looked_for: dict[tuple[int, bytes], list[int]] = {}
        for i, (code, row) in enumerate(zip(codes.tolist(), given, strict=True)):
            looked_for.setdefault((code, row.tobytes()), []).append(i)
        found = np.full(len(codes), -1)
        for position in np.flatnonzero(np.isin(self.codes, codes)):
            key = (int(self.codes[position]), self.rows[position].tobytes())
            if places := looked_for.get(key):
                found[places.pop()] = position
        return found

    def without_class(self, label: Any) -> Self:
        """Return a gallery of the other classes' examples."""
        return self._kept(self.codes != index_of(label, self.classes))

    def without(self, ids: ArrayLike) -> Self:
        """Return a gallery without the examples of these ids.

        Raises
        ------
        ValueError
            If an id is none of those enrolled, or no example is left.
        """
        given = checked_ids(ids, None)
        unknown = given if kind_of(given) != kind_of(self.ids) else given[~np.isin(given, self.ids)]
        if len(unknown):
            raise ValueError(f"ids must be among those enrolled, got {unknown[:5].tolist()}.")
        kept = ~np.isin(self.ids, given)
        if not kept.any():
            raise ValueError(
                "ids has all examples that are enrolled, and a classifier cannot be without any; "
                "enrol others first, or fit anew."
            )
        return self._kept(kept)

    def _kept(self, kept: NDArray[np.bool_]) -> Self:
        present, codes = np.unique(self.codes[kept], return_inverse=True)
        arrival = self.arrival[kept]
        ids = arrival if self.ids is self.arrival else self.ids[kept]
        return type(self)(self.classes[present], self.rows[kept], codes, arrival, ids, self.next_id)

    @classmethod
    def _sorted(cls, classes, rows, codes, arrival, ids, next_id) -> Self:
        if not (is_mapped(rows) and (np.diff(codes) >= 0).all()):
            rows = np.ascontiguousarray(rows + 0.0)  # -0.0 becomes 0.0
            order = byte_order(rows)
            order = order[codes[order].argsort(kind="stable")]
            rows, codes = rows[order], codes[order]
            shared = ids is arrival
            arrival = arrival[order]
            ids = arrival if shared else ids[order]
        return cls(classes, rows, codes, arrival, ids, next_id)


def byte_order(embeddings: NDArray) -> NDArray[np.intp]:
    """Return the indices (n,) that sort embeddings (n, d), without -0.0, by their bytes.

    Of equal rows the first one stays first.
    """
    rows = np.ascontiguousarray(embeddings)
    return rows.view(np.dtype((np.void, rows.strides[0])))[:, 0].argsort(kind="stable")
