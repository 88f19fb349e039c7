"""Distances by name or by a function of the caller's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot._utils.device import may_look_at
from sk_fewshot.distances._named import METRICS, check_comparable_points

Metric = str | Callable[[Tensor, Tensor], Tensor]


def pairwise_distances(x: Tensor, y: Tensor, metric: Metric = "sqeuclidean") -> Tensor:
    """Distances between the rows of ``x`` and the rows of ``y``.

    Parameters
    ----------
    x : Tensor of shape (..., n, d)
        Floating point; leading dimensions are batches.
    y : Tensor of shape (..., m, d)
        Same dtype, device and leading dimensions as ``x``.
    metric : str or callable
        A name in :data:`METRICS`, or a callable that takes two tensors (n, d) and (m, d) and
        returns (n, m).

    Returns
    -------
    Tensor of shape (..., n, m)
        The smaller, the more alike.

    Raises
    ------
    TypeError
        If the points are not floating point tensors of one dtype.
    ValueError
        If ``metric`` is an unknown name, the shapes do not fit, or a callable returns another shape
        or NaN.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import pairwise_distances
    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> pairwise_distances(x, x, "euclidean")
    tensor([[0., 5.],
            [5., 0.]])
    """
    if not callable(metric):
        check_name(metric)
        return METRICS[metric](x, y)
    check_comparable_points(x, y)
    if x.ndim > 2:
        batches = zip(x.flatten(0, -3), y.flatten(0, -3), strict=True)
        stacked = torch.stack([pairwise_distances(a, b, metric) for a, b in batches])
        return stacked.unflatten(0, x.shape[:-2])
    distances = metric(x, y)
    expected = (len(x), len(y))
    if not isinstance(distances, Tensor) or distances.shape != expected:
        got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
        raise ValueError(f"metric must return a tensor of shape {expected}, got {got}.")
    hidden = may_look_at(distances) and distances.isnan().any()
    if hidden and x.isfinite().all() and y.isfinite().all():
        raise ValueError("metric must not return NaN for finite x and y.")
    return distances


def check_name(metric: object) -> None:
    """Check that a metric is one of the names.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"metric must be one of {sorted(METRICS)} or a callable, got {metric!r}.")
