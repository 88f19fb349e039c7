"""Randomness that leaves the callers' generators alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

_Result = TypeVar("_Result")

# Dropout and weight initialisation draw from torch's process-wide generator, so only one thread at
# a time may borrow it.
_torch_generator = threading.RLock()


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the parent's may be held by a thread it lacks."""
    global _torch_generator
    _torch_generator = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def with_own_generator(function: Callable[[], _Result], device: torch.device) -> _Result:
    """Call a function to which torch's global generators (the CPU's and `device`'s) are lent.

    Afterwards they are as before, whatever happened; an interrupt comes before or after a step of C
    code, such as the one that brings them back. Safe between threads: a second one waits. Seed
    inside with :func:`seed_torch`.
    """
    generator = torch.random.default_generator
    with _torch_generator:
        state = generator.get_state()
        try:
            return _with_state_of(device, function) if device.type == "cuda" else function()
        finally:
            generator.set_state(state)


def _with_state_of(device: torch.device, function: Callable[[], _Result]) -> _Result:
    generator = _cuda_generator(device)
    state = generator.get_state()
    try:
        return function()
    finally:
        generator.set_state(state)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that :func:`with_own_generator` lent, and no other."""
    torch.random.default_generator.manual_seed(seed)
    if device.type == "cuda":
        _cuda_generator(device).manual_seed(seed)


def _cuda_generator(device: torch.device) -> torch.Generator:
    torch.cuda.init()  # makes the generators
    return torch.cuda.default_generators[
        torch.cuda.current_device() if device.index is None else device.index
    ]
