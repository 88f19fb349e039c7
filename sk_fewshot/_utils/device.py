"""Devices: their names, and arrays on them."""

from __future__ import annotations

import numpy as np
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
    if not _is_present(resolved):
        raise ValueError(
            f"device={str(device)!r} is not there; 'auto' takes a device that is, and 'cpu' always "
            "works."
        )
    return resolved


def _is_present(device: torch.device) -> bool:
    if device.type == "cpu":
        return not device.index  # torch takes "cpu:7", and computes on the only one
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None and accelerator.type == device.type:
        return (device.index or 0) < torch.accelerator.device_count()
    try:  # what torch does not count among its accelerators, or cannot compute on, such as "meta"
        torch.zeros(1, device=device).cpu()
    except (AssertionError, ImportError, RuntimeError):
        return False
    return True


def on_device(array: NDArray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, made by :func:`as_tensor`."""
    return as_tensor(array).to(device)


def as_tensor(array: NDArray) -> Tensor:
    """Return an array as a tensor that shares its memory, read-only or not.

    The only way from an array to a tensor in this package. What torch has no word for is copied:
    negative strides, at which ``torch.from_dlpack`` aborts the process, strides that are no
    multiple of an item, and another byte order. Floats wider than float64 become float64.
    """
    dtype = native(array.dtype)
    if (
        dtype != array.dtype
        or not array.flags.aligned
        or any(stride < 0 or stride % dtype.itemsize for stride in array.strides)
    ):
        array = np.array(array, dtype=dtype, order="C")
    return torch.from_dlpack(array)


def torch_dtype(dtype: np.dtype) -> torch.dtype:
    """Return the type that the numbers of an array have as a tensor."""
    return as_tensor(np.empty(0, dtype)).dtype


def native(dtype: np.dtype) -> np.dtype:
    """Return a numeric type in this machine's byte order, and of 64 bits where it is wider."""
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")
