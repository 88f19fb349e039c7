"""One cell of the accuracy table: a method trained, or not, with one seed, and its scores."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _accuracy_data import Split
from _accuracy_methods import methods
from sklearn.base import BaseEstimator, clone

from sk_fewshot import MatchingClassifier, PrototypicalClassifier, episode_score
from sk_fewshot._training import digest
from sk_fewshot._utils.files import write_atomically
from sk_fewshot.evaluation import EpisodeScores, _encode_once
from sk_fewshot.metrics import equal_error_rate

UNTRAINED = {"max_epochs": 1, "batches_per_epoch": 20, "lr": 1e-12}
BRIEF = {"max_epochs": 1, "batches_per_epoch": 2}


@dataclass(frozen=True)
class Cell:
    """What is to be computed; `kind` is "pixels", "untrained" or "trained"."""

    data_set: str
    method: str
    kind: str
    seed: int
    clf: BaseEstimator
    n_episodes: int

    @property
    def key(self) -> dict[str, object]:
        """What tells it from other cells, and a digest of all its settings."""
        names = ("data_set", "method", "kind", "seed", "n_episodes")
        return {**{n: getattr(self, n) for n in names}, "settings": digest(self.clf)}

    def known(self, folder: Path) -> dict[str, object] | None:
        """Its figures, where they were computed before with the same settings."""
        if not self._file(folder).exists():
            return None
        figures = json.loads(self._file(folder).read_text())
        return figures if self.key.items() <= figures.items() else None

    def compute(self, split: Split, folder: Path) -> dict[str, object]:
        """Its figures, which are kept in the folder."""
        figures = {**self.key, **computed(self, split)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(folder), [(json.dumps(figures, indent=1) + "\n").encode()])
        return figures

    def _file(self, folder: Path) -> Path:
        words = (self.data_set, self.method, self.kind, str(self.seed))
        return folder / ("-".join(words).replace(" ", "_") + ".json")


def cells(
    data_set: str, split: Split, seeds: int, n_episodes: int, *, brief: bool = False
) -> Iterator[Cell]:
    """All cells of a data set; in `brief` ones two batches stand for every training."""
    for seed in range(seeds):
        for name in split.pixels:
            clf = PrototypicalClassifier("passthrough")
            yield Cell(data_set, name, "pixels", seed, clf, n_episodes)
        for name, clf in methods(data_set).items():
            for kind, changes in (("untrained", UNTRAINED), ("trained", {})):
                shortened = BRIEF if brief else {}
                seeded = changed(clf, {**changes, **shortened, "random_state": seed})
                yield Cell(data_set, name, kind, seed, seeded, n_episodes)


def changed(clf: BaseEstimator, changes: dict[str, object]) -> BaseEstimator:
    """A copy with these parameters of the transformer within."""
    within = "encoder__encoder__" if hasattr(clf.encoder, "encoder") else "encoder__"
    return clone(clf).set_params(**{within + name: value for name, value in changes.items()})


def computed(cell: Cell, split: Split) -> dict[str, object]:
    """Scores and processor seconds of the training."""
    if cell.kind == "pixels":
        clf, X, seconds = cell.clf, split.pixels[cell.method], 0.0
    else:
        start = time.process_time()
        clf = clone(cell.clf).meta_fit(split.X, split.y)
        seconds = time.process_time() - start
        clf, X = _encode_once(clf, split.X_test)
    found = {"seconds": seconds, "scores": scores(clf, X, split, cell.n_episodes, cell.seed)}
    if split.verified:
        found["equal error rate"] = pairwise_error(clf, X, split.y_test)
    return found


def scores(
    clf: BaseEstimator, X, split: Split, n_episodes: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Mean accuracy of each setting, and half its 95% interval."""
    found = {}
    for protocol, n_way, n_shot in split.settings:
        groups = split.groups if protocol == "within" else np.zeros(len(X))
        names = np.unique(groups)
        shares = np.array_split(np.arange(n_episodes), len(names))  # episodes of each group
        accuracies = []
        for name, share in zip(names, shares, strict=True):
            own = groups == name
            score = episode_score(
                clf,
                X[own],
                split.y_test[own],
                n_way=min(n_way, len(np.unique(split.y_test[own]))),
                n_shot=n_shot,
                n_query=split.n_query,
                n_episodes=len(share),
                random_state=seed,
            )
            accuracies.append(score.scores)
        all_of_them = EpisodeScores(np.concatenate(accuracies), n_way, n_shot)
        found[f"{protocol} {n_way}-way {n_shot}-shot"] = (
            all_of_them.mean,
            all_of_them.confidence_interval,
        )
    return found


def pairwise_error(clf: BaseEstimator, X, y) -> float:
    """Equal error rate of all pairs, by what the head says when each example is a class.

    Matching's scores are probabilities of one query, which do not compare between queries; with one
    example a class it decides by the cosine, which does.
    """
    if isinstance(clf, MatchingClassifier):
        clf = PrototypicalClassifier(clf.encoder, metric="cosine")
    alike = clf.fit(X, np.arange(len(X))).decision_function(X)  # (n, n)
    i, j = np.triu_indices(len(X), k=1)
    return equal_error_rate((y[i] == y[j]).astype(int), (alike + alike.T)[i, j])
