"""Memory that runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_OF_TORCH = ("DefaultCPUAllocator", "std::bad_alloc")  # in its messages


@contextmanager
def out_of_memory_as_such() -> Iterator[None]:
    """Turn the RuntimeError that torch raises where memory runs out into a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if any(text in str(error) for text in _OF_TORCH):
            raise MemoryError(str(error)) from error
        raise
