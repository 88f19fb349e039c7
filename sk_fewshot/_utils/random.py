"""Randomness that leaves the callers' generators alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Dropout and weight initialisation draw from torch's process-wide generator, so only one thread at
# a time may borrow it.
_torch_generator = threading.RLock()


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the parent's may be held by a thread it lacks."""
    global _torch_generator
    _torch_generator = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def borrowed_generator(device: torch.device) -> Iterator[None]:
    """Lend torch's global generators (the CPU's and `device`'s); on exit they are as before.

    Safe between threads: a second one waits. Seed inside with :func:`seed_torch`.
    """
    devices = [device] if device.type == "cuda" else []
    with _torch_generator, torch.random.fork_rng(devices):
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that :func:`borrowed_generator` lent, and no other."""
    torch.random.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
