"""What ``import sk_fewshot`` costs beside ``import skorch, sklearn.base``, as whole processes.

In seconds by the clock, and in seconds of the processor, which other work on the machine disturbs
less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from functools import partial

from _report import arguments, interleaved, ratio, report


def start(statement: str) -> None:
    """Run a statement in a fresh interpreter."""
    subprocess.run([sys.executable, "-c", statement], check=True)


def processor_seconds(statement: str) -> float:
    """Seconds of the processor that a statement takes in a fresh interpreter."""
    before = os.times()
    start(statement)
    after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def modules(statement: str) -> set[str]:
    """Names of the modules that a statement imports."""
    command = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def measure(rounds: int):
    """Yield the one row."""
    ours, peer = "import sk_fewshot", "import skorch, sklearn.base"
    more = {name for name in modules(ours) - modules(peer) if not name.startswith("sk_fewshot")}
    seconds = interleaved(
        rounds,
        ours=partial(start, ours),
        peer=partial(start, peer),
        floor=partial(start, "import torch"),
    )
    of_processor = (processor_seconds(ours) / processor_seconds(peer) for _ in range(rounds))
    yield {
        "ours_s": min(seconds["ours"]),
        "skorch_s": min(seconds["peer"]),
        "torch_s": min(seconds["floor"]),
        "of_skorch_time": 1 / ratio(seconds, "peer"),
        "of_skorch_processor_time": statistics.median(of_processor),
        "further_modules": len(more),
        "further_packages": sorted({".".join(name.split(".")[:2]) for name in more})[:40],
    }


if __name__ == "__main__":
    given = arguments(__doc__)
    report("import_time", measure(given.rounds), given.json)
