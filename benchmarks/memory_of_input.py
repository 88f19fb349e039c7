"""Memory of a call beside its data, for every kind of array: numbers are cast a batch at a time.

40,000 examples of 5,120 numbers. Each call of each kind runs in a process of its own, after a first
call on a few rows. Linux alone tells these figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import zarr
from _memory import peak
from _report import arguments, report
from sklearn.frozen import FrozenEstimator

from sk_fewshot import (
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseTransformer,
    episode_score,
)

N, D, CLASSES = 40_000, 5_120, 100
WARM_UP = 400
Y = np.arange(N) % CLASSES
SAME = np.arange(N // 2) % 2
TINY = {
    "module_params": {"hidden": (16,)},
    "embedding_dim": 16,
    "max_epochs": 1,
    "batches_per_epoch": 5,
    "random_state": 0,
}

# What is freed goes back to the system, and is not taken for held.
ENVIRONMENT = {
    **os.environ,
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}

_Cast = Callable[[np.ndarray], object]
IN_MEMORY: dict[str, _Cast] = {
    "uint8": lambda X: X,
    "int8": lambda X: X.view(np.int8),
    "float16": lambda X: X.astype(np.float16),
    "bfloat16": lambda X: torch.tensor(X, dtype=torch.bfloat16),
    "float32": lambda X: X.astype(np.float32),
    "float32, Fortran order": lambda X: np.asfortranarray(X, dtype=np.float32),
    "float64": lambda X: X.astype(np.float64),
}
IN_A_FILE: dict[str, Callable[[Path], object]] = {
    "uint8 memory map": lambda folder: np.load(folder / "uint8.npy", mmap_mode="r"),
    "float32 memory map": lambda folder: np.load(folder / "float32.npy", mmap_mode="r"),
    "float16 in h5py": lambda folder: h5py.File(folder / "float16.h5", "r")["X"],
    "uint8 in zarr": lambda folder: zarr.open_array(folder / "uint8.zarr", mode="r"),
}


def write_files(folder: Path) -> None:
    """Write the same random bytes in each form."""
    X = np.random.default_rng(0).integers(256, size=(N, D), dtype=np.uint8)
    np.save(folder / "uint8.npy", X)
    np.save(folder / "float32.npy", X.astype(np.float32))
    with h5py.File(folder / "float16.h5", "w") as file:
        file.create_dataset("X", data=X.astype(np.float16))
    zarr.create_array(folder / "uint8.zarr", data=X, chunks=(16, D), compressors=None)


def opened(kind: str, folder: Path) -> object:
    """Return the examples in one form."""
    if kind in IN_A_FILE:
        return IN_A_FILE[kind](folder)
    return IN_MEMORY[kind](np.load(folder / "uint8.npy"))


class Pairs:
    """Pairs (n, 2, d) of an array in a file, row after row."""

    def __init__(self, rows):
        self._rows = rows
        self.shape, self.dtype = (len(SAME), 2, D), rows.dtype

    def __getitem__(self, place: slice) -> np.ndarray:
        start, stop, _ = place.indices(len(SAME))
        return self._rows[2 * start : 2 * stop].reshape(-1, 2, D)


def on_pairs(method: Callable[..., object], *y) -> Callable[[object], object]:
    """Return a method of pairs as one of examples, of which two in a row are a pair."""

    def call(X) -> object:
        in_a_file = isinstance(X, h5py.Dataset | zarr.Array)
        return method(Pairs(X) if in_a_file else X.reshape(-1, 2, D), *y)

    return call


def encoder(**params) -> PrototypicalTransformer:
    """Return a trained encoder of little memory."""
    return PrototypicalTransformer(**TINY, **params).fit(*few())


def few() -> tuple[np.ndarray, np.ndarray]:
    """Return the examples of a first call, which loads what later ones need."""
    return np.random.default_rng(0).random((WARM_UP, D), np.float32), Y[:WARM_UP]


def frozen() -> PrototypicalClassifier:
    """Return a classifier that has met a few examples."""
    return PrototypicalClassifier(FrozenEstimator(encoder())).fit(*few())


def met_pairs(given) -> PairClassifier:
    """Return a classifier that has met a few pairs."""
    pairs = few()[0].reshape(-1, 2, D)
    clf = PairClassifier(given, random_state=0).fit(pairs, SAME[: len(pairs)])
    clf.predict(pairs)
    return clf


def score(clf: PrototypicalClassifier) -> Callable[[object], object]:
    """Return what scores episodes, after it has scored a few."""
    arguments = {"n_episodes": 5, "n_query": 2, "random_state": 0}
    episode_score(clf, *few(), **arguments)
    return lambda X: episode_score(clf, X, Y, **arguments)


def labelled(method: Callable[..., object]) -> Callable[[object], object]:
    """Return a method of (X, y) as one of X."""
    return lambda X: method(X, Y)


# Each prepares all but the examples, and returns the call that takes them.
CALLS: dict[str, Callable[[], Callable[[object], object]]] = {
    "fit": lambda: labelled(encoder().fit),
    "fit with validation_classes": lambda: labelled(encoder(validation_classes=0.3).fit),
    "meta_fit": lambda: labelled(PrototypicalClassifier(encoder()).meta_fit),
    "transform": lambda: encoder().transform,
    "classifier's fit": lambda: labelled(frozen().fit),
    "predict": lambda: frozen().predict,
    "episode_score": lambda: score(frozen()),
    "PairClassifier.fit": lambda: on_pairs(met_pairs(FrozenEstimator(encoder())).fit, SAME),
    "PairClassifier.fit, unfrozen": lambda: on_pairs(
        met_pairs(SiameseTransformer(**TINY)).fit, SAME
    ),
    "PairClassifier.predict": lambda: on_pairs(met_pairs(FrozenEstimator(encoder())).predict),
}


def measure(kind: str, call: str, folder: Path) -> None:
    """Print the peak of one call in this process."""
    torch.set_num_threads(1)
    X, prepared = opened(kind, folder), CALLS[call]()
    print(peak(lambda: prepared(X)))


def table(folder: Path) -> Iterator[dict[str, object]]:
    """Return a row for each kind of array: its size, and the peak of each call."""
    for kind in (*IN_MEMORY, *IN_A_FILE):
        X = opened(kind, folder)
        megabytes = N * D * X.dtype.itemsize / 1e6
        del X
        row: dict[str, Any] = {"array": kind, "its size": round(megabytes)}
        for call in CALLS:
            command = [sys.executable, __file__, "--cell", kind, call, str(folder)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=ENVIRONMENT)
            row[call] = int(told.stdout)
        row["largest share"] = max(row[call] for call in CALLS) / megabytes
        yield row


def main() -> None:
    if "--cell" in sys.argv:
        kind, call, folder = sys.argv[2:]
        measure(kind, call, Path(folder))
        return
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        report("megabytes beside the data", table(Path(folder)), options.json)


if __name__ == "__main__":
    main()
