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
    with torch.autocast(device.type, enabled=False):
        if precision == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
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
