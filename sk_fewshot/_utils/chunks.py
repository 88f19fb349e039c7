"""Row-wise functions on whole arrays, in chunks of one fixed size."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor, dtype_on, torch_dtype
from sk_fewshot._utils.rows import Rows
from sk_fewshot._utils.switches import inference_mode, whatever_the_switches


def rows_a_chunk(most: int, row_shape: tuple[int, ...], *, numbers: int = 2**20) -> int:
    """Rows that one chunk holds: `most`, or as many as have so many `numbers` in all."""
    return max(1, min(most, numbers // max(1, prod(row_shape))))


@whatever_the_switches
def apply_in_chunks(
    function: Callable[[Tensor], Tensor],
    X: NDArray | Rows,
    *,
    chunk_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> NDArray:
    """Apply a row-wise function to all rows of X.

    The function always sees chunks of the same shape, the last one padded with zeros, so that a
    result is bitwise the same whichever rows it is computed with.

    Parameters
    ----------
    function : callable
        Maps a tensor (chunk_size, ...) to one (chunk_size, m).
    X : ndarray or Rows of shape (n, ...)
    chunk_size : int
    device : torch.device
        Where the function computes.
    dtype : torch.dtype or None, default=None
        What X is cast to, a chunk at a time. None: its own type.

    Returns
    -------
    ndarray of shape (n, m)
    """
    n = len(X)
    chunk = torch.zeros(
        chunk_size,
        *X.shape[1:],
        dtype=dtype_on(device, dtype or torch_dtype(X.dtype)),
        pin_memory=device.type == "cuda",
    )
    results: NDArray | None = None
    with inference_mode():
        for start in range(0, max(n, 1), chunk_size):
            stop = min(start + chunk_size, n)
            chunk[: stop - start] = as_tensor(X[start:stop])
            chunk[stop - start :] = 0
            result = function(chunk.to(device, non_blocking=True))[: stop - start].cpu().numpy()
            if results is None:
                results = np.empty((n, *result.shape[1:]), dtype=result.dtype)
            results[start:stop] = result
    assert results is not None
    return results
