"""Interleaved timing, and tables of ratios as text and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch


def interleaved(rounds: int, **functions: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each function in each round; a round calls all of them once, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], peer: str, ours: str = "ours") -> float:
    """Return the median over the rounds of the peer's time over ours."""
    return statistics.median(p / o for p, o in zip(seconds[peer], seconds[ours], strict=True))


def machine() -> dict[str, object]:
    """Name what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def arguments(description: str | None, **more: dict) -> argparse.Namespace:
    """Read the command line: rounds, where to write JSON, and `more`. Sets one thread."""
    parser = argparse.ArgumentParser(description=description)
    for name, options in more.items():
        parser.add_argument(f"--{name}", **options)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    return given


def report(name: str, rows: Iterable[Mapping[str, object]], path: Path | None) -> None:
    """Print one line a row as it comes, then the machine; write all of it to `path`."""
    told = []
    for row in rows:
        told.append(dict(row))
        print("  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)
    print("  ".join(f"{key} {value}" for key, value in machine().items()))
    if path is not None:
        figures = {"benchmark": name, "machine": machine(), "rows": told}
        path.write_text(json.dumps(figures, indent=2) + "\n")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
