"""Randomness that leaves the callers' generators alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

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
    generators = [torch.random.default_generator, *_generators_of(device)]
    with _torch_generator:
        return _restoring(generators, function)


def _restoring(generators: list[Any], function: Callable[[], _Result]) -> _Result:
    if not generators:
        return function()
    state = generators[0].get_state()
    try:
        return _restoring(generators[1:], function)
    finally:
        generators[0].set_state(state)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that :func:`with_own_generator` lent, and no other."""
    torch.random.default_generator.manual_seed(seed)
    for generator in _generators_of(device):
        generator.manual_seed(seed)


def _generators_of(device: torch.device) -> list[Any]:
    """Return the generator of a device other than the CPU, if it has one."""
    if device.type == "cpu":
        return []
    module = torch.get_device_module(device)
    if hasattr(module, "default_generators"):  # one for each of several devices
        module.init()  # makes them
        index = module.current_device() if device.index is None else device.index
        return [module.default_generators[index]]
    if hasattr(module, "get_rng_state"):
        get, put, seed = module.get_rng_state, module.set_rng_state, module.manual_seed
        return [SimpleNamespace(get_state=get, set_state=put, manual_seed=seed)]
    return []
