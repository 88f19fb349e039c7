"""Nearest of many prototypes against FAISS's flat index and scikit-learn.

1,000 queries among 100,000 and 1,000,000 prototypes of 128 numbers. All must find the same
prototypes. The floor is the matrix product alone, in the same chunks. The approximate search is
ours with ``index="faiss"``; recall is its share of queries with the exact answer, where a query
lies half as far from its prototype as prototypes lie from their mean. Needs ``pip install
faiss-cpu``.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import torch
from _report import arguments, interleaved, ratio, report
from sklearn.metrics import pairwise_distances_argmin

from sk_fewshot import PrototypicalClassifier

N_QUERIES, D = 1000, 128
SIZES = (100_000, 1_000_000)


def floor(queries: np.ndarray, rows: np.ndarray) -> None:
    """Multiply, and no more."""
    left = torch.from_numpy(queries)
    out = torch.empty(len(queries), 512)
    for chunk in torch.from_numpy(rows).split(512):
        torch.mm(left, chunk.T, out=out[:, : len(chunk)])


def enrolled(rows: np.ndarray, **params) -> PrototypicalClassifier:
    """Return a classifier with one example a class."""
    clf = PrototypicalClassifier("passthrough", **params).fit(rows[:2], [0, 1])
    clf.classes_, clf.prototypes_ = np.arange(len(rows)), rows
    return clf


def milliseconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def enrolment(n_classes: int) -> dict[str, object]:
    """Return the row on enrolling and removing one class."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n_classes, D), dtype=np.float32)
    one = rng.standard_normal((1, D), dtype=np.float32)
    clf = PrototypicalClassifier("passthrough").fit(rows, 2 * np.arange(n_classes))
    del rows
    last = 2 * n_classes
    first = milliseconds(lambda: clf.partial_fit(one, [last]))
    following = [milliseconds(partial(clf.partial_fit, one, [last + i])) for i in range(1, 21)]
    return {
        "enrolment among": n_classes,
        "first_ms": first,
        "next_ms": statistics.median(following),
        "known_class_ms": milliseconds(lambda: clf.partial_fit(one, [n_classes])),
        "in_the_middle_ms": milliseconds(lambda: clf.partial_fit(one, [n_classes + 1])),
        "remove_ms": milliseconds(lambda: clf.remove_class(n_classes + 1)),
    }


def approximate(rows: np.ndarray, rounds: int) -> dict[str, object]:
    """Return the row on the approximate search."""
    rng = np.random.default_rng(1)
    noise = 0.5 * rng.standard_normal((N_QUERIES, D), dtype=np.float32)
    queries = rows[rng.choice(len(rows), N_QUERIES, replace=False)] + noise
    exact, clf = enrolled(rows), enrolled(rows, index="faiss")
    build = milliseconds(partial(clf.predict, queries[:1])) / 1000
    recall = (clf.predict(queries) == exact.predict(queries)).mean()
    seconds = interleaved(
        rounds, ours=partial(clf.predict, queries), exact=partial(exact.predict, queries)
    )
    return {
        "approximate among": len(rows),
        "build_s": build,
        "ours_s": min(seconds["ours"]),
        "exact_s": min(seconds["exact"]),
        "over_exact": ratio(seconds, "exact"),
        "recall": float(recall),
    }


def peak_memory_mb() -> float:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rounds: int):
    """Yield a row for each number of prototypes."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((N_QUERIES, D), dtype=np.float32)
    for n_rows in SIZES:
        rows = rng.standard_normal((n_rows, D), dtype=np.float32)
        clf = enrolled(rows)
        clf.predict(queries[:1])
        before = peak_memory_mb()
        ours = clf.predict(queries)
        extra = peak_memory_mb() - before
        index = faiss.IndexFlatL2(D)
        index.add(rows)
        assert (ours == index.search(queries, 1)[1][:, 0]).all(), "answers differ"
        assert (ours == pairwise_distances_argmin(queries, rows)).all(), "answers differ"
        seconds = interleaved(
            rounds,
            ours=partial(clf.predict, queries),
            faiss=partial(index.search, queries, 1),
            five=partial(clf.kneighbors, queries, 5),
            faiss_five=partial(index.search, queries, 5),
            floor=partial(floor, queries, rows),
            sklearn=partial(pairwise_distances_argmin, queries, rows),
        )
        yield {
            "prototypes": n_rows,
            "ours_s": min(seconds["ours"]),
            "faiss_s": min(seconds["faiss"]),
            "sklearn_s": min(seconds["sklearn"]),
            "floor_s": min(seconds["floor"]),
            "of_faiss_time": 1 / ratio(seconds, "faiss"),
            "of_faiss_time_5_neighbors": 1 / ratio(seconds, "faiss_five", "five"),
            "over_sklearn": ratio(seconds, "sklearn"),
            "over_floor": ratio(seconds, "floor"),
            "extra_memory_MB": extra,
        }
        del clf, index, rows
    for n_rows in SIZES:  # after all exact ones, as an index would hide what they add to the peak
        yield approximate(rng.standard_normal((n_rows, D), dtype=np.float32), rounds)
    yield enrolment(1_000_000)


if __name__ == "__main__":
    given = arguments(__doc__)
    faiss.omp_set_num_threads(1)
    report("gallery", measure(given.rounds), given.json)
