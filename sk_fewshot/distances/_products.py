"""Squared distances by one matrix product, and by differences where its digits cancel.

With u = 2^-53, a product of centred points in float64 is wrong by at most ``(d + 8) u size``, where
size is the sum of both squared lengths. Where that exceeds a millionth of the squared distance, the
pair is computed again from the differences of its coordinates, which cancel nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ACCURACY = 1e-6  # of what a product gives
_NUMBERS = 2**20  # of differences held at once: 8 MB
_PARALLEL = (8 * torch.finfo(torch.float64).eps) ** 2  # |u - v|^2 of unit vectors, both rounded


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances (..., n, m), in float64, of x (..., n, d) and y (..., m, d)."""
    squared, unsure = _around(x, y, y.detach().mean(-2, keepdim=True, dtype=torch.float64))
    if not unsure.any():
        return squared
    if int(unsure.sum()) > x.shape[-2] + y.shape[-2]:  # a far point drags a mean away from others
        squared, unsure = _around(x, y, y.detach().median(-2, keepdim=True).values.double())
    return _by_differences(squared, unsure, x, y)


def cosine_distances(x: Tensor, y: Tensor) -> Tensor:
    """One minus the inner products (..., n, m) of unit or zero vectors in float64."""
    distances = 1 - (x @ y.mT).clamp(-1, 1)
    unsure = distances.detach() < _least(x.shape[-1])
    if not unsure.any():
        return distances
    return _by_differences(distances, unsure, x, y, halved=True)


def halved_square(difference: Tensor) -> Tensor:
    """One minus the cosine of two unit vectors whose difference is (..., d)."""
    squared = difference.square().sum(-1)
    return torch.where(squared <= _PARALLEL, 0, 0.5 * squared)


def _around(x: Tensor, y: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances on centred data, and where they have lost their digits."""
    x, y = _centred(x, centre), _centred(y, centre)
    size = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    if size.ndim > 2:
        squared = size - 2 * (x @ y.mT)
    elif len(y) < len(x):  # several times as fast as the other way round
        squared = torch.addmm(size.mT, y, x.mT, alpha=-2).mT
    else:
        squared = torch.addmm(size, x, y.mT, alpha=-2)
    return squared, squared.detach() < _least(x.shape[-1]) * size.detach()


def _centred(x: Tensor, centre: Tensor) -> Tensor:
    return x - centre if x.dtype == torch.float64 else x.double().sub_(centre)


def _least(n_terms: int) -> float:
    """Share of its terms' size from which on a sum of products is accurate."""
    return (n_terms + 8) * torch.finfo(torch.float64).eps / _ACCURACY


def _by_differences(
    distances: Tensor, unsure: Tensor, x: Tensor, y: Tensor, *, halved: bool = False
) -> Tensor:
    """Put in squared differences, or halves of them, where asked for."""
    where = unsure.nonzero(as_tuple=True)
    if not len(where[0]):
        return distances
    step = max(1, _NUMBERS // x.shape[-1])
    exact = []
    for *batch, i, j in zip(*(index.split(step) for index in where), strict=True):
        difference = x[(*batch, i)].double() - y[(*batch, j)].double()
        exact.append(halved_square(difference) if halved else difference.square().sum(-1))
    return distances.index_put(where, torch.cat(exact))
