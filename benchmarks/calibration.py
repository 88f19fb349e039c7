"""How far the probabilities of each classifier are from accuracies, into docs/accuracy.md.

Trains the four few-shot classifiers with the settings of `accuracy.py`, one seed, and prints the
expected calibration error and the log loss of their probabilities in episodes of test classes: with
the default temperature, and with the one of lowest log loss in episodes of training classes. What
is finished is kept in build/calibration; ``--data-sets digits`` and ``--methods Matching`` compute
a part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import log_loss

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "examples"))

from _accuracy_cells import changed  # noqa: E402
from _accuracy_data import SPLITS  # noqa: E402
from _accuracy_methods import methods  # noqa: E402
from _accuracy_page import of_probabilities, page  # noqa: E402

from sk_fewshot import EpisodeSplit  # noqa: E402
from sk_fewshot._utils.files import write_atomically  # noqa: E402
from sk_fewshot.evaluation import _encode_once  # noqa: E402
from sk_fewshot.metrics import expected_calibration_error  # noqa: E402

DOCS = HERE.parent / "docs"
CLASSIFIERS = ["Prototypical", "Matching", "Relation", "Siamese classifier"]
TEMPERATURES = np.geomspace(0.01, 100, 25)
N_CHOSEN, N_EPISODES = 50, 200


def probabilities(clf: BaseEstimator, X, y, n_shot: int, n_query: int, n_episodes: int):
    """Return codes (n,) of the right classes within their episodes, and probabilities (n, 5)."""
    codes, found = [], []
    for support, query in EpisodeSplit(5, n_shot, n_query, n_episodes, random_state=0).split(X, y):
        found.append(clf.fit(X[support], y[support]).predict_proba(X[query]))
        codes.append(np.searchsorted(clf.classes_, y[query]))
    return np.concatenate(codes), np.concatenate(found).astype(float)


def judged(clf: BaseEstimator, X, y, n_shot: int, n_query: int) -> dict[str, float]:
    """Return calibration error and log loss."""
    right, proba = probabilities(clf, X, y, n_shot, n_query, N_EPISODES)
    proba = np.clip(proba, 1e-12, 1)
    return {
        "error": expected_calibration_error(right, np.clip(proba, 0, 1), labels=range(5)),
        "log_loss": log_loss(right, proba / proba.sum(1, keepdims=True), labels=range(5)),
    }


def best_temperature(clf: BaseEstimator, X, y, n_shot: int, n_query: int) -> float:
    """Return the temperature of lowest log loss in episodes of these classes."""

    def loss(temperature: float) -> float:
        warmer = clone(clf).set_params(temperature=temperature)
        right, proba = probabilities(warmer, X, y, n_shot, n_query, N_CHOSEN)
        proba = np.clip(proba, 1e-12, 1)
        return log_loss(right, proba / proba.sum(1, keepdims=True), labels=range(5))

    return float(min(TEMPERATURES, key=loss))


def computed(data_set: str, method: str) -> list[dict[str, object]]:
    """Train, and return a row for one shot and one for five."""
    split = SPLITS[data_set]()
    clf = changed(methods(data_set)[method], {"random_state": 0}).meta_fit(split.X, split.y)
    some = np.isin(split.y, np.unique(split.y)[:: 1 + len(np.unique(split.y)) // 200])
    base_clf, X_base = _encode_once(clf, split.X[some])
    clf, X = _encode_once(clf, split.X_test)
    rows = []
    for n_shot in (1, 5):
        row: dict[str, object] = {"data_set": data_set, "method": method, "n_shot": n_shot}
        row |= judged(clf, X, split.y_test, n_shot, split.n_query)
        if "temperature" in clf.get_params(deep=False):
            best = best_temperature(base_clf, X_base, split.y[some], n_shot, split.n_query)
            warmer = clone(clf).set_params(temperature=best)
            chosen = judged(warmer, X, split.y_test, n_shot, split.n_query)
            row["chosen"] = {"temperature": best, **chosen}
        rows.append(row)
    return rows


def main() -> None:
    """Compute what is missing, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-sets", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--methods", nargs="+", choices=CLASSIFIERS, default=CLASSIFIERS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = HERE.parent / "build" / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for data_set in arguments.data_sets:
        for method in arguments.methods:
            file = folder / f"{data_set}-{method.replace(' ', '_')}.json"
            start = time.perf_counter()
            if not file.exists():
                write_atomically(file, [json.dumps(computed(data_set, method)).encode()])
            rows += json.loads(file.read_text())
            print(f"{data_set}, {method}: {time.perf_counter() - start:.0f} s", flush=True)
    print(of_probabilities(rows))
    if len(rows) < 2 * len(SPLITS) * len(CLASSIFIERS):
        return
    figures = json.loads((DOCS / "accuracy.json").read_text()) | {"calibration": rows}
    write_atomically(DOCS / "accuracy.json", [(json.dumps(figures, indent=1) + "\n").encode()])
    write_atomically(DOCS / "accuracy.md", [page(figures).encode()])


if __name__ == "__main__":
    main()
