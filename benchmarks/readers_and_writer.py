"""Four threads that predict, one that saves and one that enrols and removes: every answer checked.

Residents stay where they are; visitors come and go, with names before, between and after theirs.
Each answer must be the resident that was asked for, in every method, and each file must hold a
gallery that answers so. Prints the counts, and exits with 1 where an answer is wrong. ``--seconds``
per classifier, 20 by default.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    SiameseClassifier,
    load,
    save,
)

N_RESIDENTS, D, N_READERS = 300, 16, 4
CLASSIFIERS = [PrototypicalClassifier, MatchingClassifier, SiameseClassifier]


class Trial:
    """One classifier under readers, a saver and a writer."""

    def __init__(self, classifier: type, seconds: float):
        rng = np.random.default_rng(0)
        self.residents = rng.normal(size=(N_RESIDENTS, D)).astype(np.float32)
        self.names = np.array([f"resident {i:03}" for i in range(N_RESIDENTS)])
        self.clf = classifier("passthrough", metric="euclidean").fit(self.residents, self.names)
        self.end = time.monotonic() + seconds
        self.counts = {"answers": 0, "files": 0, "enrolments": 0}
        self.faults: list[str] = []

    def check(self, clf, rng: np.random.Generator) -> None:
        """Ask about three residents in every way."""
        who = rng.integers(N_RESIDENTS, size=3)
        X, names = self.residents[who], self.names[who]
        answers = {"predict": clf.predict(X)}
        probabilities = clf.predict_proba(X)
        if not np.isfinite(probabilities).all():
            self.faults.append("predict_proba: not finite")
        if hasattr(clf, "predict_top_k"):
            answers["predict_top_k"] = clf.predict_top_k(X, 1)[0][:, 0]
        distances = clf.kneighbors(X, 1)[0]
        if (distances > 1e-3).any():
            self.faults.append(f"kneighbors: {distances.max()}")
        for method, given in answers.items():
            if not (given == names).all():
                self.faults.append(f"{method}: {given} for {names}")
        self.counts["answers"] += 3 * (len(answers) + 2)

    def read(self, seed: int) -> None:
        """Predict until the end."""
        rng = np.random.default_rng(seed)
        while time.monotonic() < self.end:
            self.check(self.clf, rng)

    def keep(self) -> None:
        """Save, load and ask the loaded one, until the end."""
        rng = np.random.default_rng(99)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gallery"
            while time.monotonic() < self.end:
                save(self.clf, path)
                self.check(load(path), rng)
                self.counts["files"] += 1

    def write(self) -> None:
        """Enrol visitors and remove them, until the end."""
        rng = np.random.default_rng(7)
        while time.monotonic() < self.end:
            names = rng.choice(["a visitor", "resident 100 b", "visitor"], size=2, replace=False)
            self.clf.partial_fit(rng.normal(size=(2, D)).astype(np.float32) + 50, names)
            for name in names:
                self.clf.remove_class(name)
            self.counts["enrolments"] += 4


def watched(trial: Trial, task, *args) -> threading.Thread:
    """Return a thread in which an exception is a fault."""

    def run():
        try:
            task(*args)
        except Exception as error:
            trial.faults.append(f"{type(error).__name__}: {error}")

    return threading.Thread(target=run)


def main() -> None:
    """Try each classifier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    n_faults = 0
    for classifier in CLASSIFIERS:
        trial = Trial(classifier, seconds)
        threads = [watched(trial, trial.read, seed) for seed in range(N_READERS)]
        threads += [watched(trial, trial.keep), watched(trial, trial.write)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = ", ".join(f"{n:,} {what}" for what, n in trial.counts.items())
        print(f"{classifier.__name__}: {counts}; {len(trial.faults)} wrong", flush=True)
        for fault in trial.faults[:5]:
            print(f"    {fault}")
        n_faults += len(trial.faults)
    sys.exit(1 if n_faults else 0)


if __name__ == "__main__":
    main()
