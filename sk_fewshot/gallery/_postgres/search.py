"""The nearest rows of a gallery: found by the server for few queries, while reading for many.

The server computes in float32 and knows no order among equal distances. So it is asked for more
rows than are needed, which are compared again here. Where a row that it left out could still be
among the nearest, by a bound on its rounding, all rows are read and compared here, some at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor, on_device, torch_dtype
from sk_fewshot._utils.precision import in_steps_of
from sk_fewshot.distances import paired_distances, unit
from sk_fewshot.gallery._gallery import Neighbors, check_n_neighbors
from sk_fewshot.gallery._postgres.tables import MOST_BY_INDEX, Rows, Settings, Tables, as_rows
from sk_fewshot.gallery._postgres.values import as_float32, lengths_of
from sk_fewshot.gallery._search import nearest

_FEW = 16  # queries; more are answered sooner by reading all rows once
_MARGIN = 16  # rows beside twice as many as are needed
_NUMBERS = 2**23  # of rows fetched at once
_TINY = float(np.finfo(np.float32).tiny)
_STEP = 2.0**-22  # more than distances differ by that are shown as equal


def neighbors(
    database: Tables,
    settings: Settings,
    queries: NDArray,
    k: int,
    *,
    device: torch.device,
    by_index: bool,
) -> Neighbors:
    """Find the k nearest rows to each query.

    Parameters
    ----------
    database : Tables
    settings : Settings
    queries : ndarray of shape (n_queries, d)
    k : int
    device : torch.device
        Where distances are computed.
    by_index : bool
        Whether the server may miss some for the sake of time.

    Returns
    -------
    Neighbors
        Its keys are the labels where rows have no ids.

    Raises
    ------
    ValueError
        If there are fewer than k rows.
    """
    if k < 1 or not len(queries):
        check_n_neighbors(k, database.count())
    wanted = _Wanted(settings, queries, k, device)
    left = np.arange(len(queries))
    answers = []
    n = min(2 * k + _MARGIN, MOST_BY_INDEX)
    if k <= n and (by_index or len(queries) <= _FEW):
        a_block = max(1, _NUMBERS // (n * settings.dimension))
        unsettled = [left[:0]]
        for start in range(0, len(queries), a_block):
            block = left[start : start + a_block]
            best, settled = _asked(database, wanted, block, n, by_index=by_index)
            if best is not None:
                answers.append((block[settled], best))
            unsettled.append(block[~settled])
        left = np.concatenate(unsettled)
    if len(left) or not answers:
        answers.append((left, _read(database, wanted, left)))
    order = np.concatenate([at for at, _ in answers]).argsort()
    best = _Candidates.beside([best for _, best in answers], axis=0).of(order)
    distances = best.distances.astype(np.result_type(queries, np.float32), copy=False)
    return Neighbors(distances, best.labels, best.labels if best.ids is None else best.ids)


@dataclass(frozen=True)
class _Wanted:
    """What is looked for: the k nearest rows to each of the queries (n_queries, d)."""

    settings: Settings
    queries: NDArray
    k: int
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Distances that are equal in its digits are equal."""
        return torch_dtype(np.result_type(self.queries, np.float32))

    def on_device(self, at: NDArray[np.intp]) -> Tensor:
        """Some of the queries, in float64."""
        return on_device(self.queries[at], self.device).double()


@dataclass(frozen=True)
class _Candidates:
    """Rows that may be among the nearest, of each query; all arrays (n_queries, n)."""

    distances: Any
    labels: Any
    arrival: Any
    ids: Any  # None: rows have none

    @staticmethod
    def beside(parts: list[_Candidates], *, axis: int = 1) -> _Candidates:
        """Return further rows of the same queries, or with axis=0 rows of further queries."""
        columns = zip(*(part._arrays() for part in parts), strict=True)
        return _Candidates(*(None if c[0] is None else np.concatenate(c, axis) for c in columns))

    def of(self, queries: NDArray) -> _Candidates:
        """Return the rows of some queries."""
        return _Candidates(*(None if part is None else part[queries] for part in self._arrays()))

    def first(self, k: int) -> _Candidates:
        """Return the k first of each query: by distance, then by class, then by arrival."""
        codes = np.unique(self.labels, return_inverse=True)[1].reshape(self.labels.shape)
        order = np.lexsort((self.arrival, codes, self.distances), axis=1)[:, :k]
        rows = np.arange(len(order))[:, None]
        return _Candidates(*(None if x is None else x[rows, order] for x in self._arrays()))

    def _arrays(self) -> tuple[Any, ...]:
        return self.distances, self.labels, self.arrival, self.ids


