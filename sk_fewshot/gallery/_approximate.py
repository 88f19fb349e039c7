"""Approximate nearest-neighbour search by FAISS, an optional package."""

from __future__ import annotations

from types import ModuleType
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor
from sk_fewshot._utils.precision import in_steps_of
from sk_fewshot.distances import METRICS, Metric, paired_distances, unit
from sk_fewshot.gallery._inner_products import InnerProducts

_QUERIES = 1024  # a block
_ROWS = 2**16  # cast and added at once
_LEAST_A_LIST = 39  # rows, or FAISS warns
_SAMPLE = 1024  # rows that tell centre and scale
_LARGEST = 1e15  # number, of which 1000 squares can be added in float32
_ROWS_A_LIST = 64  # that the lists are learned from, in large galleries


class ApproximateIndex:
    """Rows in inverted lists, of which a search visits those nearest to the query.

    Of n rows there are 4 sqrt(n) lists, and a search visits half the square root of their number,
    8 at least. It holds its own copy of the rows, in float32: centred and scaled, for the cosine
    made unit vectors before.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d)
    metric : {"sqeuclidean", "euclidean", "cosine", "dot"}

    Raises
    ------
    ValueError
        If the rows differ in size by more than float32 holds.
    """

    def __init__(self, rows: NDArray, metric: Metric):
        faiss = load_faiss()
        self._cosine, by_products = metric == "cosine", metric == "dot"
        step = max(1, len(rows) // _SAMPLE)
        self._centred = InnerProducts("sqeuclidean", self._tensor(rows[::step]))
        self._by_products = by_products
        self._n_lists = min(round(4 * len(rows) ** 0.5), len(rows) // _LEAST_A_LIST)
        self._index = faiss.index_factory(
            rows.shape[1],
            f"IVF{self._n_lists},Flat",
            faiss.METRIC_INNER_PRODUCT if by_products else faiss.METRIC_L2,
        )
        self._index.nprobe = max(8, round(self._n_lists**0.5 / 2))
        for start in range(0, len(rows), _ROWS):
            _check_size(self._rows(rows[start : start + _ROWS]))
        self._index.train(self._rows(rows[:: max(1, len(rows) // (_ROWS_A_LIST * self._n_lists))]))
        for start in range(0, len(rows), _ROWS):
            self._index.add(self._rows(rows[start : start + _ROWS]))

    def search(self, queries: Tensor, k: int) -> NDArray[np.int64]:
        """Return the indices (n_queries, k) of about the nearest rows; k is at most n_rows."""
        if self._by_products:  # what the centre adds is the same for all rows
            points = unit(queries.cpu()).float().numpy()
        else:
            points = self._rows(queries.cpu().numpy()).clip(-_LARGEST, _LARGEST)
        found = self._index.search(points, k)[1]
        short = (found < 0).any(axis=1)  # fewer rows in the lists visited
        if short.any():
            everywhere = load_faiss().SearchParametersIVF(nprobe=self._n_lists)
            found[short] = self._index.search(points[short], k, params=everywhere)[1]
        return found

    def _rows(self, rows: NDArray) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._centred.rows(self._tensor(rows))[0].numpy())

    def _tensor(self, rows: NDArray) -> Tensor:
        tensor = as_tensor(rows)
        return unit(tensor.double()) if self._cosine else tensor


def _check_size(points: NDArray[np.float32]) -> None:
    largest = np.abs(points).max()
    if not largest <= _LARGEST:
        raise ValueError(
            "index='faiss' compares in float32, which cannot hold embeddings of such different "
            f"sizes: one is {largest:.3g} times as large as is usual. Remove it, or pass "
            "index=None."
        )


_indices: WeakKeyDictionary[object, dict[Metric, ApproximateIndex]] = WeakKeyDictionary()


def approximate_index(owner: object, rows: NDArray, metric: Metric) -> ApproximateIndex:
    """Return the index of an owner's rows, built when they are first searched by a metric.

    It lives beside the owner, which is copied and pickled without it.
    """
    by_metric = _indices.setdefault(owner, {})
    if metric not in by_metric:
        by_metric[metric] = ApproximateIndex(rows, metric)
    return by_metric[metric]


def nearest_by_index(
    queries: Tensor,
    rows: Tensor,
    k: int,
    *,
    index: ApproximateIndex,
    metric: Metric,
    dtype: torch.dtype,
    precedence: Tensor | None = None,
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
    metric : str
    dtype : torch.dtype
    precedence : Tensor of int of shape (n_rows,) or None, default=None

    Returns
    -------
    distances : Tensor of shape (n_queries, k)
        The smallest first.
    indices : Tensor of int of shape (n_queries, k)
    """
    blocks = [(queries.new_empty(0, k), torch.empty(0, k, dtype=torch.int64, device=rows.device))]
    for block in queries.split(_QUERIES):
        found = as_tensor(index.search(block, k)).to(rows.device)
        first = found if precedence is None else precedence[found]
        found = found.gather(1, first.argsort(dim=1))
        near = rows[found].to(block.dtype)  # (n, k, d)
        distances = in_steps_of(
            paired_distances(block.unsqueeze(1).expand_as(near), near, metric), dtype
        )
        distances, order = distances.sort(dim=1, stable=True)
        blocks.append((distances, found.gather(1, order)))
    all_distances, indices = zip(*blocks, strict=True)
    return torch.cat(all_distances), torch.cat(indices)


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
