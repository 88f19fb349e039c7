"""Which precision is computed in, and what becomes of numbers that another has no room for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_precision(embeddings: Tensor) -> Iterator[Tensor]:
    """Embeddings in float32 at least, and no autocast: half precision is too coarse for a loss."""
    kind, dtype = embeddings.device.type, torch.promote_types(embeddings.dtype, torch.float32)
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            yield limited(embeddings, dtype)
    else:
        yield limited(embeddings, dtype)


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Products as precise as their type: no autocast, no TensorFloat-32 or bfloat16 inside."""
    precision = torch.get_float32_matmul_precision()
    if precision == "highest" and not torch.is_autocast_enabled(device.type):
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def limited(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x in another floating type, with what exceeds its range made its largest number.

    The same holds for the gradient on its way back. So a finite value stays finite, also where a
    gradient is beyond float16, which ends at 65504. NaN and infinity stay what they are.
    """
    return x if x.dtype == dtype else _Limited.apply(x, dtype)


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = x.dtype
        return _within_range(x, dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return _within_range(upstream, ctx.dtype), None


def _within_range(x: Tensor, dtype: torch.dtype) -> Tensor:
    largest = torch.finfo(dtype).max
    if largest < torch.finfo(x.dtype).max:
        x = torch.where(x.isinf(), x, x.clamp(-largest, largest))
    return x.to(dtype)


_FINEST = 1e-30  # number that float32 holds with all its digits


def in_steps_of(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Round float64 numbers to the digits of another type, but not to its range.

    Numbers that are shown as equal are then equal, and tiny ones still differ.
    """
    if dtype == torch.float64:
        return x
    return torch.where(x.abs() < _FINEST, x, x.to(dtype).to(x.dtype))
