"""Approximate nearest-neighbour search by FAISS, an optional package."""

from __future__ import annotations

from types import ModuleType
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.distances import METRICS, Metric, unit
from sk_fewshot.gallery._inner_products import InnerProducts
from sk_fewshot.gallery._search import Similarity

_QUERIES = 1024  # a block
_ROWS = 2**16  # cast and added at once
_LEAST_A_LIST = 39  # rows, or FAISS warns
_ROWS_A_LIST = 64  # that the lists are learned from, in large galleries


class ApproximateIndex:
    """Rows in inverted lists, of which a search visits those nearest to the query.

    Of n rows there are 4 sqrt(n) lists, and a search visits half the square root of their number,
    8 at least. It holds its own copy of the rows, in float32.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d)
    metric : {"sqeuclidean", "euclidean", "cosine", "dot"}
    """

    def __init__(self, rows: NDArray, metric: Metric):
        faiss = load_faiss()
        self._cosine = metric == "cosine"
        products = metric in ("cosine", "dot")
        self._n_lists = min(round(4 * len(rows) ** 0.5), len(rows) // _LEAST_A_LIST)
        self._index = faiss.index_factory(
            rows.shape[1],
            f"IVF{self._n_lists},Flat",
            faiss.METRIC_INNER_PRODUCT if products else faiss.METRIC_L2,
        )
        self._index.nprobe = max(8, round(self._n_lists**0.5 / 2))
        self._index.train(
            self._points(rows[:: max(1, len(rows) // (_ROWS_A_LIST * self._n_lists))])
        )
        for start in range(0, len(rows), _ROWS):
            self._index.add(self._points(rows[start : start + _ROWS]))

    def search(self, queries: NDArray, k: int) -> NDArray[np.int64]:
        """Return the indices (n_queries, k) of about the nearest rows; k is at most n_rows."""
        points = self._points(queries)
        found = self._index.search(points, k)[1]
        short = (found < 0).any(axis=1)  # fewer rows in the lists visited
        if short.any():
            everywhere = load_faiss().SearchParametersIVF(nprobe=self._n_lists)
            found[short] = self._index.search(points[short], k, params=everywhere)[1]
        return found

    def _points(self, rows: NDArray) -> NDArray[np.float32]:
        points = np.ascontiguousarray(rows, dtype=np.float32)
        return unit(as_tensor(points)).numpy() if self._cosine else points


_Known = tuple[ReferenceType[NDArray], Metric, ApproximateIndex]
_indices: WeakKeyDictionary[object, _Known] = WeakKeyDictionary()


def approximate_index(owner: object, rows: NDArray, metric: Metric) -> ApproximateIndex:
    """Return the index of an estimator's rows, built when they or the metric are others.

    It lives beside the estimator, which is copied and pickled without it.
    """
    known = _indices.get(owner)
    if known is None or known[0]() is not rows or known[1] != metric:
        known = ref(rows), metric, ApproximateIndex(rows, metric)
        _indices[owner] = known
    return known[2]


def nearest_by_index(
    queries: Tensor, rows: Tensor, k: int, *, index: ApproximateIndex, similarity: Similarity
) -> tuple[Tensor, Tensor]:
    """As :func:`sk_fewshot.gallery._search.nearest`, among the rows that an index finds.

    Parameters
    ----------
    queries : Tensor of shape (n_queries, d)
    rows : Tensor of shape (n_rows, d)
        Those in the index.
    k : int
        At most n_rows.
    index : ApproximateIndex
    similarity : callable
        Maps tensors (..., n, d) and (..., m, d) to scores (..., n, m).

    Returns
    -------
    scores : Tensor of shape (n_queries, k)
        The largest first.
    indices : Tensor of int of shape (n_queries, k)
    """
    blocks = []
    for block in queries.split(_QUERIES):
        found = as_tensor(index.search(block.cpu().numpy(), k)).to(rows.device)
        found = found.sort(dim=1).values  # of equal rows the first one comes first
        near = rows[found].to(block.dtype)  # (n, k, d)
        scores = similarity(block.unsqueeze(1), near).squeeze(1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        blocks.append((scores, found.gather(1, order)))
    all_scores, indices = zip(*blocks, strict=True)
    return torch.cat(all_scores), torch.cat(indices)


def check_index(metric: Metric) -> None:
    """Check that there is an index for a metric.

    Raises
    ------
    ImportError
        If FAISS is not installed.
    ValueError
        If the metric is none that inner products rank by.
    """
    load_faiss()
    if not InnerProducts.rank(metric):
        allowed = [name for name in METRICS if InnerProducts.rank(name)]
        raise ValueError(f"index='faiss' needs a metric among {allowed}, got metric={metric!r}.")


def load_faiss() -> ModuleType:
    """Import FAISS.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "index='faiss' needs the package faiss: pip install \"sk-fewshot[faiss]\"."
        ) from error
    return faiss
