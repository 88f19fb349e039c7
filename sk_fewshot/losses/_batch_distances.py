"""Distances within one batch: all of some rows, of chosen pairs, or rough ones to choose by."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sk_fewshot.distances import METRICS, Metric, pairwise_distances

_LARGE = 128  # examples of a batch

METRIC_CONSTRAINT = [StrOptions(set(METRICS)), callable]


class BatchDistances:
    """Distances within one batch, as :func:`pairwise_distances` defines them.

    The Euclidean ones are written as one product of matrices that are prepared once for all rows.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        The batch, float32 or float64.
    metric : str or callable
        As for :func:`pairwise_distances`.
    """

    def __init__(self, z: Tensor, metric: Metric) -> None:
        self.z = z.detach()
        self.metric = metric
        self.euclidean = metric in ("euclidean", "sqeuclidean")

    def rows(self, z: Tensor, rows: slice, first: int = 0) -> Tensor:
        """Distances (r, n - first) from ``z[rows]`` to ``z[first:]``.

        Parameters
        ----------
        z : Tensor of shape (n, d)
            The batch again, as the leaf or node to differentiate.
        rows : slice
        first : int, default=0
        """
        if self.euclidean:
            return _Euclidean.apply(z, self, rows, first)
        return pairwise_distances(z[rows], z[first:], self.metric)

    def pairs(self, z: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Distances (k,) between ``z[i]`` and ``z[j]``, by their differences."""
        if callable(self.metric):
            return pairwise_distances(z, z, self.metric)[i, j]
        x, y = z.index_select(0, i), z.index_select(0, j)  # (k, d)
        if self.euclidean:
            distances = torch.linalg.vector_norm(x - y, dim=1)
            return distances.square() if self.metric == "sqeuclidean" else distances
        return pairwise_distances(x.unsqueeze(1), y.unsqueeze(1), self.metric).flatten()

    @torch.no_grad()
    def rough(self, rows: slice, first: int = 0) -> Tensor:
        """Like ``rows``, to rank by: squared for both Euclidean metrics, in the dtype of z."""
        if self.euclidean:
            left, right = self._rough_factors
            return left[rows] @ right[first:].T
        return pairwise_distances(self.z[rows], self.z[first:], self.metric)

    def within(self, radius: float, rows: slice, first: int = 0) -> Tensor:
        """Mask (r, n - first) of all pairs closer than the radius, maybe a few others, and NaN."""
        limit: float | Tensor = radius**2 if self.metric == "euclidean" else radius
        if self.euclidean:
            rounding = 64 * torch.finfo(self.z.dtype).eps * self._rough_factors[1][:, -1].max()
            limit = limit + rounding
        return (self.rough(rows, first) >= limit).logical_not_()

    @cached_property
    def _rough_factors(self) -> tuple[Tensor, Tensor]:
        return _factors(self.z - self.z.mean(0))

    @cached_property
    def _exact_factors(self) -> tuple[Tensor, Tensor]:
        z = self.z.double()
        return _factors(z - z.mean(0))


def may_be_sparse(z: Tensor) -> bool:
    """Whether to look for few numbers among all pairs of z (n, d): in large batches on the CPU.

    Another device would have to be waited for.
    """
    return z.device.type == "cpu" and len(z) >= _LARGE


def is_sparse(pairs: Tensor) -> bool:
    """Whether so few numbers are not zero that those are better picked."""
    return 16 * int(pairs.count_nonzero()) < pairs.numel()


def _factors(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices whose product is the squared distances: |x|^2 + |y|^2 - 2xy."""
    size = centred.square().sum(1, keepdim=True)
    one = torch.ones_like(size)
    return torch.cat([-2 * centred, size, one], 1), torch.cat([centred, one, size], 1)


class _Euclidean(torch.autograd.Function):
    """Distances by a product in float64, those below its rounding set to zero.

    The gradient is two products in the dtype of z, sparse ones where few distances have any.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, batch: BatchDistances, rows: slice, first: int) -> Tensor:
        left, right = batch._exact_factors
        rounding = 8 * torch.finfo(torch.float64).eps * right[:, -1].amax()
        distances = _above(left[rows] @ right[first:].T, rounding).to(z.dtype)
        if batch.metric == "euclidean":
            distances.sqrt_()
        ctx.batch, ctx.rows, ctx.first = batch, rows, first
        ctx.save_for_backward(distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (distances,) = ctx.saved_tensors
        metric = ctx.batch.metric
        if may_be_sparse(ctx.batch.z) and is_sparse(upstream):
            index = upstream.nonzero(as_tuple=True)
            slopes = _slopes(upstream[index], distances[index], metric)
            weight = torch.sparse_coo_tensor(
                torch.stack(index),
                slopes,
                upstream.shape,
                is_coalesced=True,
                check_invariants=False,
            )
        else:
            weight = _slopes(upstream, distances, metric)
        # the gradient is the sum of weight * (x - y), and the column of ones sums the weights
        points = ctx.batch._exact_factors[1][:, :-1].to(upstream.dtype)  # (n, d + 1)
        x, y = points[ctx.rows], points[ctx.first :]
        of_x, of_y = weight @ y, weight.T @ x
        gradient = torch.zeros_like(points)
        gradient[ctx.rows] = of_x[:, -1:] * x - of_x
        gradient[ctx.first :] += of_y[:, -1:] * y - of_y
        return gradient[:, :-1], None, None, None


def _above(x: Tensor, least: Tensor) -> Tensor:
    """Put zeros into x where it is not above the least."""
    if x.device.type == "cpu":
        return F.threshold(x, least.item(), 0, inplace=True)  # in one pass
    return x.masked_fill_(x <= least, 0)


def _slopes(upstream: Tensor, distances: Tensor, metric: Metric) -> Tensor:
    """Factors of ``x - y`` in the gradient."""
    if metric == "sqeuclidean":
        return 2 * upstream
    return (upstream / distances).masked_fill_(distances == 0, 0)