def _asked(
    database: Tables, wanted: _Wanted, at: NDArray[np.intp], n: int, *, by_index: bool
) -> tuple[_Candidates | None, NDArray[np.bool_]]:
    """Let the server find the n nearest rows to some queries.

    Returns
    -------
    best : _Candidates or None
        The nearest rows to those queries that are settled, if any.
    settled : ndarray of bool of shape (n_queries,)
        Whether no other row can be among them, or the search is approximate.
    """
    settings, k = wanted.settings, wanted.k
    sent = _sendable(wanted.queries[at].astype(np.float64), settings)
    found = database.nearest(settings, sent, n, by_index=by_index)
    number = np.array([row[0] for row in found], dtype=np.intp) - 1  # of the query
    counts = np.bincount(number, minlength=len(at))
    enough = counts >= k
    if not enough.any():
        return None, enough
    n_found = counts[enough].min()
    place = np.arange(len(found)) - np.searchsorted(number, number)
    kept = np.flatnonzero(enough[number] & (place < n_found))
    rows = as_rows([found[i][2:] for i in kept], settings)
    shape = (int(enough.sum()), n_found)
    near = on_device(rows.embeddings, wanted.device).double().unflatten(0, shape)
    queries = wanted.on_device(at[enough]).unsqueeze(1).expand_as(near)
    distances = in_steps_of(paired_distances(queries, near, settings.metric), wanted.dtype)
    best = _candidates(distances, rows, np.arange(len(kept)).reshape(shape)).first(k)
    if by_index or n_found < n:
        return best, enough
    last = np.array([row[1] for row in found])[kept].reshape(shape)[:, -1]
    settled = _none_nearer(wanted.queries[at], sent, last, best.distances[:, -1], settings)
    return (best.of(settled) if settled.any() else None), settled


def _read(database: Tables, wanted: _Wanted, at: NDArray[np.intp]) -> _Candidates:
    """Read all rows and compare them here."""
    queries, best, n_rows = wanted.on_device(at), None, 0
    for rows in database.read(wanted.settings):
        n_rows += len(rows.labels)
        order = np.lexsort((rows.arrival, np.unique(rows.labels, return_inverse=True)[1]))
        precedence = np.empty_like(order)
        precedence[order] = np.arange(len(order))
        with torch.inference_mode():
            distances, positions = nearest(
                queries,
                on_device(rows.embeddings, wanted.device),
                min(wanted.k, len(rows.labels)),
                metric=wanted.settings.metric,
                dtype=wanted.dtype,
                precedence=on_device(precedence, wanted.device),
            )
        here = _candidates(distances, rows, positions.cpu().numpy())
        best = here if best is None else _Candidates.beside([best, here]).first(wanted.k)
    check_n_neighbors(wanted.k, n_rows)
    assert best is not None
    return best


def _candidates(distances: Tensor, rows: Rows, positions: NDArray[np.intp]) -> _Candidates:
    return _Candidates(
        distances.cpu().numpy(),
        rows.labels[positions],
        rows.arrival[positions],
        None if rows.ids is None else rows.ids[positions],
    )


def _sendable(queries: NDArray[np.float64], settings: Settings) -> NDArray[np.float32]:
    """Return queries (n, d) that rank alike and whose products float32 has room for."""
    if settings.metric in ("sqeuclidean", "euclidean"):
        return as_float32(queries, settings.metric)
    return unit(as_tensor(queries)).numpy().astype(np.float32)


def _none_nearer(
    queries: NDArray,
    sent: NDArray[np.float32],
    last: NDArray[np.float64],
    reach: NDArray[np.float64],
    settings: Settings,
) -> NDArray[np.bool_]:
    """Whether every row that the server left out is farther than `reach`.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, d)
    sent : ndarray of float32 of shape (n_queries, d)
        Those that the server compared with, in their place.
    last : ndarray of shape (n_queries,)
        Distances of the last rows that it returned, as it computed them.
    reach : ndarray of shape (n_queries,)
        Distances of the k-th nearest of those, exact.
    """
    # a sum of d terms in any order is wrong by at most d roundings of their size
    roundings = (settings.dimension + 16) * 2.0**-23
    if settings.metric in ("sqeuclidean", "euclidean"):
        reach = np.sqrt(reach) if settings.metric == "sqeuclidean" else reach
        moved = np.linalg.norm(queries.astype(np.float64) - sent, axis=1)
        underflow = (settings.dimension * _TINY) ** 0.5
        least = last * (1 - roundings) - moved - underflow
    elif settings.metric == "cosine":
        least = last - 4 * roundings
    else:
        lengths = lengths_of(queries)
        reach = np.divide(reach, lengths, out=np.full_like(reach, np.inf), where=lengths > 0)
        least = last - 2 * roundings * settings.longest - settings.dimension * _TINY
    return least > reach + _STEP * np.abs(reach)
