"""Squared distances by one matrix product, and by differences where its digits cancel.

With u = 2^-53, a product of centred points in float64 is wrong by at most ``(d + 8) u size``, where
size is the sum of both squared lengths. Where that exceeds a millionth of the squared distance, the
pair is computed again from the differences of its coordinates, which cancel nothing. Which pairs
these are is not looked up in a training step on a GPU, as the process would wait for it: there the
n + m most cancelled ones are candidates, and what is left is wrong by no more than the bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sk_fewshot._utils.device import may_look_at

_ACCURACY = 1e-6  # of what a product gives
_NUMBERS = 2**20  # of differences held at once: 8 MB
_PARALLEL = (8 * torch.finfo(torch.float64).eps) ** 2  # |u - v|^2 of unit vectors, both rounded


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances (..., n, m), in float64, of x (..., n, d) and y (..., m, d)."""
    squared, excess = _around(x, y, y.detach().mean(-2, keepdim=True, dtype=torch.float64))
    if not may_look_at(squared):
        return _candidates_by_differences(squared, excess, x, y)
    unsure = excess < 0
    if not unsure.any():
        return squared
    if int(unsure.sum()) > x.shape[-2] + y.shape[-2]:  # a far point drags a mean away from others
        squared, excess = _around(x, y, y.detach().median(-2, keepdim=True).values.double())
    return _by_differences(squared, excess < 0, x, y)


def cosine_distances(x: Tensor, y: Tensor) -> Tensor:
    """One minus the inner products (..., n, m) of unit or zero vectors in float64."""
    distances = 1 - (x @ y.mT).clamp(-1, 1)
    excess = distances.detach() - _least(x.shape[-1])
    if not may_look_at(distances):
        return _candidates_by_differences(distances, excess, x, y, halved=True)
    unsure = excess < 0
    return _by_differences(distances, unsure, x, y, halved=True) if unsure.any() else distances


def halved_square(difference: Tensor) -> Tensor:
    """One minus the cosine of two unit vectors whose difference is (..., d)."""
    squared = difference.square().sum(-1)
    return torch.where(squared <= _PARALLEL, 0, 0.5 * squared)


def _around(x: Tensor, y: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances on centred data, and how far above lost digits they are."""
    x, y = _centred(x, centre), _centred(y, centre)
    size = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    if size.ndim > 2:
        squared = size - 2 * (x @ y.mT)
    elif len(y) < len(x):  # several times as fast as the other way round
        squared = torch.addmm(size.mT, y, x.mT, alpha=-2).mT
    else:
        squared = torch.addmm(size, x, y.mT, alpha=-2)
    return squared, torch.sub(squared.detach(), size.detach(), alpha=_least(x.shape[-1]))


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
    exact = [
        _of_differences(x[(*batch, i)], y[(*batch, j)], halved)
        for *batch, i, j in zip(*(index.split(step) for index in where), strict=True)
    ]
    return distances.index_put(where, torch.cat(exact))


def _candidates_by_differences(
    distances: Tensor, excess: Tensor, x: Tensor, y: Tensor, *, halved: bool = False
) -> Tensor:
    """As :func:`_by_differences` where the excess is negative, of n + m candidates by its size."""
    n, m = distances.shape[-2:]
    excess = excess.flatten(-2)
    place = excess.topk(min(n + m, n * m), largest=False).indices.sort().values  # (..., k)
    exact = _of_differences(_taken(x, place // m), _taken(y, place % m), halved)
    flat = distances.flatten(-2)
    exact = torch.where(excess.gather(-1, place) < 0, exact, flat.gather(-1, place))
    return flat.scatter(-1, place, exact).unflatten(-1, (n, m))


def _taken(points: Tensor, rows: Tensor) -> Tensor:
    """Rows (..., k, d) of points (..., n, d), by their indices (..., k)."""
    n, d = points.shape[-2:]
    batch = torch.arange(rows.shape[:-1].numel(), device=rows.device).unsqueeze(-1)
    places = (rows.reshape(len(batch), -1) + n * batch).flatten()
    return points.reshape(-1, d)[places].unflatten(0, rows.shape)


def _of_differences(x: Tensor, y: Tensor, halved: bool) -> Tensor:
    difference = x.double() - y.double()
    return halved_square(difference) if halved else difference.square().sum(-1)
