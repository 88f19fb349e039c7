"""Sums over very many terms, worked through a few rows of the batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sk_fewshot._utils.device import dtype_on

Terms = Callable[..., tuple[Tensor, Tensor | int]]

CHUNK_ELEMENTS = 1 << 19  # of the largest matrix held at once: few enough to stay in the cache


def row_chunks(n_rows: int, row_elements: int) -> list[slice]:
    """Split rows that need ``row_elements`` numbers each into slices of bounded memory."""
    step = max(1, CHUNK_ELEMENTS // max(1, row_elements))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def sum_over_rows(terms: Terms, chunks: list[slice], *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of all terms, connected to the graph of the tensors, and their number.

    With more than one chunk the gradient is worked out beside the value, so that nothing of a
    chunk outlives it; it can then not be differentiated a second time.

    Parameters
    ----------
    terms : callable
        ``terms(rows, *tensors)`` gives the sum of the terms of these rows, differentiable in the
        tensors, and their number.
    chunks : list of slice
        The rows, in parts.
    *tensors : Tensor
        What the terms are computed from.

    Returns
    -------
    total : Tensor of shape ()
    count : Tensor of shape ()
    """
    if len(chunks) == 1:
        total, count = terms(chunks[0], *tensors)
        return total, torch.as_tensor(count)
    return _SumOverRows.apply(terms, chunks, *tensors)


def with_gradient(value: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    """Value whose gradient with respect to ``x`` is already known."""
    return _WithGradient.apply(value, x, gradient)


class _SumOverRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: Terms, chunks: list[slice], *tensors: Tensor) -> tuple:
        wanted = ctx.needs_input_grad[2:]
        leaves = [x.detach().requires_grad_(wants) for x, wants in zip(tensors, wanted)]
        varying = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = [torch.zeros_like(leaf) for leaf in varying]
        total = tensors[0].new_zeros((), dtype=dtype_on(tensors[0].device, torch.float64))
        count = torch.zeros_like(total)
        for rows in chunks:
            with torch.enable_grad():
                part, part_count = terms(rows, *leaves)
            total += part.detach()
            count += part_count
            if varying:
                parts = torch.autograd.grad(part, varying)
                for gradient, increment in zip(gradients, parts):
                    gradient += increment
        found = iter(gradients)
        ctx.save_for_backward(*(next(found) if wants else None for wants in wanted))
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple:
        return None, None, *(g if g is None else g * upstream for g in ctx.saved_tensors)


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor, None]:
        return None, ctx.saved_tensors[0] * upstream, None
