"""Ctrl-C at random moments, several times in a row: is every estimator as it was, or whole?

A timer presses Ctrl-C while small estimators are fitted, enrolled into and asked. Each has then
either the attributes and answers of before or those of a call that nobody interrupted, and torch's
switches, the global random generators and all locks are as they were. A training with a checkpoint
is besides gone on with, and ends in bitwise the same weights.
"""

from __future__ import annotations

import argparse
import copy
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from sk_fewshot import (
    MatchingClassifier,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseClassifier,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)
from sk_fewshot._utils import random as _random
from sk_fewshot._utils.state import _lock
from sk_fewshot.metrics import make_pairs

BRIEF = {"max_epochs": 2, "batches_per_epoch": 2, "random_state": 0, "device": "cpu"}
MOST_AT_ONCE = 4

rng = np.random.default_rng(0)
Y = np.repeat(np.arange(5), 6)
X = (rng.normal(size=(30, 6)) + 3 * rng.normal(size=(5, 6))[Y]).astype(np.float32)
KNOWN, NEW = Y < 3, Y >= 3
PAIRS, SAME = make_pairs(X, Y, n_pairs=40, random_state=0)


@dataclass(frozen=True)
class Call:
    """A call to interrupt.

    Attributes
    ----------
    make : callable
        Returns the estimator as it is before; it is copied for each call.
    act : callable
        Takes the estimator.
    answer : callable
        What the estimator answers, where it is fitted.
    """

    make: Callable[[], Any]
    act: Callable[[Any], Any]
    answer: Callable[[Any], np.ndarray]


def with_dropout(n_features: int) -> nn.Module:
    """Make an encoder that draws and has running statistics."""
    return nn.Sequential(
        nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 4)
    )


def calls() -> dict[str, Call]:
    """Return all calls by name."""
    fitted = PrototypicalTransformer(**BRIEF, module=with_dropout).fit(X, Y)
    frozen = FrozenEstimator(fitted)

    def embedded(encoder: Any) -> np.ndarray:
        return encoder.transform(X)

    def labelled(clf: Any) -> np.ndarray:
        return clf.predict_proba(X)

    def enrolled(clf: Any) -> Any:
        return clf.fit(X[KNOWN], Y[KNOWN])

    found = {
        "fit of a transformer": Call(
            lambda: SphereFaceTransformer(**BRIEF, module=with_dropout),
            lambda encoder: encoder.fit(X, Y),
            embedded,
        ),
        "fit of a fitted transformer": Call(
            lambda: TripletTransformer(**BRIEF, augment=torch.neg).fit(X, Y),
            lambda encoder: encoder.fit(X[:, :4], Y),
            lambda encoder: encoder.transform(X[:, : encoder.n_features_in_]),
        ),
        "transform": Call(lambda: copy.deepcopy(fitted), embedded, embedded),
        "meta_fit": Call(
            lambda: enrolled(PrototypicalClassifier(frozen, random_state=0)),
            lambda clf: clf.meta_fit(X, Y),
            lambda clf: np.hstack([labelled(clf), clf.encoder.transform(X)]),
        ),
        "fit of pairs": Call(
            lambda: PairClassifier(SiameseTransformer(**BRIEF), random_state=0),
            lambda clf: clf.fit(PAIRS, SAME),
            lambda clf: clf.predict_proba(PAIRS),
        ),
        "fit of a learned head": Call(
            lambda: SiameseClassifier("passthrough", random_state=0),
            enrolled,
            labelled,
        ),
    }
    for cls in (PrototypicalClassifier, MatchingClassifier):
        name = cls.__name__
        found |= {
            f"fit of {name}": Call(lambda cls=cls: cls(frozen), enrolled, labelled),
            f"partial_fit of {name}": Call(
                lambda cls=cls: enrolled(cls(frozen)),
                lambda clf: clf.partial_fit(X[NEW], Y[NEW]),
                labelled,
            ),
            f"remove_class of {name}": Call(
                lambda cls=cls: enrolled(cls(frozen)), lambda clf: clf.remove_class(1), labelled
            ),
            f"predict of {name}": Call(
                lambda cls=cls: enrolled(cls(frozen, reject_below=-1e9, unknown_label=-1)),
                lambda clf: clf.predict(X),
                labelled,
            ),
        }
    return found


class Storm:
    """A timer that presses Ctrl-C while a function runs.

    Parameters
    ----------
    rng : Generator
    """

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._left = 0
        self.n_pressed = 0
        signal.signal(signal.SIGALRM, self._press)

    def _press(self, number: int, frame: Any) -> None:
        if self._left:
            self._left -= 1
            self.n_pressed += 1
            raise KeyboardInterrupt

    def over(self, function: Callable[[], Any], within: float) -> bool:
        """Call a function under fire, which begins within so many seconds; whether it ended."""
        first, pause = self._rng.uniform(1e-6, within), self._rng.uniform(2e-5, 2e-3)
        try:
            self._left = int(self._rng.integers(1, MOST_AT_ONCE + 1))
            signal.setitimer(signal.ITIMER_REAL, first, pause)
            function()
            self._left = 0
            return True
        except KeyboardInterrupt:
            self._left = 0
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def answers(call: Call, estimator: Any) -> tuple[list[str], bytes]:
    """Names of the attributes, and what a fitted estimator answers."""
    names = sorted(vars(estimator).keys() - {"net_"})  # a copy has none
    unfitted = names == sorted(estimator.get_params(deep=False))
    return names, b"" if unfitted else call.answer(estimator).tobytes()


