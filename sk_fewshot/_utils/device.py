"""Devices: their names, and arrays on them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


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


def wide_device(device: torch.device) -> torch.device:
    """Return where float64 is computed for a device: there, or on the CPU if it has none.

    Apple's MPS has none, and so have some of Intel's.
    """
    if device.type in ("cpu", "cuda"):
        return device
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return torch.device("cpu")
    return device


def has_float64(device: torch.device) -> bool:
    """Whether a device has float64."""
    return wide_device(device) == device


def computing_device(part: nn.Module, device: torch.device) -> torch.device:
    """Return where a loss or a head computes for a device, by its attribute `needs_float64`."""
    return wide_device(device) if getattr(part, "needs_float64", False) else device


def dtype_on(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the type that numbers have on a device: float32 for float64 where it has none."""
    return dtype if dtype != torch.float64 or has_float64(device) else torch.float32


def may_look_at(x: Tensor) -> bool:
    """Whether a computation may depend on numbers of x: not in a training step on a GPU.

    The GPU works behind, and the process would wait for it.
    """
    return x.device.type == "cpu" or not (torch.is_grad_enabled() and x.requires_grad)


def labels_on(labels: Tensor, device: torch.device) -> Tensor:
    """Return labels on a device, at hand for :func:`labels_on_cpu` where they come from the CPU."""
    if labels.device == device:
        return labels
    if device.type == "cpu":
        return labels_on_cpu(labels)
    if labels.device.type != "cpu":
        return labels.to(device)
    source = labels.pin_memory() if device.type == "cuda" else labels
    there = source.to(device, non_blocking=True)
    _remember(there, labels)
    return there


def labels_on_cpu(labels: Tensor) -> Tensor:
    """Return labels on the CPU; a device is waited for only where they have never been there."""
    if labels.device.type == "cpu":
        return labels
    copy, version = getattr(labels, "_on_cpu", (None, None))
    if copy is None or version != _version(labels):
        copy = labels.cpu()
        _remember(labels, copy)
    return copy


def _remember(labels: Tensor, copy: Tensor) -> None:
    labels._on_cpu = copy, _version(labels)  # type: ignore[attr-defined]


def _version(labels: Tensor) -> int:
    """Return a number that changes when labels are changed in place."""
    return 0 if labels.is_inference() else labels._version


def on_device(array: NDArray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, made by :func:`as_tensor`.

    float64 becomes float32 where the device has none.
    """
    tensor = as_tensor(array)
    return tensor.to(device, dtype_on(device, tensor.dtype))


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
