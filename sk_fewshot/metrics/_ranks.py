"""Where the matches of queries stand in a ranking by distance.

A match is a reference example of the query's class. At equal distances, examples of other classes
are taken to be nearer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, gen_batches
from sklearn.utils._chunking import get_chunk_n_rows
from torch import Tensor

from sk_fewshot._utils.containers import as_rows
from sk_fewshot._utils.device import as_tensor
from sk_fewshot.distances import Metric, pairwise_distances
from sk_fewshot.gallery._inner_products import InnerProducts
from sk_fewshot.gallery._search import nearest
from sk_fewshot.metrics._labels import as_codes, as_labels

_CHUNK_BYTES = 2**26  # of distances and what they are compared with: more leaves the cache
_ROWS_A_NEIGHBOR = 512  # fewer are compared with faster than searched
_NEIGHBORS_AT_ONCE = 2**22
_SHARE_SEARCHED = 0.9  # of the queries; the others need more neighbours, and are compared with all


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Queries, the reference examples that each of them searches, and which of these match.

    Attributes
    ----------
    queries, reference : Tensor of shape (n_queries, d), (n_reference, d)
    code, code_reference : ndarray of int of shape (n_queries,), (n_reference,)
        Classes.
    source, source_reference : ndarray of int of shape (n_queries,), (n_reference,)
        A reference example of the query's class and source is left out, as if it were not there.
    metric : str or callable
    """

    queries: Tensor
    reference: Tensor
    code: NDArray[np.intp]
    code_reference: NDArray[np.intp]
    source: NDArray[np.intp]
    source_reference: NDArray[np.intp]
    metric: Metric

    @classmethod
    def of(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        X_reference: ArrayLike | None,
        y_reference: ArrayLike | None,
        metric: Metric,
        cameras: ArrayLike | None = None,
        cameras_reference: ArrayLike | None = None,
    ) -> Self:
        """Check the arguments of a score; without references each query searches the others.

        Raises
        ------
        ValueError
            If they do not fit together, or no query has a match.
        """
        queries, labels = _check_labelled(X, y)
        alone = X_reference is None
        if alone != (y_reference is None):
            raise ValueError("X_reference and y_reference must be given together, got only one.")
        if X_reference is None or y_reference is None:
            reference, labels_reference = queries, labels
        else:
            reference, labels_reference = _check_labelled(X_reference, y_reference, "_reference")
        if queries.shape[1] != reference.shape[1]:
            raise ValueError(
                "X and X_reference must have the same number of columns, got "
                f"{queries.shape[1]} and {reference.shape[1]}."
            )
        dtype = np.result_type(queries, reference)
        queries, reference = (array.astype(dtype, copy=False) for array in (queries, reference))
        if alone and cameras_reference is not None:
            raise ValueError("cameras_reference must be None without X_reference.")
        if not alone and (cameras is None) != (cameras_reference is None):
            raise ValueError("cameras and cameras_reference must be given together, got only one.")
        if cameras is not None:
            of_queries = as_labels(cameras, "cameras")
            check_consistent_length(queries, of_queries)
            of_reference = of_queries
            if cameras_reference is not None:
                of_reference = as_labels(cameras_reference, "cameras_reference")
                check_consistent_length(reference, of_reference)
            source, source_reference = as_codes(of_queries, of_reference, "cameras")
        elif alone:  # a query leaves itself out
            source = source_reference = np.arange(len(queries))
        else:
            source, source_reference = np.zeros(len(queries), int), np.ones(len(reference), int)
        code, code_reference = as_codes(labels, labels_reference)
        retrieval = cls(
            as_tensor(queries),
            as_tensor(reference.copy()),
            code,
            code_reference,
            source,
            source_reference,
            metric,
        )
        if not retrieval.n_matches.any():
            raise ValueError(
                "No query has a match: a class of y needs "
                + ("a second example" if alone else "an example in y_reference")
                + (" of another camera." if cameras is not None else ".")
            )
        return retrieval

    @property
    def n_left_out(self) -> NDArray[np.intp]:
        """Reference examples (n_queries,) of the query's class and source."""
        n_sources = 1 + max(self.source.max(), self.source_reference.max())
        of_reference = self.code_reference * n_sources + self.source_reference
        present, counts = np.unique(of_reference, return_counts=True)
        own = self.code * n_sources + self.source
        place = np.minimum(np.searchsorted(present, own), len(present) - 1)
        return np.where(present[place] == own, counts[place], 0)

    @property
    def n_matches(self) -> NDArray[np.intp]:
        """Matches (n_queries,)."""
        n_classes = 1 + max(self.code.max(), self.code_reference.max())
        return np.bincount(self.code_reference, minlength=n_classes)[self.code] - self.n_left_out

    def first_matches(self, depth: int) -> Iterator[Tensor]:
        """Yield the rank of each query's nearest match, some queries at a time, in any order.

        Ranks count from 1; those above `depth` are only known to be above. Queries without a match
        are left out.
        """
        answerable = np.flatnonzero(self.n_matches)
        depths = np.full(len(answerable), depth)
        for rank, _ in self._ranks(answerable, depths, n_places=1):
            yield rank[:, 0]

    def matches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the ranks of each query's matches, some queries at a time, in any order.

        Yields
        ------
        rank : Tensor of shape (n, n_places)
            The nearest match first. With R matches, ranks above R are only known to be above.
        n_matches : Tensor of shape (n, 1)
            R, at least 1: queries without a match are left out.
        """
        n_matches = self.n_matches
        answerable = np.flatnonzero(n_matches)
        depths = n_matches[answerable]
        yield from self._ranks(answerable, depths, n_places=int(depths.max()))

    def _ranks(
        self, rows: NDArray[np.intp], depths: NDArray[np.intp], n_places: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        needed = depths + self.n_left_out[rows]
        k = 1 + int(np.quantile(needed, _SHARE_SEARCHED, method="higher"))
        if InnerProducts.rank(self.metric) and len(self.reference) >= _ROWS_A_NEIGHBOR * k:
            left = []
            for batch in gen_batches(len(rows), max(1024, _NEIGHBORS_AT_ONCE // k)):
                rank, enough = self._among_nearest(rows[batch], depths[batch], n_places, k)
                yield rank[enough], as_tensor(depths[batch])[enough, None]
                left.append(np.arange(len(rows))[batch][~enough.numpy()])
            unanswered = np.concatenate(left)
            rows, depths = rows[unanswered], depths[unanswered]
        if len(rows) == 0:
            return
        deepest = min(int(depths.max()), len(self.reference))
        n_places = min(n_places, len(self.reference))
        row_bytes = 8 * (5 * len(self.reference) + 4 * (deepest + n_places))
        n_rows = get_chunk_n_rows(row_bytes, max_n_rows=max(1, _CHUNK_BYTES // row_bytes))
        for batch in gen_batches(len(rows), n_rows):
            yield self._among_all(rows[batch], deepest, n_places), as_tensor(depths[batch, None])

    def _among_all(self, rows: NDArray[np.intp], deepest: int, n_places: int) -> Tensor:
        """Ranks (n, n_places) in the ranking of all reference examples."""
        distances = pairwise_distances(self.queries[rows], self.reference, self.metric).float()
        if distances.isnan().any():
            raise ValueError("metric must not give NaN distances.")
        same = as_tensor(self.code[rows, None]) == as_tensor(self.code_reference)
        left_out = same & (as_tensor(self.source[rows, None]) == as_tensor(self.source_reference))
        return self._places(distances, same & ~left_out, ~same, deepest, n_places)

    def _among_nearest(
        self, rows: NDArray[np.intp], depths: NDArray[np.intp], n_places: int, k: int
    ) -> tuple[Tensor, Tensor]:
        """Ranks (n, n_places) among the k nearest, and for which queries (n,) these are enough."""
        distances, found = nearest(self.queries[rows], self.reference, k, metric=self.metric)
        distances = distances.float()
        places = found.numpy()
        same = as_tensor(self.code[rows, None] == self.code_reference[places])
        left_out = same & as_tensor(self.source[rows, None] == self.source_reference[places])
        known = distances < distances[:, -1:]  # there may be others at the last distance
        enough = (known & ~left_out).sum(1) >= as_tensor(depths)
        ranks = self._places(distances, same & ~left_out & known, ~same, k, min(n_places, k))
        return ranks, enough

    def _places(
        self, distances: Tensor, matches: Tensor, others: Tensor, deepest: int, n_places: int
    ) -> Tensor:
        """Ranks (n, n_places) of the nearest matches, exact up to `deepest`."""
        nearest_matches = _smallest(distances, matches, n_places)
        nearest_others = _smallest(distances, others, deepest)
        before = torch.searchsorted(nearest_others, nearest_matches, right=True)
        ranks = torch.arange(1, n_places + 1) + before
        return torch.where(nearest_matches.isinf(), len(self.reference) + 1, ranks)


def _smallest(distances: Tensor, among: Tensor, k: int) -> Tensor:
    """Each row's k smallest distances where `among`, ascending, then infinities."""
    return distances.masked_fill(~among, torch.inf).topk(k, largest=False).values


def _check_labelled(X: ArrayLike, y: ArrayLike, suffix: str = "") -> tuple[NDArray, NDArray]:
    name = f"X{suffix}"
    embeddings = check_array(
        np.asarray(as_rows(X, name)), dtype=[np.float64, np.float32], input_name=name
    )
    labels = as_labels(y, f"y{suffix}")
    check_consistent_length(embeddings, labels)
    return embeddings, labels
