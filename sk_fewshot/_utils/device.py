"""Devices: their names, and arrays on them."""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn the `device` parameter of an estimator into a torch device that is present.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or another torch device, got {device!r}."
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but torch finds no CUDA device.")
    return resolved


def on_device(array: NDArray, device: torch.device) -> Tensor:
    """Return an array as a tensor, on the CPU one that shares its memory, read-only or not.

    Negative strides are copied: torch knows none, and aborts the process where it meets them in
    ``torch.from_dlpack``.
    """
    if min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_dlpack(array).to(device)
