"""A gallery in PostgreSQL beside those in memory: exact, by FAISS, and by an index in the database.

1,000 queries among 100,000 prototypes of 128 numbers, and one query alone, as a camera asks. All
exact searches must find the same prototypes; recall is the share that the others find. A query lies
half as far from its prototype as prototypes lie from their mean. The server is on the same machine
and may use its other cores; it builds its index with ``maintenance_work_mem=512MB``.

With ``--kills`` another table comes first: two processes enrol in one gallery and search in it, and
one of them is killed by SIGKILL at so many random moments. Stops if anything is half enrolled, or
lost after it was acknowledged. Needs ``pip install "sk-fewshot[postgres,faiss]" pgserver``.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pgserver
import psycopg
from _report import arguments, interleaved, report
from sklearn.base import clone

from sk_fewshot import PostgresGallery, PrototypicalClassifier, SiameseClassifier

N_QUERIES, N_ROWS, D = 1000, 100_000, 128
BATCH = 200  # examples of one class, enrolled at once by those that are killed
fork = multiprocessing.get_context("fork")


@contextmanager
def server() -> Iterator[str]:
    """Run a server, and give its address."""
    with tempfile.TemporaryDirectory() as folder:
        running = pgserver.get_server(folder)
        try:
            yield f"{running.get_uri()}&options=-c%20maintenance_work_mem%3D512MB"
        finally:
            running.cleanup()


def milliseconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def speed(dsn: str, rounds: int) -> Iterator[dict[str, object]]:
    """Yield a row on many queries, on one, and on enrolment."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ROWS, D), dtype=np.float32)
    noise = 0.5 * rng.standard_normal((N_QUERIES, D), dtype=np.float32)
    queries = rows[rng.choice(N_ROWS, N_QUERIES, replace=False)] + noise
    classes = np.arange(N_ROWS)
    indices = {
        "memory": None,
        "faiss": "faiss",
        "postgres": PostgresGallery(dsn, table="people"),
        "hnsw": PostgresGallery(dsn, table="indexed", search="hnsw"),
    }
    fitted = {name: PrototypicalClassifier("passthrough", index=i) for name, i in indices.items()}
    fit_s = {name: milliseconds(partial(c.fit, rows, classes)) / 1000 for name, c in fitted.items()}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze people")
        connection.execute("vacuum analyze indexed")
    expected = fitted["memory"].predict(queries)
    found = {name: clf.predict(queries) for name, clf in fitted.items()}
    assert (found["postgres"] == expected).all(), "answers differ"
    one = [fitted["postgres"].predict(query[None])[0] for query in queries[:5]]
    assert (one == expected[:5]).all(), "answers differ"
    seconds = interleaved(rounds, **{n: partial(c.predict, queries) for n, c in fitted.items()})
    yield {
        f"{N_QUERIES} queries among": N_ROWS,
        **{f"{name}_s": min(each) for name, each in seconds.items()},
        "faiss_recall": float((found["faiss"] == expected).mean()),
        "hnsw_recall": float((found["hnsw"] == expected).mean()),
    }
    seconds = interleaved(
        20 * rounds, **{n: partial(c.predict, queries[:1]) for n, c in fitted.items()}
    )
    yield {
        "1 query among": N_ROWS,
        **{f"{name}_ms": 1000 * statistics.median(each) for name, each in seconds.items()},
    }
    for name in ("memory", "postgres", "hnsw"):
        clf = fitted[name]
        new = [partial(clf.partial_fit, queries[i : i + 1], [N_ROWS + i]) for i in range(20)]
        old = [partial(clf.partial_fit, queries[i : i + 1], [i]) for i in range(20)]
        yield {
            "enrolment": name,
            "all_s": fit_s[name],
            "one_ms": statistics.median(map(milliseconds, new)),
            "known_class_ms": statistics.median(map(milliseconds, old)),
            "remove_ms": milliseconds(partial(clf.remove_class, N_ROWS)),
        }


