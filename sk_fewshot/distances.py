"""Distances between the rows of two tensors, and the one table of their names.

Every function takes ``x`` of shape (..., n, d) and ``y`` of shape (..., m, d) and returns
(..., n, m) in the dtype of the inputs. Products are accumulated in float64, so that float32 inputs
keep a relative accuracy of 1e-5 between close points that lie far from the origin, under autocast
too; apart from ``manhattan``, which streams, each is one matrix product and never holds the
(n, m, d) differences. Gradients are finite everywhere: where a distance has none (two equal points,
a zero vector), it is 0. Squares and products of float32 points stay finite up to a length of 1e19;
where float16 (up to 65504) or bfloat16 has no room for a distance, it is their largest number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot._utils.precision import limited
from sk_fewshot._utils.validation import check_floating, check_points

Metric = str | Callable[[Tensor, Tensor], Tensor]

__all__ = [
    "METRICS",
    "Metric",
    "cosine",
    "dot",
    "euclidean",
    "manhattan",
    "pairwise_distances",
    "sqeuclidean",
    "unit",
]


def sqeuclidean(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance, ``sum_j (x_j - y_j)^2``.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import sqeuclidean
    >>> sqeuclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[25.,  0.]])
    """
    x_wide, y_wide = _points(x, y)
    return _in_dtype(_sqeuclidean(x_wide, y_wide), x.dtype)


def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distance, the square root of :func:`sqeuclidean`.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import euclidean
    >>> euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[5., 0.]])
    """
    x_wide, y_wide = _points(x, y)
    return _in_dtype(_sqrt(_sqeuclidean(x_wide, y_wide)), x.dtype)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine distance, ``1 - cos(x, y)``; a zero vector is at distance 1 from everything.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import cosine
    >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    tensor([[0., 1., 2.]])
    """
    x_wide, y_wide = _points(x, y)
    similarity = unit(x_wide.double()) @ unit(y_wide.double()).mT
    return (1 - similarity.clamp(-1, 1)).to(x.dtype)


def manhattan(x: Tensor, y: Tensor) -> Tensor:
    """City-block distance, ``sum_j |x_j - y_j|``.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import manhattan
    >>> manhattan(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[7.]])
    """
    x_wide, y_wide = _points(x, y)
    return _in_dtype(torch.cdist(x_wide, y_wide, p=1.0), x.dtype)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Negative inner product, ``-sum_j x_j y_j``: smaller is more alike, as for the distances.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import dot
    >>> dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[-11.]])
    """
    x_wide, y_wide = _points(x, y)
    return -_in_dtype(x_wide.double() @ y_wide.double().mT, x.dtype)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sqeuclidean": sqeuclidean,
    "euclidean": euclidean,
    "cosine": cosine,
    "manhattan": manhattan,
    "dot": dot,
}


def pairwise_distances(x: Tensor, y: Tensor, metric: Metric = "sqeuclidean") -> Tensor:
    """Distances between the rows of ``x`` and the rows of ``y``.

    Parameters
    ----------
    x : Tensor of shape (..., n, d)
        Floating point; leading dimensions are batches.
    y : Tensor of shape (..., m, d)
        Same dtype, device and leading dimensions as ``x``.
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable
        A callable takes two tensors (n, d) and (m, d) and returns (n, m).

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
        if not isinstance(metric, str) or metric not in METRICS:
            raise ValueError(
                f"metric must be one of {sorted(METRICS)} or a callable, got {metric!r}."
            )
        return METRICS[metric](x, y)
    _check_points(x, y)
    if x.ndim > 2:
        batches = zip(x.flatten(0, -3), y.flatten(0, -3), strict=True)
        stacked = torch.stack([pairwise_distances(a, b, metric) for a, b in batches])
        return stacked.unflatten(0, x.shape[:-2])
    distances = metric(x, y)
    expected = (len(x), len(y))
    if not isinstance(distances, Tensor) or distances.shape != expected:
        got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
        raise ValueError(f"metric must return a tensor of shape {expected}, got {got}.")
    if distances.isnan().any() and x.isfinite().all() and y.isfinite().all():
        raise ValueError("metric must not return NaN for finite x and y.")
    return distances


def unit(x: Tensor) -> Tensor:
    """Rows divided by their Euclidean length; a zero row stays zero, with zero gradient.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import unit
    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    check_floating("x", x)
    largest = x.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    scaled = x / torch.where(zero, 1, largest)  # no square over- or underflows
    norm = _sqrt(scaled.square().sum(-1, keepdim=True))
    return torch.where(zero, 0, scaled / torch.where(zero, 1, norm))


def _check_points(x: Tensor, y: Tensor) -> None:
    check_points("x", x)
    check_points("y", y)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"x and y must have the same number of columns, got {x.shape[-1]} and {y.shape[-1]}."
        )
    if x.dtype != y.dtype:
        raise TypeError(f"x and y must have the same dtype, got {x.dtype} and {y.dtype}.")


def _points(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return checked points, in float32 at least."""
    _check_points(x, y)
    dtype = torch.promote_types(x.dtype, torch.float32)
    return limited(x, dtype), limited(y, dtype)


def _in_dtype(distances: Tensor, dtype: torch.dtype) -> Tensor:
    """Return distances in the dtype of the points; what float16 has no room for is its largest."""
    return limited(distances, dtype) if dtype.itemsize < 4 else distances.to(dtype)


def _sqeuclidean(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances in float64, on data centred so that few digits cancel."""
    centre = y.detach().mean(-2, keepdim=True, dtype=torch.float64)
    x, y = x - centre, y - centre  # promoted to float64 on the way
    size = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    unbatched = size.ndim == 2  # in one fused product
    squared = torch.addmm(size, x, y.mT, alpha=-2) if unbatched else size - 2 * (x @ y.mT)
    return torch.where(squared <= 4 * torch.finfo(torch.float64).eps * size, 0, squared)


def _sqrt(x: Tensor) -> Tensor:
    """Square root with gradient 0, instead of infinity, at 0."""
    zero = x <= 0
    return torch.where(zero, 0, torch.where(zero, 1, x).sqrt())
