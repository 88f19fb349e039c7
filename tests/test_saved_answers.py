"""The classifiers answer as they did before their parts were put together anew.

``python tests/test_saved_answers.py`` saves today's answers.
"""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
)
from sk_fewshot.heads import FullContext, MatchingHead, RelationHead, SiameseHead
from sk_fewshot.losses import PairBCELoss

SAVED = Path(__file__).parent / "data" / "saved_answers.json"
METRICS = ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]


class Stored(TransformerMixin, BaseEstimator):
    """An encoder that hands on its input and brings a learned head."""

    def __init__(self, head):
        self.head_ = head

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


def learned(make_head):
    """A frozen encoder with a head of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FrozenEstimator(Stored(make_head().eval()))


def classifiers():
    """Named classifiers over pixels."""
    for metric in METRICS:
        yield f"Prototypical {metric}", PrototypicalClassifier("passthrough", metric=metric)
        yield f"Matching {metric}", MatchingClassifier("passthrough", metric=metric)
        yield f"Siamese {metric}", SiameseClassifier("passthrough", metric=metric)
    context = learned(lambda: MatchingHead(context=FullContext(64)))
    yield "Matching in full context", MatchingClassifier(context)
    yield (
        "Siamese comparator",
        SiameseClassifier(learned(lambda: SiameseHead(comparator=PairBCELoss(64)))),
    )
    yield "Relation", RelationClassifier(learned(lambda: RelationHead((1, 8, 8))))


def answers():
    """Predicted labels of 100 queries, and the probabilities of the first five."""
    X, y = load_digits(return_X_y=True)
    X, y = (X[y >= 5] / 16).astype(np.float32), y[y >= 5]
    found = {}
    for n_support in (15, 50):
        support, queries = slice(n_support), slice(100, 200)
        for name, clf in classifiers():
            clf.fit(X[support], y[support])
            found[f"{name}, {n_support}"] = {
                "labels": "".join(map(str, clf.predict(X[queries]))),
                "probabilities": clf.predict_proba(X[queries][:5]).round(6).tolist(),
            }
    return found


def test_answers_are_those_saved_before():
    saved, found = json.loads(SAVED.read_text()), answers()
    assert saved.keys() == found.keys()
    for name, expected in saved.items():
        assert found[name]["labels"] == expected["labels"], name
        np.testing.assert_allclose(
            found[name]["probabilities"], expected["probabilities"], atol=2e-6, err_msg=name
        )


if __name__ == "__main__":
    SAVED.write_text(json.dumps(answers(), indent=0, sort_keys=True) + "\n")
