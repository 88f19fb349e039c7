"""The named distances."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot._utils.device import wide_device
from sk_fewshot._utils.precision import limited
from sk_fewshot._utils.validation import check_points
from sk_fewshot.distances._products import cosine_distances, squared_distances
from sk_fewshot.distances._unit import root, unit


def sqeuclidean(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance, ``sum_j (x_j - y_j)^2``.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import sqeuclidean
    >>> sqeuclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[25.,  0.]])
    """
    x_wide, y_wide = wide_points(x, y)
    return like(x, squared_distances(x_wide, y_wide))


def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distance, the square root of :func:`sqeuclidean`.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import euclidean
    >>> euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[5., 0.]])
    """
    x_wide, y_wide = wide_points(x, y)
    return like(x, root(squared_distances(x_wide, y_wide)))


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine distance, ``1 - cos(x, y)``; a zero vector is at distance 1 from everything.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import cosine
    >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    tensor([[0., 1., 2.]])
    """
    x_wide, y_wide = wide_points(x, y)
    return like(x, cosine_distances(unit(x_wide.double()), unit(y_wide.double())))


def manhattan(x: Tensor, y: Tensor) -> Tensor:
    """City-block distance, ``sum_j |x_j - y_j|``.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import manhattan
    >>> manhattan(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[7.]])
    """
    x_wide, y_wide = wide_points(x, y)
    return like(x, torch.cdist(x_wide, y_wide, p=1.0))


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Negative inner product, ``-sum_j x_j y_j``: smaller is more alike, as for the distances.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.distances import dot
    >>> dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[-11.]])
    """
    x_wide, y_wide = wide_points(x, y)
    return -like(x, x_wide.double() @ y_wide.double().mT)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sqeuclidean": sqeuclidean,
    "euclidean": euclidean,
    "cosine": cosine,
    "manhattan": manhattan,
    "dot": dot,
}
"""The distances by the names that every `metric` takes."""


def check_comparable_points(x: Tensor, y: Tensor) -> None:
    check_points("x", x)
    check_points("y", y)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"x and y must have the same number of columns, got {x.shape[-1]} and {y.shape[-1]}."
        )
    if x.dtype != y.dtype:
        raise TypeError(f"x and y must have the same dtype, got {x.dtype} and {y.dtype}.")


def wide_points(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return checked points, in float32 at least, on a device that has float64."""
    check_comparable_points(x, y)
    dtype = torch.promote_types(x.dtype, torch.float32)
    device = wide_device(x.device)
    return limited(x, dtype).to(device), limited(y, dtype).to(device)


def like(points: Tensor, distances: Tensor) -> Tensor:
    """Return distances in the dtype of the points, on their device.

    What float16 has no room for is its largest number.
    """
    if points.dtype.itemsize < 4:
        distances = limited(distances, points.dtype)
    return distances.to(points)
