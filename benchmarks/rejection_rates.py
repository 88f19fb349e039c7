"""How many strangers are let in where the threshold was calibrated to let in few.

Synthetic people: Gaussian centres, and examples spread around them. Each repeat enrols residents
with one or five examples each, calibrates on these very examples (or on as many strangers), and
shows 500 new strangers at the door, one example of each. The mean rate over the repeats must not
exceed the promised one by more than three standard errors. Where there are too few residents to
tell the rate, nobody may be let in.

Exits with status 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
)
from sk_fewshot.classifiers._base import BaseFewShotClassifier

D, SPREAD = 16, 0.7
N_RESIDENTS, N_SHOTS, RATES = (9, 30, 99), (1, 5), (0.01, 0.05, 0.1)
N_NEW = 500


def people(
    n: int, n_examples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Examples (n * n_examples, D) of people drawn anew, and who is on them."""
    who = np.repeat(np.arange(n), n_examples)
    centres = rng.normal(size=(n, D))
    return (centres[who] + SPREAD * rng.normal(size=(len(who), D))).astype(np.float32), who


def classifiers() -> dict[str, BaseFewShotClassifier]:
    """Every few-shot classifier; those that learn to compare have learned it from other people."""
    base = people(50, 10, np.random.default_rng(0))
    brief = {"max_epochs": 2, "batches_per_epoch": 50, "random_state": 0}
    relation = RelationClassifier(RelationTransformer(embedding_dim=D, **brief))
    siamese = SiameseClassifier(SiameseTransformer(loss="bce", embedding_dim=D, **brief))
    return {
        "Prototypical, sqeuclidean": PrototypicalClassifier("passthrough"),
        "Prototypical, cosine": PrototypicalClassifier("passthrough", metric="cosine"),
        "Prototypical, dot": PrototypicalClassifier("passthrough", metric="dot"),
        "Matching, cosine": MatchingClassifier("passthrough"),
        "Matching, manhattan": MatchingClassifier("passthrough", metric="manhattan"),
        "Siamese, euclidean": SiameseClassifier("passthrough", metric="euclidean"),
        "Siamese, learned": siamese.meta_fit(*base),
        "Relation": relation.meta_fit(*base),
    }


def rates(
    clf: BaseFewShotClassifier, n_residents: int, n_shots: int, by_strangers: bool, seed: int
) -> list[float]:
    """Share of new strangers let in, for each promised rate, in one repeat."""
    rng = np.random.default_rng(seed)
    X, y = people(n_residents, n_shots, rng)
    clf = clone(clf).fit(X, y)
    if by_strangers:
        X, y = people(n_residents, n_shots, rng)
        y = y + n_residents  # none of them enrolled
    scores = clf.score_samples(people(N_NEW, 1, rng)[0])
    let_in = []
    for rate in RATES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # too few people: nobody is let in
            clf.calibrate_rejection(X, y, false_accept_rate=rate)
        let_in.append(float((scores >= clf.reject_below).mean()))
    return let_in


def lines(n_repeats: int, n_jobs: int, n_residents: tuple[int, ...]) -> Iterator[tuple[str, bool]]:
    """Yield a line of the table for each setting, and whether the promises hold."""
    for name, clf in classifiers().items():
        for by_strangers in (False, True):
            for n in n_residents:
                for n_shots in N_SHOTS:
                    found = np.array(
                        Parallel(n_jobs=n_jobs)(
                            delayed(rates)(clf, n, n_shots, by_strangers, seed)
                            for seed in range(n_repeats)
                        )
                    )  # (n_repeats, n_rates)
                    mean = found.mean(axis=0)
                    error = found.std(axis=0, ddof=1) / n_repeats**0.5
                    # strangers too few for the rate are promised 1 / (n + 1), with a warning
                    promised = np.maximum(RATES, 1 / (n + 1)) if by_strangers else np.array(RATES)
                    kept = mean <= promised + 3 * error
                    cells = "  ".join(
                        f"{m:7.4f} ± {e:.4f}{' ' if k else '!'}"
                        for m, e, k in zip(mean, error, kept, strict=True)
                    )
                    by = "strangers" if by_strangers else "residents"
                    yield f"{name:26}{by:10}{n:4}{n_shots:3}  {cells}", bool(kept.all())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--residents", type=int, nargs="+", default=N_RESIDENTS)
    given = parser.parse_args()
    print(f"{'':26}{'by':10}{'n':>4}{'K':>3}  " + "  ".join(f"{r:>16.0%} " for r in RATES))
    kept = True
    for line, holds in lines(given.repeats, given.jobs, tuple(given.residents)):
        print(line, flush=True)
        kept &= holds
    print("all promises kept" if kept else "promises broken: see !")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
