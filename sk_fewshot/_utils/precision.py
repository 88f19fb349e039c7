"""Which precision is computed in, and what becomes of numbers that another has no room for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from sk_fewshot._utils.device import wide_device


@contextmanager
def full_precision(embeddings: Tensor, *, with_float64: bool = False) -> Iterator[Tensor]:
    """Embeddings in float32 at least, and exact products: half precision is too coarse for a loss.

    On a device that has float64, where that is asked for.
    """
    device = embeddings.device
    with exact_products(device):
        z = limited(embeddings, torch.promote_types(embeddings.dtype, torch.float32))
        yield z.to(wide_device(device)) if with_float64 else z


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Products as precise as their type: no autocast, no TensorFloat-32 or bfloat16 inside."""
    with _all_digits:
        if not torch.is_autocast_enabled(device.type):
            yield
            return
        with torch.autocast(device.type, enabled=False):
            yield


class _AllDigits:
    """Lets float32 products have all their digits, in every thread, as long as one is inside.

    The setting is torch's, one for the process: the first thread changes it, the last restores it.
    """

    def __init__(self) -> None:
        backends: Any = torch.backends
        self._operations = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
        if torch.backends.cuda.is_built():
            self._operations += [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
        self._n_inside = 0
        self.renew_lock()

    def renew_lock(self) -> None:
        """Give a forked child a lock of its own: the parent's may be held by a thread it lacks."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._before = [operation.fp32_precision for operation in self._operations]
                self._lowered = any(value not in _EXACT for value in self._before)
                if self._lowered:
                    self._raise()
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside and self._lowered:
                self._restore()

    def _raise(self) -> None:
        self._older = None  # torch's older setting of products, which has to agree with the newer
        with suppress(RuntimeError):  # where only the newer one was used
            self._older = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
        for operation, before in zip(self._operations, self._before):
            if before not in _EXACT:
                operation.fp32_precision = "ieee"

    def _restore(self) -> None:
        if self._older is not None:
            torch.set_float32_matmul_precision(self._older)
        for operation, before in zip(self._operations, self._before):
            operation.fp32_precision = "none"  # follows what is set for all operations
            if operation.fp32_precision != before:
                operation.fp32_precision = before


_EXACT = ("ieee", "none")  # none: nothing was set
_all_digits = _AllDigits()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_all_digits.renew_lock)


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