def batch(name: str, i: int) -> np.ndarray:
    """Examples of a class that is far from all others."""
    seed = int.from_bytes(name.encode(), "little") + i
    centre = 100 * np.random.default_rng(seed).standard_normal((1, D), dtype=np.float32)
    return centre + np.random.default_rng(i).standard_normal((BATCH, D), dtype=np.float32)


def enrol(clf, name: str, acknowledged, inside) -> None:
    """Enrol a class after the other and look for it, until killed."""
    for i in range(10**9):
        examples = batch(name, i)
        inside.value = 1
        clf.partial_fit(examples, [f"{name}/{i}"] * BATCH)
        inside.value = 0
        acknowledged.value = i + 1
        assert (clf.predict(examples[:3]) == f"{name}/{i}").all(), "not found"


def kills(dsn: str, n_kills: int) -> Iterator[dict[str, object]]:
    """Yield a row for each kind of gallery: kills, and what was found afterwards."""
    moments = random.Random(0)
    for empty in (
        PrototypicalClassifier("passthrough"),
        SiameseClassifier("passthrough", metric="sqeuclidean"),
    ):
        clf = clone(empty).set_params(index=PostgresGallery(dsn, table="killed"))
        clf.fit(np.zeros((BATCH, D)), ["start"] * BATCH)
        done, n_inside = {}, 0
        survivor = started(clf, "survivor")
        for i in range(n_kills):
            victim = started(clf, f"victim{i}")
            while not victim[1].value:
                time.sleep(0.01)
            time.sleep(0.2 * moments.random())
            done[f"victim{i}"] = stopped(*victim[:2])
            n_inside += victim[2].value
        assert survivor[0].is_alive(), "the other process failed"
        done["survivor"] = stopped(*survivor[:2])
        count = "sum(count)" if isinstance(clf, PrototypicalClassifier) else "count(*)"
        with psycopg.connect(dsn) as connection:
            counts = dict(
                connection.execute(f"select label, {count} from killed group by label").fetchall()
            )
        assert set(counts.values()) == {BATCH}, "half enrolled"
        promised = {f"{name}/{i}" for name, n in done.items() for i in range(n)}
        assert promised <= counts.keys(), "lost"
        expected = clone(empty)
        labels = sorted(counts.keys() - {"start"})
        examples = [batch(*(f(x) for f, x in zip((str, int), c.split("/")))) for c in labels]
        expected.fit(
            np.concatenate([np.zeros((BATCH, D)), *examples]).astype(np.float32),
            np.repeat(["start", *labels], BATCH),
        )
        asked = np.concatenate([each[:2] for each in examples])
        assert (clf.predict(asked) == np.repeat(labels, 2)).all(), "not found"
        got, right = (each.kneighbors(asked, 5)[0] for each in (clf, expected))
        np.testing.assert_array_equal(got, right, "answers differ")
        yield {
            "gallery of": type(clf).__name__,
            "kills": n_kills,
            "within_a_transaction": n_inside,
            "classes_enrolled": len(counts),
            "half_enrolled": 0,
            "lost": 0,
            "not_found": 0,
        }


def started(clf, name: str):
    """Start a process that enrols."""
    acknowledged, inside = fork.Value("l", 0), fork.Value("i", 0)
    process = fork.Process(target=enrol, args=(clf, name, acknowledged, inside), daemon=True)
    process.start()
    return process, acknowledged, inside


def stopped(process, acknowledged) -> int:
    """Kill a process; how many classes it had been told are enrolled."""
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return acknowledged.value


def measure(given) -> Iterator[dict[str, object]]:
    """Yield all rows."""
    with server() as dsn:
        if given.kills:
            yield from kills(dsn, given.kills)
        yield from speed(dsn, given.rounds)


if __name__ == "__main__":
    given = arguments(__doc__, kills={"type": int, "default": 0, "metavar": "N"})
    report("postgres_gallery", measure(given), given.json)
