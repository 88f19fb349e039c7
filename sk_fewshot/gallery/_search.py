"""Exact nearest-neighbour search in memory that does not grow with queries times rows."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.distances import Metric
from sk_fewshot.gallery._inner_products import InnerProducts

Similarity = Callable[[Tensor, Tensor], Tensor]

_QUERIES = 1024  # a block
_QUERIES_BY_SIMILARITY = 64  # a block where scores may take memory for each of the d numbers
_ROWS = 512  # a chunk: with a block of queries 2 MB of scores, which stay in the cache
_BLOCK = 32  # rows of which only the best score is kept, or more where that
_MAXIMA = 2**23  # makes more than these: 32 MB
_VISITED_ROWS = 2048  # looked into at once
_PAIRS = 2**14  # of a query and a row, scored exactly at once


def nearest(
    queries: Tensor, rows: Tensor, k: int, *, metric: Metric, similarity: Similarity
) -> tuple[Tensor, Tensor]:
    """Find the k rows that are most similar to each query.

    Exact: equal to sorting ``similarity(queries, rows)``, of equal rows the first one first.

    Where inner products rank as the metric does, a first pass in float32 keeps only the largest
    score in each block of rows; only blocks whose largest score comes within rounding of the k-th
    best are looked into, and what is found there is scored by `similarity`.

    Parameters
    ----------
    queries : Tensor of shape (n_queries, d)
    rows : Tensor of shape (n_rows, d)
        Cast to the dtype of the queries, a chunk at a time.
    k : int
        At most n_rows.
    metric : str or callable
        What `similarity` falls with.
    similarity : callable
        Maps tensors (..., n, d) and (..., m, d) to scores (..., n, m).

    Returns
    -------
    scores : Tensor of shape (n_queries, k)
        The largest first.
    indices : Tensor of int of shape (n_queries, k)
    """
    if InnerProducts.rank(metric):
        products = InnerProducts(metric, rows)
        found = [
            _by_products(block, rows, k, products, similarity) for block in queries.split(_QUERIES)
        ]
    else:
        found = [
            _by_similarity(block, rows, k, similarity)
            for block in queries.split(_QUERIES_BY_SIMILARITY)
        ]
    scores, indices = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(indices)


def log_sum_exp(queries: Tensor, rows: Tensor, similarity: Similarity) -> Tensor:
    """Logarithm (n_queries,) of the sum over all rows of the exponential of the similarity."""
    totals = []
    for block in queries.split(_QUERIES):
        total = block.new_full((len(block),), -torch.inf)
        for chunk in rows.split(_ROWS):
            scores = similarity(block, chunk.to(block.dtype))
            total = torch.logaddexp(total, scores.logsumexp(1))
        totals.append(total)
    return torch.cat(totals)


def _by_similarity(
    queries: Tensor, rows: Tensor, k: int, similarity: Similarity
) -> tuple[Tensor, Tensor]:
    n_queries = len(queries)  # padded to one shape, so that others do not change the rounding
    queries = F.pad(queries, (0, 0, 0, _QUERIES_BY_SIMILARITY - n_queries))
    best = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(rows), _ROWS):
        scores = similarity(queries, rows[start : start + _ROWS].to(queries.dtype))
        here = torch.arange(start, start + scores.shape[1], device=queries.device)
        if best.shape[1] == k:  # of equal rows the first one stays
            better = (scores > best[:, -1:]).any(0)
            scores, here = scores[:, better], here[better]
        indices = torch.cat([indices, here.expand(len(queries), -1)], 1)
        best, order = torch.cat([best, scores], 1).sort(dim=1, descending=True, stable=True)
        best, indices = best[:, :k], indices.gather(1, order[:, :k])
    return best[:n_queries], indices[:n_queries]


def _by_products(
    queries: Tensor, rows: Tensor, k: int, products: InnerProducts, similarity: Similarity
) -> tuple[Tensor, Tensor]:
    factors = products.queries(queries)
    scores = factors.new_empty(_ROWS, len(queries))
    size = _block_size(len(rows) * len(queries))
    chunks = rows.split(_ROWS)
    maxima = factors.new_empty(len(chunks), _ROWS // size, len(queries))
    longest = factors.new_zeros(())
    for chunk, largest in zip(chunks, maxima, strict=True):
        right, offsets, lengths = products.rows(chunk)
        longest = torch.maximum(longest, lengths.max())
        torch.addmm(offsets.unsqueeze(1), right, factors.mT, out=scores[: len(chunk)])
        if len(chunk) < _ROWS:
            scores[len(chunk) :] = -torch.inf
        torch.amax(scores.unflatten(0, (-1, size)), 1, out=largest)
    maxima = maxima.flatten(0, 1)[: ceil(len(rows) / size)]  # (n_blocks, n_queries)

    # at least k rows score as high as the k-th largest of the maxima
    kth = maxima.mT.contiguous().topk(k).values[:, -1] if k <= len(maxima) else -torch.inf
    least = kth - 2 * products.error(factors.norm(dim=1), longest)  # (n_queries,)
    within = torch.arange(size, device=rows.device)
    best = _BestPairs(queries, rows, k, similarity)
    for visited in (~(maxima < least)).nonzero().split(_VISITED_ROWS // size):
        block, query = visited.unbind(1)
        row = block.unsqueeze(1) * size + within  # (n_visited, size)
        candidates = rows.index_select(0, row.flatten().clamp(max=len(rows) - 1))
        right, offsets, _ = products.rows(candidates.unflatten(0, row.shape))
        scores = torch.baddbmm(offsets.unsqueeze(2), right, factors[query].unsqueeze(2)).squeeze(2)
        near = ~(scores < least[query].unsqueeze(1)) & (row < len(rows))
        best.add(query.unsqueeze(1).expand_as(row)[near], row[near])
    return best.finish()


def _block_size(n_scores: int) -> int:
    """Rows of which the first pass keeps only the best score: a power of two, at most _ROWS."""
    return min(max(_BLOCK, 2 ** ceil(log2(max(n_scores, 1) / _MAXIMA))), _ROWS)


class _BestPairs:
    """Of pairs of a query and a row, the k most similar for each query."""

    def __init__(self, queries: Tensor, rows: Tensor, k: int, similarity: Similarity):
        self._queries, self._rows, self._k, self._similarity = queries, rows, k, similarity
        none = torch.empty(0, dtype=torch.int64, device=queries.device)
        self._scores = queries.new_empty(0)
        self._pairs = (none, none)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._n_waiting = 0

    def add(self, query: Tensor, row: Tensor) -> None:
        """Add pairs, given as indices, in the order of the rows."""
        self._waiting.append((query, row))
        self._n_waiting += len(query)
        if self._n_waiting >= _PAIRS:
            self._score_waiting()

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return scores and rows, both (n_queries, k)."""
        if self._waiting:
            self._score_waiting()
        return self._scores.view(-1, self._k), self._pairs[1].view(-1, self._k)

    def _score_waiting(self) -> None:
        query, row = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        scored = [
            self._similarity(
                self._queries[q].unsqueeze(1), self._rows[r].to(self._queries.dtype).unsqueeze(1)
            ).flatten()
            for q, r in zip(query.split(_PAIRS), row.split(_PAIRS), strict=True)
        ]
        scores = torch.cat([self._scores, *scored])
        query, row = torch.cat([self._pairs[0], query]), torch.cat([self._pairs[1], row])
        # by query, then the highest score first, then the first row first
        order = as_tensor(np.lexsort([x.cpu().numpy() for x in (row, -scores, query)]))
        query, row, scores = (x[order.to(x.device)] for x in (query, row, scores))
        place = torch.arange(len(query), device=query.device) - torch.searchsorted(query, query)
        kept = place < self._k
        self._pairs, self._scores = (query[kept], row[kept]), scores[kept]
        self._waiting, self._n_waiting = [], 0
