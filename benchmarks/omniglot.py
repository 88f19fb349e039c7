"""Accuracy of every few-shot classifier on Omniglot at equal training time, on one core.

Training: the 136 characters of the archive "small1", 28 x 28, rotations by 90 degrees as further
classes, random affine changes. Test: the 106 characters that are only in "small2", never looked at
before. Each method trains for the same processor time (``--minutes``) in one thread; next to them
are raw pixels, each method untrained, and prototypical networks as a plain PyTorch loop.

    python benchmarks/omniglot.py --minutes 5

Finished methods are kept in ``--output`` and skipped when the script is started again. With
``--develop`` two alphabets of "small1" stand in for the test characters: for choosing parameters.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from torch import nn
from torch.nn import functional as F

from sk_fewshot import (
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
)
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes
from sk_fewshot.datasets import fetch_omniglot
from sk_fewshot.encoders import encode
from sk_fewshot.episodes import ClassBalancedSampler

SEED = 0
N_EPISODES = 1000
N_QUERY = 5
SETTINGS = [(5, 1), (5, 5), (20, 1), (20, 5)]  # way, shot
AUGMENT = RandomAffine()
EPISODES = {"n_way": 60, "n_shot": 1, "n_query": 4}


class PlainPrototypical(TransformerMixin, BaseEstimator):
    """Prototypical networks as one writes them in plain PyTorch."""

    def __init__(self, batches_per_epoch=100, lr=1e-3):
        self.batches_per_epoch = batches_per_epoch
        self.lr = lr

    def fit(self, X, y):
        """Train by episodes of 60 classes, one support example and four queries each."""
        torch.manual_seed(SEED)
        rng = np.random.default_rng(SEED)
        images, way, n_per_class = torch.from_numpy(X).view(-1, 1, 28, 28), 60, 5
        self.module_ = nn.Sequential(*(block(1 if i == 0 else 64) for i in range(4)), nn.Flatten())
        optimizer = torch.optim.Adam(self.module_.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.batches_per_epoch)
        sampler = ClassBalancedSampler(y, way, n_per_class)
        for _ in range(self.batches_per_epoch):
            rows = torch.from_numpy(sampler.sample(1, rng)[0])  # (way, 5)
            z = self.module_(AUGMENT(images[rows.flatten()])).unflatten(0, (way, n_per_class))
            prototypes, queries = z[:, 0], z[:, 1:].flatten(0, 1)
            logits = -torch.cdist(queries, prototypes).square()
            loss = F.cross_entropy(logits, torch.arange(way).repeat_interleave(n_per_class - 1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.module_.eval()
        return self

    def transform(self, X):
        """Embed images (n, 28 * 28)."""
        return encode(self.module_, X.reshape(-1, 1, 28, 28))


def block(n_in: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, max-pooling."""
    return nn.Sequential(
        nn.Conv2d(n_in, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)
    )


def methods() -> dict[str, BaseEstimator]:
    """The classifiers, each over its encoder yet to be trained."""
    shared = {"augment": AUGMENT, "max_epochs": 1, "random_state": SEED}
    return {
        "Prototypical": PrototypicalClassifier(PrototypicalTransformer(**EPISODES, **shared)),
        "plain PyTorch": PrototypicalClassifier(PlainPrototypical()),
        "Matching": MatchingClassifier(MatchingTransformer(**EPISODES, **shared)),
        "Relation": RelationClassifier(
            RelationTransformer(n_way=20, n_shot=1, n_query=4, loss="softmax", **shared)
        ),
        "Siamese": SiameseClassifier(SiameseTransformer(loss="bce", metric="cosine", **shared)),
        "Matching, full context": MatchingClassifier(
            MatchingTransformer(full_context=True, **EPISODES, **shared)
        ),
    }


def trained(clf: BaseEstimator, X, y, seconds: float) -> tuple[BaseEstimator, dict]:
    """Train a classifier for about this processor time; returns it and what it took."""
    n_trial = 20
    encoder = clf.encoder
    clone(encoder).set_params(batches_per_epoch=1).fit(X, y)  # warms up
    start = time.process_time()
    clone(encoder).set_params(batches_per_epoch=n_trial).fit(X, y)
    n_batches = max(n_trial, round(seconds / (time.process_time() - start) * n_trial))
    clf = clone(clf).set_params(encoder__batches_per_epoch=n_batches)
    start = time.process_time()
    clf.meta_fit(X, y)
    return clf, {"minutes": (time.process_time() - start) / 60, "batches": n_batches}


