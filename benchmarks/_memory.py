"""What a process holds in memory beside pages of files. Linux alone tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def own_megabytes() -> float:
    """Return what this process holds in memory, without pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


@contextmanager
def watched() -> Iterator[list[float]]:
    """Note every millisecond how much more memory is held than at the start."""
    before, held, done = own_megabytes(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            held.append(own_megabytes() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()


def peak(function: Callable[[], object]) -> int:
    """Return how many megabytes a call holds at most, beyond those before."""
    with watched() as held:
        function()
    return round(max(held))
