"""Encoding of whole arrays, in chunks of one fixed size."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from torch import Tensor, nn

from sk_fewshot._utils.chunks import apply_in_chunks, rows_a_chunk
from sk_fewshot._utils.containers import as_rows
from sk_fewshot._utils.device import resolve_device
from sk_fewshot._utils.rows import Rows, pieces

__all__ = ["encode"]


def encode(
    module: nn.Module,
    X: ArrayLike | Rows,
    *,
    device: str | torch.device = "cpu",
    chunk_size: int | None = None,
) -> NDArray[np.float32]:
    """Embeddings of all rows of ``X``.

    The module always sees chunks of the same shape, the last one padded with zeros, so that an
    embedding is bitwise the same whichever rows it is encoded with.

    Parameters
    ----------
    module : nn.Module
        In eval mode and on ``device``. Takes a float32 tensor (chunk_size, ...) and returns one
        embedding for each row.
    X : array-like of shape (n, ...)
        Numbers of any type; cast to float32 one chunk at a time. Arrays in files are read so too.
    device : str or torch.device, default="cpu"
        Where the module is.
    chunk_size : int or None, default=None
        Rows a call. None chooses: images 16 and flat features 256 on the CPU, where small chunks
        stay in the cache, and 1024 on other devices; fewer of large ones, such as photographs.

    Returns
    -------
    ndarray of shape (n, d), float32
        Outputs of more than two dimensions are flattened.

    Raises
    ------
    TypeError
        If the module does not return a floating point tensor.
    ValueError
        If an argument is out of range, or the module does not return one embedding a row, or
        returns infinite or missing values for finite rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.encoders import Conv4, encode, folded
    >>> encode(folded(Conv4((1, 28, 28))), np.zeros((3, 1, 28, 28))).shape
    (3, 64)
    """
    validate_parameter_constraints(
        {
            "module": [callable],
            "device": [str, torch.device],
            "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
        },
        {"module": module, "device": device, "chunk_size": chunk_size},
        caller_name="encode",
    )
    device = resolve_device(device)
    X = as_rows(X)
    if chunk_size is None:
        chunk_size = rows_a_call(X.shape[1:], device)

    def embeddings(chunk: Tensor) -> Tensor:
        return _checked(module, module(chunk), chunk_size).float()

    out = apply_in_chunks(embeddings, X, chunk_size=chunk_size, device=device, dtype=torch.float32)
    if not np.isfinite(out).all() and all(np.isfinite(piece).all() for _, piece in pieces(X)):
        raise ValueError(
            f"{type(module).__name__} returned infinite or missing values for finite input."
        )
    return out


def rows_a_call(row_shape: tuple[int, ...], device: torch.device) -> int:
    """Rows that :func:`encode` hands to a module at once where nobody says how many."""
    if device.type != "cpu":
        return rows_a_chunk(1024, row_shape, numbers=2**25)
    if len(row_shape) > 1:
        return rows_a_chunk(16, row_shape, numbers=2**18)
    return rows_a_chunk(256, row_shape, numbers=2**20)


def _checked(module: nn.Module, output: object, n: int) -> Tensor:
    """The module's output as (n, d)."""
    name = type(module).__name__
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"{name} must return a floating point tensor, got {got}.")
    if output.ndim < 2 or len(output) != n:
        raise ValueError(
            f"{name} must return one embedding a row, shape ({n}, d) for {n} rows, "
            f"got {tuple(output.shape)}."
        )
    return output.flatten(1)
