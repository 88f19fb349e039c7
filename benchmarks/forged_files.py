"""Forged files: random structures of what a file may hold, sealed with a right checksum.

Each is loaded, copied, shown and asked for an answer, in a process that may take 2 s of computing
and 500 MB for it. A file is refused, or its estimator answers; whatever else happens is named, and
the file is kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _forger import Forger
from sklearn.base import BaseEstimator, clone

from sk_fewshot import classifiers, load
from sk_fewshot.persistence import InvalidFileError

SECONDS, MEGABYTES = 2, 500
FINE = {"refused", "answers", "not fitted"}


def outcome(path: Path) -> str:
    """Load a file and ask for an answer."""
    try:
        estimator = load(path)
    except InvalidFileError:
        return "refused"
    repr(clone(estimator))
    if not fitted(estimator):
        return "not fitted"
    if "device" in estimator.get_params(deep=False):
        estimator.set_params(device="cpu")  # a file may name one that is not here
    X = np.zeros((2, estimator.n_features_in_), np.float32)
    X[1] = 1
    if isinstance(estimator, classifiers.PairClassifier):
        answer = estimator.predict(np.stack([X, X], 1))
    else:
        answer = estimator.predict(X) if hasattr(estimator, "predict") else estimator.transform(X)
    assert len(answer) == 2
    return "answers"


def fitted(estimator: BaseEstimator) -> bool:
    """Whether it has anything that `fit` sets."""
    inner = estimator
    while hasattr(inner, "estimator") or hasattr(inner, "steps"):
        inner = inner.estimator if hasattr(inner, "estimator") else inner.steps[-1][1]
    return any(name.endswith("_") for name in vars(inner))


def limited(path: Path) -> tuple[str, float, float]:
    """Return the outcome of a file, the seconds of computing and the megabytes that it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    limit = 1024 * kilobytes("VmSize") + MEGABYTES * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, 20 * SECONDS)  # both kill this process
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    start = time.process_time()
    try:
        what = outcome(path)
    except Exception as error:
        what = f"raises {type(error).__name__}: {error}"
    seconds = time.process_time() - start
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return what, seconds, (kilobytes("VmHWM") - before) / 1024


def kilobytes(name: str) -> int:
    """Return a figure of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def answer_all(paths: list[Path], results: Any) -> None:
    """Send what each file does, until one kills this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for path in paths:
        results.send(limited(path))


def outcomes(paths: list[Path]) -> Iterator[tuple[Path, str, float, float]]:
    """Yield what files do, each under its own limits, many in a process."""
    context = get_context("fork")
    while paths:
        results, theirs = context.Pipe(duplex=False)
        process = context.Process(target=answer_all, args=(paths, theirs))
        process.start()
        theirs.close()
        done = 0
        try:
            while done < len(paths):
                yield paths[done], *results.recv()
                done += 1
        except EOFError:
            process.join()
            yield paths[done], f"killed by signal {-(process.exitcode or 0)}", SECONDS, 0.0
            done += 1
        process.join()
        paths = paths[done:]


def measure(n: int, seed: int, kept: Path) -> None:
    """Print what `n` files did."""
    forger = Forger(np.random.default_rng(seed))
    counts: Counter[str] = Counter()
    slowest = largest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, n, 100):
            paths = [Path(folder, str(i)) for i in range(start, min(start + 100, n))]
            for path in paths:
                path.write_bytes(forger.file())
            for path, what, seconds, megabytes in outcomes(paths):
                counts[what] += 1
                slowest = max(slowest, (seconds, path.name))
                largest = max(largest, (megabytes, path.name))
                if what not in FINE or megabytes > 150 or seconds > 1:
                    print(what, seconds, megabytes)
                    kept.mkdir(exist_ok=True)
                    os.replace(path, kept / path.name)
                    print(f"{kept / path.name}: {what}", flush=True)
                else:
                    path.unlink()
    print(dict(counts))
    print(f"slowest {slowest[0]:.2f} s, largest {largest[0]:.0f} MiB")
    assert set(counts) <= FINE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("forged"), help="folder of what failed")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    measure(given.n, given.seed, given.kept)
