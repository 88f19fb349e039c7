"""Scores of retrieval among many, beside a nearest-neighbour search of scikit-learn.

Embeddings of 128 numbers, ten or a hundred examples of each class. scikit-learn's brute search
finds as many neighbours as the score looks at; its share of right first neighbours is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from _report import arguments, interleaved, ratio, report
from sklearn.neighbors import NearestNeighbors

from sk_fewshot.metrics import map_at_r, precision_at_1

D = 128


def rows(rounds: int) -> Iterator[Mapping[str, object]]:
    """Yield seconds of ours, and of the search alone over ours."""
    rng = np.random.default_rng(0)
    for n, size in ((10_000, 10), (30_000, 10), (30_000, 100)):
        y = np.arange(n) % (n // size)
        centres = rng.normal(size=(n // size, D))
        X = (centres[y] + 1.5 * rng.normal(size=(n, D))).astype(np.float32)
        for score, k in ((precision_at_1, 1), (map_at_r, size - 1)):
            search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X)
            seconds = interleaved(
                rounds,
                ours=lambda score=score, X=X, y=y: score(X, y),
                search=search.kneighbors,
            )
            theirs = (y[search.kneighbors()[1][:, 0]] == y).mean()
            assert abs(precision_at_1(X, y) - theirs) < 1e-3
            yield {
                "score": score.__name__,
                "examples": n,
                "of a class": size,
                "seconds": float(np.median(seconds["ours"])),
                "scikit-learn's search over ours": ratio(seconds, "search"),
            }


if __name__ == "__main__":
    given = arguments(__doc__)
    report("retrieval", rows(given.rounds), given.json)