def untrained(clf: BaseEstimator, X, y) -> BaseEstimator:
    """Let an untrained network see enough batches for its BatchNorm, and learn nothing."""
    return clone(clf).set_params(encoder__batches_per_epoch=20, encoder__lr=1e-12).meta_fit(X, y)


def scores(clf: BaseEstimator, X, y, alphabet) -> dict[str, tuple[float, float]]:
    """Mean accuracy and half its 95% interval, mixed and within alphabets."""
    found = {}
    names = np.unique(alphabet)
    for n_way, n_shot in SETTINGS:
        episodes = {"n_shot": n_shot, "n_query": N_QUERY, "random_state": SEED}
        mixed = episode_score(clf, X, y, n_way=n_way, n_episodes=N_EPISODES, **episodes)
        within = []
        for name, n_episodes in zip(names, split_evenly(N_EPISODES, len(names)), strict=True):
            own = alphabet == name
            way = min(n_way, len(np.unique(y[own])))
            score = episode_score(clf, X[own], y[own], n_way=way, n_episodes=n_episodes, **episodes)
            within.append(score.scores)
        for protocol, accuracies in (("mixed", mixed.scores), ("within", np.concatenate(within))):
            interval = 1.96 * accuracies.std(ddof=1) / len(accuracies) ** 0.5
            found[f"{protocol} {n_way}-way {n_shot}-shot"] = float(accuracies.mean()), interval
    return found


def split_evenly(n: int, parts: int) -> list[int]:
    """Whole numbers that differ by at most one."""
    return [len(part) for part in np.array_split(np.arange(n), parts)]


def load(data_home: str, develop: bool):
    """Training images and classes, test images, classes and alphabets."""
    base = fetch_omniglot("small1", data_home=data_home, download_if_missing=False)
    if develop:
        novel = np.isin(base.alphabet, np.unique(base.alphabet)[:2])
        test, rows, base_rows = base, novel, ~novel
    else:
        test = fetch_omniglot("small2", data_home=data_home, download_if_missing=False)
        rows = ~np.isin(test.alphabet, base.alphabet)
        base_rows = slice(None)
    X, y = symmetries_as_classes(base.images[base_rows], base.target[base_rows])
    return np.ascontiguousarray(X), y, test.images[rows], test.target[rows], test.alphabet[rows]


def print_table(results: list[dict]) -> None:
    """One row a method, one column a setting, accuracies in %."""
    columns = list(results[0]["scores"])
    print(f"\nAccuracy in %, {N_EPISODES} episodes each, ± 95% interval")
    print("| method | minutes | batches | " + " | ".join(columns) + " |")
    print("|---" * (3 + len(columns)) + "|")
    for result in results:
        cells = [f"{100 * m:.1f} ± {100 * ci:.1f}" for m, ci in map(result["scores"].get, columns)]
        print(
            f"| {result['method']} | {result.get('minutes', 0):.1f} | {result.get('batches', 0)} | "
            + " | ".join(cells)
            + " |"
        )


def main() -> None:
    """Train, test and print what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, help="processor time a method")
    parser.add_argument("--methods", nargs="*", help="names of the methods; default: all")
    parser.add_argument("--data-home", default="../shared/data")
    parser.add_argument("--output", type=Path, default=Path("build/omniglot"))
    parser.add_argument("--develop", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    X, y, *test = load(arguments.data_home, arguments.develop)

    results = []

    def run(name: str, make) -> None:
        file = arguments.output / f"{name.replace(' ', '_').replace(',', '')}.json"
        if not file.exists():
            clf, facts = make(file.with_suffix(".joblib"))
            file.write_text(json.dumps({"method": name, **facts, "scores": scores(clf, *test)}))
        results.append(json.loads(file.read_text()))
        print_table(results[-1:])

    def training(clf):
        def make(model: Path):
            if not model.exists():
                joblib.dump(trained(clf, X, y, 60 * arguments.minutes), model)
            return joblib.load(model)

        return make

    run("raw pixels", lambda _: (PrototypicalClassifier("passthrough"), {}))
    chosen = {n: c for n, c in methods().items() if n in (arguments.methods or methods())}
    for name, clf in chosen.items():
        run(f"{name} untrained", lambda _, clf=clf: (untrained(clf, X, y), {}))
        run(name, training(clf))
    print_table(results)


if __name__ == "__main__":
    main()
