"""Exact nearest-neighbour search in memory that does not grow with queries times rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sk_fewshot._utils.device import as_tensor
from sk_fewshot._utils.precision import exact_products, in_steps_of
from sk_fewshot.distances import Metric, paired_distances, pairwise_distances
from sk_fewshot.gallery._inner_products import InnerProducts

_QUERIES = 1024  # a block
_QUERIES_BY_DISTANCE = 64  # a block where distances may take memory for each of the d numbers
_ROWS = 512  # a chunk: with a block of queries 2 MB of scores, which stay in the cache
_BLOCK = 32  # rows of which only the best score is kept, or more where that
_MAXIMA = 2**23  # makes more than these: 32 MB
_BOUNDS = 2**20  # compared with the least score at once
_VISITED_ROWS = 2048  # looked into at once
_PAIRS = 2**14  # of a query and a row, compared at once


def nearest(
    queries: Tensor,
    rows: Tensor,
    k: int,
    *,
    metric: Metric,
    dtype: torch.dtype = torch.float64,
    precedence: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows to each query.

    Where inner products rank as the metric does, a first pass in float32 keeps only the best score
    in each block of rows, with a bound on its error. The blocks that may hold one of the k nearest
    are looked into, and what is found there is compared pair by pair. Other metrics are compared
    with every row.

    Parameters
    ----------
    queries : Tensor of float64 of shape (n_queries, d)
        float64 tells apart what the squares of tiny float32 numbers cannot.
    rows : Tensor of shape (n_rows, d)
        Cast to the dtype of the queries, a chunk at a time.
    k : int
        At most n_rows.
    metric : str or callable
        As for :func:`~sk_fewshot.distances.pairwise_distances`.
    dtype : torch.dtype, default=torch.float64
        Distances that are equal in its digits are equal.
    precedence : Tensor of int of shape (n_rows,) or None, default=None
        Of rows at equal distances the one with the smallest number comes first. None: the first
        row.

    Returns
    -------
    distances : Tensor of shape (n_queries, k)
        The smallest first.
    indices : Tensor of int of shape (n_queries, k)
    """
    if not len(queries):
        return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.int64, device=queries.device)
    by_products = InnerProducts.rank(metric)
    order = _Order(dtype, precedence)
    with exact_products(queries.device):
        products = InnerProducts(metric, rows) if by_products else None
        found = [
            _by_products(block, rows, k, products, metric, order)
            if products is not None
            else _by_distances(block, rows, k, metric, order)
            for block in queries.split(_QUERIES if by_products else _QUERIES_BY_DISTANCE)
        ]
    distances, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert distances.shape == indices.shape == (len(queries), k)
    return distances, indices


