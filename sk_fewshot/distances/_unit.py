"""Directions of vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from sk_fewshot._utils.validation import check_floating


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
    norm = root(scaled.square().sum(-1, keepdim=True))
    return torch.where(zero, 0, scaled / torch.where(zero, 1, norm))


def root(x: Tensor) -> Tensor:
    """Square root with gradient 0, instead of infinity, at 0."""
    if not x.requires_grad:
        return x.clamp(min=0).sqrt()
    zero = x <= 0
    return torch.where(zero, 0, torch.where(zero, 1, x).sqrt())
