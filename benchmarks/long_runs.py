"""Long runs: memory, open files, threads and processes over many fits and many predictions.

Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from sk_fewshot import (
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SphereFaceTransformer,
    TripletTransformer,
)

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
IMAGES = X.reshape(-1, 8, 8)
SHORT = {"max_epochs": 2, "batches_per_epoch": 3, "random_state": 0}
MIB = 2**20


def resident() -> float:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def held() -> dict[str, int]:
    """Count the files, threads and child processes that this process has."""
    tasks = list(Path("/proc/self/task").iterdir())
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(tasks),
        "processes": sum(len((task / "children").read_text().split()) for task in tasks),
    }


def cycle(checkpoint: Path) -> None:
    """Fit, predict and forget each kind of estimator once, one of them with a checkpoint."""
    train, test = slice(0, 300), slice(300, 400)
    for encoder, classifier in (
        (PrototypicalTransformer(checkpoint=checkpoint, **SHORT), PrototypicalClassifier),
        (MatchingTransformer(**SHORT), MatchingClassifier),
        (RelationTransformer(**SHORT), RelationClassifier),
        (SphereFaceTransformer(validation_classes=0.3, **SHORT), PrototypicalClassifier),
        (TripletTransformer(module_params={"n_filters": 8}, **SHORT), SiameseClassifier),
    ):
        data = IMAGES if isinstance(encoder, TripletTransformer) else X
        clf = classifier(encoder).meta_fit(data[train], y[train])
        clf.fit(data[train], y[train]).predict_proba(data[test])
    checkpoint.unlink()


def fits(n: int, warm_up: int) -> None:
    """Print how memory grows over cycles of fit, predict and delete, and what is left."""
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "training")
        cycle(checkpoint)
        before, start = held(), time.perf_counter()
        for _ in range(n):
            cycle(checkpoint)
            memory.append(resident())
        seconds, after = time.perf_counter() - start, held()
        files = os.listdir(folder)
    slope = np.polyfit(np.arange(warm_up, n), memory[warm_up:], 1)[0]
    print(
        f"{n} cycles of 5 fits, predict and delete in {seconds:.0f} s: resident memory "
        f"{memory[warm_up]:.1f} MiB after {warm_up}, {memory[-1]:.1f} MiB at the end, slope "
        f"{slope:+.4f} MiB a cycle"
    )
    for name, count in before.items():
        print(f"{name}: {count} before, {after[name]} after")
    assert before == after
    assert not files
    assert slope < 0.1


def predictions(n: int, chunk: int) -> None:
    """Print how memory changes over many predictions, in chunks."""
    clf = PrototypicalClassifier(PrototypicalTransformer(**SHORT)).meta_fit(X, y).fit(X, y)
    rng = np.random.default_rng(0)
    memory = []
    start = time.perf_counter()
    for _ in range(n // chunk):
        clf.predict(X[rng.integers(len(X), size=chunk)])
        memory.append(resident())
    seconds = time.perf_counter() - start
    first = max(memory[: len(memory) // 10])
    print(
        f"{n} predictions in chunks of {chunk} in {seconds:.0f} s: peak {first:.1f} MiB over the "
        f"first tenth, {max(memory):.1f} MiB over all"
    )
    assert max(memory) < first + 5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    fits(given.cycles, given.warm_up)
    predictions(given.predictions, 10_000)