def log_sum_exp(
    queries: Tensor, rows: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Logarithm (n_queries,) of the sum over all rows of the exponential of the similarity."""
    totals = []
    with exact_products(queries.device):
        for block in queries.split(_QUERIES):
            total = block.new_full((len(block),), -torch.inf)
            for chunk in rows.split(_ROWS):
                scores = similarity(block, chunk.to(block.dtype))
                total = torch.logaddexp(total, scores.logsumexp(1))
            totals.append(total)
    return torch.cat(totals)


def _by_distances(
    queries: Tensor, rows: Tensor, k: int, metric: Metric, order: _Order
) -> tuple[Tensor, Tensor]:
    """Compare with every row."""
    n_queries = len(queries)  # padded to one shape, so that others do not change the rounding
    queries = F.pad(queries, (0, 0, 0, _QUERIES_BY_DISTANCE - n_queries))
    best = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS].to(queries.dtype)
        here = torch.arange(start, start + len(chunk), device=queries.device)
        best = torch.cat([best, order.steps(pairwise_distances(queries, chunk, metric))], 1)
        indices = torch.cat([indices, here.expand(len(queries), -1)], 1)
        if order.precedence is not None:
            first = order.precedence[indices].argsort(dim=1)
            best, indices = best.gather(1, first), indices.gather(1, first)
        best, nearest_first = best.sort(dim=1, stable=True)
        best, indices = best[:, :k], indices.gather(1, nearest_first[:, :k])
    return best[:n_queries], indices[:n_queries]


def _by_products(
    queries: Tensor,
    rows: Tensor,
    k: int,
    products: InnerProducts,
    metric: Metric,
    order: _Order,
) -> tuple[Tensor, Tensor]:
    """Compare with the rows whose scores may be among the k best."""
    factors, lengths = products.queries(queries)
    size = _block_size(len(rows) * len(queries))
    lower, longest = _lower_bounds(factors, lengths, rows, size, products)
    n_blocks = ceil(len(rows) / size)
    # k blocks hold a row that scores as high, so that the k nearest do
    least = -torch.inf * torch.ones_like(lengths)
    if k <= n_blocks:
        least = lower.flatten(0, 1)[:n_blocks].mT.contiguous().topk(k).values[:, -1]
    within = torch.arange(size, device=rows.device)
    best = _BestPairs(queries, rows, k, metric, order)
    blocks_a_chunk = lower.shape[1]
    a_step = max(1, _BOUNDS // (blocks_a_chunk * len(queries)))
    for first in range(0, len(lower), a_step):
        longest_row = longest[first : first + a_step].unsqueeze(1)  # (n_chunks, 1)
        error = products.error(lengths, longest_row)  # (n_chunks, n_queries)
        upper = lower[first : first + a_step] + 2 * error.unsqueeze(1)
        may_hold = ~(upper < least)  # NaN may
        for visited in may_hold.flatten(0, 1).nonzero().split(_VISITED_ROWS // size):
            block, query = visited.unbind(1)
            row = (first * blocks_a_chunk + block).unsqueeze(1) * size + within
            exists = row < len(rows)  # (n_visited, size)
            if not exists.any():
                continue
            there = rows.index_select(0, row.flatten().clamp(max=len(rows) - 1))
            right, offsets, _ = products.rows(there.unflatten(0, row.shape))
            scores = torch.baddbmm(offsets.unsqueeze(2), right, factors[query].unsqueeze(2))
            error_there = error[block // blocks_a_chunk, query].unsqueeze(1)
            near = ~(scores.squeeze(2) + error_there < least[query].unsqueeze(1)) & exists
            best.add(query.unsqueeze(1).expand_as(row)[near], row[near])
    return best.finish()


def _lower_bounds(
    factors: Tensor, lengths: Tensor, rows: Tensor, size: int, products: InnerProducts
) -> tuple[Tensor, Tensor]:
    """Bound the best score in each block of rows from below.

    Returns
    -------
    lower : Tensor of shape (n_chunks, n_blocks_a_chunk, n_queries)
        -inf for blocks after the last row.
    longest : Tensor of shape (n_chunks,)
        Length of the longest row.
    """
    scores = factors.new_empty(_ROWS, len(factors))
    chunks = rows.split(_ROWS)
    lower = factors.new_empty(len(chunks), _ROWS // size, len(factors))
    longest = factors.new_empty(len(chunks))
    for i, chunk in enumerate(chunks):
        right, offsets, row_lengths = products.rows(chunk)
        longest[i] = row_lengths.max()
        torch.addmm(offsets.unsqueeze(1), right, factors.mT, out=scores[: len(chunk)])
        if len(chunk) < _ROWS:
            scores[len(chunk) :] = -torch.inf
        torch.amax(scores.unflatten(0, (-1, size)), 1, out=lower[i])
        lower[i] -= products.error(lengths, longest[i])
    return lower, longest


def _block_size(n_scores: int) -> int:
    """Rows of which the first pass keeps only the best score: a power of two, at most _ROWS."""
    return min(max(_BLOCK, 2 ** ceil(log2(max(n_scores, 1) / _MAXIMA))), _ROWS)


@dataclass(frozen=True)
class _Order:
    """What comes first: the smaller distance in the digits of a type, then the precedence."""

    dtype: torch.dtype
    precedence: Tensor | None

    def steps(self, distances: Tensor) -> Tensor:
        return in_steps_of(distances, self.dtype)


class _BestPairs:
    """Of pairs of a query and a row, the k nearest for each query."""

    def __init__(self, queries: Tensor, rows: Tensor, k: int, metric: Metric, order: _Order):
        self._queries, self._rows, self._k = queries, rows, k
        self._metric, self._order = metric, order
        none = torch.empty(0, dtype=torch.int64, device=queries.device)
        self._distances = queries.new_empty(0)
        self._pairs = (none, none)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._n_waiting = 0

    def add(self, query: Tensor, row: Tensor) -> None:
        """Add pairs, given as indices."""
        self._waiting.append((query, row))
        self._n_waiting += len(query)
        if self._n_waiting >= _PAIRS:
            self._compare_waiting()

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return distances and rows, both (n_queries, k); what has fewer is compared with all."""
        if self._waiting:
            self._compare_waiting()
        query, row = self._pairs
        short = query.bincount(minlength=len(self._queries)) < self._k
        if short.any():
            return self._compared_with_all(short)
        return self._distances.view(-1, self._k), row.view(-1, self._k)

    def _compared_with_all(self, short: Tensor) -> tuple[Tensor, Tensor]:
        distances = self._queries.new_empty(len(self._queries), self._k)
        indices = torch.empty(distances.shape, dtype=torch.int64, device=distances.device)
        enough = ~short[self._pairs[0]]
        distances[~short] = self._distances[enough].view(-1, self._k)
        indices[~short] = self._pairs[1][enough].view(-1, self._k)
        for i in short.nonzero()[:, 0].tolist():
            every = torch.arange(len(self._rows), device=distances.device)
            alone = _BestPairs(
                self._queries[i : i + 1], self._rows, self._k, self._metric, self._order
            )
            for rows in every.split(_PAIRS):
                alone.add(torch.zeros_like(rows), rows)
            distances[i], indices[i] = (part[0] for part in alone.finish())
        return distances, indices

    def _compare_waiting(self) -> None:
        query, row = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        found = [
            paired_distances(self._queries[q], self._rows[r].to(self._queries.dtype), self._metric)
            for q, r in zip(query.split(_PAIRS), row.split(_PAIRS), strict=True)
        ]
        distances = torch.cat([self._distances, self._order.steps(torch.cat(found))])
        query, row = torch.cat([self._pairs[0], query]), torch.cat([self._pairs[1], row])
        precedence = self._order.precedence
        first = row if precedence is None else precedence[row]
        # by query, then the nearest first, then the first one
        order = as_tensor(np.lexsort([x.cpu().numpy() for x in (first, distances, query)]))
        query, row, distances = (x[order.to(x.device)] for x in (query, row, distances))
        place = torch.arange(len(query), device=query.device) - torch.searchsorted(query, query)
        kept = place < self._k
        self._pairs, self._distances = (query[kept], row[kept]), distances[kept]
        self._waiting, self._n_waiting = [], 0
