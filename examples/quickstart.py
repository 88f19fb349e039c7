"""
Quickstart
==========

Read five digits that the model never trained on, from one example each.

A Prototypical Network learns to compare on scikit-learn's digits 0 to 4, in every turn and mirror
image, and then labels the digits 5 to 9. Needs no network and ends in about a minute::

    python examples/quickstart.py            # one seed
    python examples/quickstart.py --seeds 3  # mean of three
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer, episode_score
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes
from sk_fewshot.plotting import EpisodeDisplay

SHOTS = (1, 5)


def small_network():
    """Two convolutions: enough for 8 x 8 pixels and five digits to learn from."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
    )


def meta_trained(X, y, seed):
    """A classifier that has learned to compare on the given classes."""
    X, y = symmetries_as_classes(X, y, kind="dihedral")  # 5 digits become 40 classes
    encoder = PrototypicalTransformer(
        metric="euclidean",
        module=small_network,
        augment=RandomAffine(),
        optimizer="adamw",
        net_params={"optimizer__weight_decay": 0.05},
        max_epochs=10,
        verbose=1,
    )
    clf = PrototypicalClassifier(encoder, metric="euclidean", random_state=seed)
    return clf.meta_fit(X, y)


def scores(clf, X, y):
    """Accuracies over 1,000 5-way episodes, for each number of shots."""
    return [
        episode_score(clf, X, y, n_way=5, n_shot=k, n_episodes=1000, random_state=0) for k in SHOTS
    ]


def draw(clf, X, y, path):
    """Save a picture of the support set and of queries, right and wrong."""
    import matplotlib

    matplotlib.use("agg")
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == k)) for k in range(5, 10)])
    support = np.array([rows[y[rows] == k][0] for k in range(5, 10)])
    queries = rng.permutation(np.setdiff1d(rows, support))[:30]
    display = EpisodeDisplay.from_estimator(
        clf.fit(X[support], y[support]),
        X[support],
        y[support],
        X[queries],
        y[queries],
        cmap="gray_r",
    )
    display.figure_.suptitle(
        "One example each of 5 to 9 (top), and what the model reads in queries (below)\n"
        f"green: right, red: wrong; {np.mean(display.y_pred == y[queries]):.0%} of these right"
    )
    display.figure_.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to take the mean of")
    parser.add_argument("--picture", default="quickstart.png", help="where to save the picture")
    n_seeds = parser.parse_args().seeds

    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8) / 16
    base, novel = y < 5, y >= 5
    print(f"Learning to compare on {base.sum()} images of the digits 0 to 4 ...")
    start = time.perf_counter()
    models = [meta_trained(X[base], y[base], seed) for seed in range(n_seeds)]
    seconds = (time.perf_counter() - start) / n_seeds

    raw = scores(PrototypicalClassifier("passthrough"), X[novel], y[novel])
    learned = [scores(clf, X[novel], y[novel]) for clf in models]
    print(f"\nAccuracy on the digits 5 to 9, 5-way, 1,000 episodes, {n_seeds} seed(s):\n")
    print(f"{'':24}" + "".join(f"{f'{k}-shot':>16}" for k in SHOTS))
    print(
        f"{'raw pixels':24}" + "".join(f"{s.mean:9.3f} ± {s.confidence_interval:.3f}" for s in raw)
    )
    columns = [
        (np.mean([s.mean for s in column]), np.mean([s.confidence_interval for s in column]))
        for column in zip(*learned)
    ]
    print(f"{'Prototypical Network':24}" + "".join(f"{m:9.3f} ± {ci:.3f}" for m, ci in columns))
    print(f"\n± is half a 95% confidence interval. Training took {seconds:.0f} s a seed.")
    path = parser.parse_args().picture
    draw(models[0], X[novel], y[novel], path)
    print(f"Picture of a support set and queries: {path}")


if __name__ == "__main__":
    main()