def switches() -> dict[str, Any]:
    """Global state that a call may use, and has to leave as it was."""
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "precision of products": torch.get_float32_matmul_precision(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's generator": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "numpy's warnings": np.geterr(),
        "Python's warnings": list(warnings.filters),
        "scikit-learn's configuration": sklearn.get_config(),
    }


def is_free(lock: Any) -> bool:
    """Whether another thread can take a lock."""
    taken = []

    def take() -> None:
        if lock.acquire(timeout=5):
            taken.append(True)
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(taken)


def violations(call: Call, estimator: Any, allowed: list, usual: dict[str, Any]) -> list[str]:
    """What is neither as before nor as after; after a call that ended only the latter counts."""
    found = [name for name, value in switches().items() if value != usual[name]]
    found += [] if is_free(_random._torch_generator) else ["lock of the generator"]
    found += [] if is_free(_lock(estimator)) else ["lock of the estimator"]
    try:
        state = answers(call, estimator)
    except Exception as error:
        return [*found, f"answers: {error!r}"]
    return found if state in allowed else [*found, "state of the estimator"]


def measure(n: int, seed: int) -> int:
    """Print what came of n interrupts, and return the number of violations."""
    storm, all_calls, counts, found = Storm(np.random.default_rng(seed)), calls(), {}, Counter()
    for name, call in all_calls.items():
        before, after = call.make(), call.make()
        call.act(copy.deepcopy(after))  # warm up
        start = time.perf_counter()
        call.act(after)
        within = 1.2 * (time.perf_counter() - start)
        states = [answers(call, before), answers(call, after)]
        counts[name] = Counter()
        pressed = storm.n_pressed
        while storm.n_pressed - pressed < n / (len(all_calls) + 1):
            estimator, usual = copy.deepcopy(before), switches()
            ended = storm.over(lambda call=call, estimator=estimator: call.act(estimator), within)
            wrong = violations(call, estimator, states[1:] if ended else states, usual)
            found.update(wrong)
            changed = not wrong and answers(call, estimator) == states[1] != states[0]
            counts[name]["ended" if ended else "whole" if changed else "as before"] += 1
            for what in wrong:
                print(f"VIOLATION in {name}: {what}", flush=True)
        counts[name]["interrupts"] = storm.n_pressed - pressed
    name = "fit with a checkpoint"
    counts[name], wrong = resumed(storm, n / (len(all_calls) + 1))
    found.update(wrong)
    report(counts, found)
    return sum(found.values())


def resumed(storm: Storm, n: float) -> tuple[Counter, list[str]]:
    """Interrupt trainings again and again until they end."""
    counts, wrong, pressed = Counter(), [], storm.n_pressed
    with tempfile.TemporaryDirectory() as folder:

        def make(path: Path | None) -> Any:
            return SphereFaceTransformer(**BRIEF, module=with_dropout, checkpoint=path)

        whole = make(None).fit(X, Y).transform(X)
        start = time.perf_counter()
        make(Path(folder, "0")).fit(X, Y)
        within, i = 1.2 * (time.perf_counter() - start), 0
        while storm.n_pressed - pressed < n:
            i += 1
            path, usual = Path(folder, str(i)), switches()
            encoder = make(path)
            while not storm.over(lambda encoder=encoder: encoder.fit(X, Y), within):
                counts["as before"] += 1
                wrong += [name for name, value in switches().items() if value != usual[name]]
            counts["ended"] += 1
            if make(path).fit(X, Y).transform(X).tobytes() != whole.tobytes():
                wrong.append("weights of a resumed training")
    counts["interrupts"] = storm.n_pressed - pressed
    return counts, wrong


def report(counts: dict[str, Counter], found: Counter) -> None:
    """Print a table, and the sum."""
    columns = ["interrupts", "as before", "whole", "ended"]
    print(f"| call | {' | '.join(columns)} |")
    print("| --- |" + " --- |" * len(columns))
    for name, count in counts.items():
        print(f"| {name} | {' | '.join(str(count[column]) for column in columns)} |")
    total = sum(count["interrupts"] for count in counts.values())
    print(
        f"{total:,} interrupts, up to {MOST_AT_ONCE} a call; "
        f"{sum(found.values())} violations{': ' if found else ''}"
        f"{', '.join(f'{what} ({times})' for what, times in found.items())}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    raise SystemExit(bool(measure(given.n, given.seed)))
