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
_MORE_BY_PRODUCTS = 4  # times as many lists: queries lie far from all rows
_LARGEST = 1e15  # number, of which 1000 squares can be added in float32
_ROWS_A_LIST = 64  # that the lists are learned from, in large galleries


class ApproximateIndex:
    """Rows in inverted lists, of which a search visits those nearest to the query.

    Of n rows there are 4 sqrt(n) lists, and a search visits half the square root of their number,
    8 at least; four times as many for products. It holds its own copy of the rows, in float32:
    centred and scaled, for the cosine made unit vectors before. For products each row gets one
    further number that brings all to one length, so that the nearest point has the largest product
    (Bachrach et al., "Speeding Up the Xbox Recommender System Using a Euclidean Transformation for
    Inner-Product Spaces", RecSys 2014).

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
        self._cosine, self._by_products = metric == "cosine", metric == "dot"
        step = max(1, len(rows) // _SAMPLE)
        self._centred = InnerProducts("sqeuclidean", self._tensor(rows[::step]))
        parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
        self._longest = max(_checked_length(self._points(part)) for part in parts)
        self._n_lists = min(round(4 * len(rows) ** 0.5), len(rows) // _LEAST_A_LIST)
        width = rows.shape[1] + self._by_products
        self._index = faiss.index_factory(width, f"IVF{self._n_lists},Flat", faiss.METRIC_L2)
        n_visited = max(8, round(self._n_lists**0.5 / 2))
        self._index.nprobe = _MORE_BY_PRODUCTS * n_visited if self._by_products else n_visited
        self._index.train(self._rows(rows[:: max(1, len(rows) // (_ROWS_A_LIST * self._n_lists))]))
        for part in parts:
            self._index.add(self._rows(part))

    def search(self, queries: Tensor, k: int) -> NDArray[np.int64]:
        """Return the indices (n_queries, k) of about the nearest rows; k is at most n_rows."""
        if self._by_products:  # neither their length nor what the centre adds changes the ranking
            directions = self._longest * unit(queries.cpu())
            points = np.pad(directions.float().numpy(), ((0, 0), (0, 1)))
        else:
            points = self._points(queries.cpu().numpy()).clip(-_LARGEST, _LARGEST)
        found = self._index.search(points, k)[1]
        short = (found < 0).any(axis=1)  # fewer rows in the lists visited
        if short.any():
            everywhere = load_faiss().SearchParametersIVF(nprobe=self._n_lists)
            found[short] = self._index.search(points[short], k, params=everywhere)[1]
        return found

    def _rows(self, rows: NDArray) -> NDArray[np.float32]:
        points = self._points(rows)
        if not self._by_products:
            return points
        squares = np.square(points, dtype=np.float64).sum(axis=1)
        rest = np.sqrt(np.maximum(self._longest**2 - squares, 0))
        return np.hstack([points, rest[:, None].astype(np.float32)])

    def _points(self, rows: NDArray) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._centred.rows(self._tensor(rows))[0].numpy())

    def _tensor(self, rows: NDArray) -> Tensor:
        tensor = as_tensor(rows)
        return unit(tensor.double()) if self._cosine else tensor


def _checked_length(points: NDArray[np.float32]) -> float:
    """Return the length of the longest point, if float32 holds its square."""
    largest = np.abs(points).max()
    if not largest <= _LARGEST:
        raise ValueError(
            "index='faiss' compares in float32, which cannot hold embeddings of such different "
            f"sizes: one is {largest:.3g} times as large as is usual. Remove it, or pass "
            "index=None."
        )
    return float(np.linalg.norm(points.astype(np.float64), axis=1).max())


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


def check_index(metric: Metric | None) -> None:
    """Check that there is an index for a metric; None stands for a learned comparator.

    Raises
    ------
    ImportError
        If FAISS is not installed.
    ValueError
        If the metric is none that inner products rank by.
    """
    load_faiss()
    if metric is None or not InnerProducts.rank(metric):
        allowed = [name for name in METRICS if InnerProducts.rank(name)]
        given = repr(metric) if isinstance(metric, str) else "a function or a learned comparator"
        raise ValueError(f"index='faiss' needs a metric among {allowed}, got metric={given}.")


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
