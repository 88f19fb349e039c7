"""Distances of given pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot.distances._named import check_comparable_points, like, wide_points
from sk_fewshot.distances._pairwise import Metric, check_name, pairwise_distances
from sk_fewshot.distances._products import halved_square
from sk_fewshot.distances._unit import root, unit


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    x, y = unit(x), unit(y)
    zero = ~(x.any(-1) & y.any(-1))
    return torch.where(zero, 1, halved_square(x - y))


_OF_PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sqeuclidean": lambda x, y: (x - y).square().sum(-1),
    "euclidean": lambda x, y: root((x - y).square().sum(-1)),
    "cosine": _cosine,
    "manhattan": lambda x, y: (x - y).abs().sum(-1),
    "dot": lambda x, y: -(x * y).sum(-1),
}


def paired_distances(x: Tensor, y: Tensor, metric: Metric = "sqeuclidean") -> Tensor:
    """Distances between the rows of ``x`` and the rows of ``y`` in the same places.

    The distance of two points is bitwise the same whatever other pairs are given, so that two pairs
    at equal distances compare equal.

    Parameters
    ----------
    x : Tensor of shape (..., n, d)
        Floating point.
    y : Tensor of shape (..., n, d)
        Same dtype and device; leading dimensions may be broadcast.
    metric : str or callable
        A name in :data:`METRICS`, or a callable that takes two tensors (n, d) and (m, d) and
        returns (n, m); it is called pair by pair.

    Returns
    -------
    Tensor of shape (..., n)
        The smaller, the more alike.

    Raises
    ------
    TypeError, ValueError
        As :func:`pairwise_distances`, or if the numbers of rows differ.

    See Also
    --------
    pairwise_distances : All rows of x with all rows of y.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import paired_distances
    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> paired_distances(x, x.flip(0), "euclidean")
    tensor([5., 5.])
    """
    check_comparable_points(x, y)
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(
            "x and y must have the same number of rows, got shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}."
        )
    if callable(metric) or metric not in _OF_PAIRS:
        if not callable(metric):
            check_name(metric)
        x, y = torch.broadcast_tensors(x, y)
        return pairwise_distances(x.unsqueeze(-2), y.unsqueeze(-2), metric).flatten(-3)
    x_wide, y_wide = wide_points(x, y)
    return like(x, _OF_PAIRS[metric](x_wide.double(), y_wide.double()))
