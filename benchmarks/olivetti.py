"""Faces of people never seen in training: every transformer on Olivetti faces.

People 0 to 19 are for training, 20 to 39 for the test. For each method, over three seeds:

- all pairs of the 200 test faces: equal error rate (EER) and true accept rate at 1% false accepts
  (TAR), by the distance of the embeddings;
- 20-way 1-shot and 5-shot accuracy of the nearest prototype, over 1000 episodes.

Faces are 32 x 32 and standardised one by one; half of the training faces are mirrored, and a face
is embedded as the mean of itself and its mirror image. "three of SphereFace" puts the embeddings of
three networks side by side, and takes the mean over an image where it is and shifted by a pixel in
four directions. Next to the methods stand pixels and whitened principal components, of the 64 x 64
faces as they come and with the same preparation.

How the settings were chosen: ``--tune`` splits the training people into two halves of ten, trains
on one half and scores the other, both ways round, and prints the mean scores of what was tried
beside the setting that was chosen. The test people take no part in it.

    python benchmarks/olivetti.py
    python benchmarks/olivetti.py --tune

One thread. Finished fits are kept in ``--output`` and skipped when the script is started again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import fetch_olivetti_faces
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import FunctionTransformer

from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
    episode_score,
)
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.distances import pairwise_distances
from sk_fewshot.encoders import Conv4
from sk_fewshot.metrics import equal_error_rate, true_accept_rate

HERE = Path(__file__).resolve().parent
SHARED_FACES = HERE.parents[1] / "shared" / "data" / "scikit_learn_data"
SIDE = 32
N_SEEDS = 3
COLUMNS = ("EER", "TAR", "1-shot", "5-shot", "seconds")


class ViewsAveraged(TransformerMixin, BaseEstimator):
    """Mean embedding over several views of an image, by any transformer."""

    def __init__(self, encoder):
        self.encoder = encoder

    def fit(self, X, y):
        """Fit the encoder on the images (n, SIDE * SIDE) as they are."""
        self.encoder_ = clone(self.encoder).fit(X, y)
        return self

    def transform(self, X):
        """Embed images."""
        views = (view.reshape(len(X), -1) for view in self.views(X.reshape(-1, SIDE, SIDE)))
        return np.mean([self.encoder_.transform(view) for view in views], axis=0)


class MirrorAveraged(ViewsAveraged):
    """Mean embedding of an image and of its mirror image."""

    def views(self, images):
        """Both of images (n, SIDE, SIDE)."""
        return images, images[..., ::-1]


class ShiftAveraged(ViewsAveraged):
    """Mean embedding of an image where it is and shifted by a pixel in four directions."""

    def views(self, images):
        """All five of images (n, SIDE, SIDE)."""
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
        corners = (1, 1), (0, 1), (2, 1), (1, 0), (1, 2)
        return (padded[:, i : i + SIDE, j : j + SIDE] for i, j in corners)


TRAINING = {
    "image_shape": (1, SIDE, SIDE),
    "module": Conv4,
    "module_params": {"n_poolings": 3},
    "augment": RandomAffine(translate=0.05, padding_mode="border", flip=0.5),
    "batches_per_epoch": 50,
    "max_epochs": 24,
}
PAIRS = {"classes_per_batch": 20, "samples_per_class": 2, **TRAINING}
WHITENED = PCA(80, whiten=True, svd_solver="full")
UNPREPARED = {  # name: (encoder, metric)
    "pixels as they come": (FunctionTransformer(), "sqeuclidean"),
    "PCA as they come": (WHITENED, "cosine"),
}
METHODS = {
    "pixels": (FunctionTransformer(), "sqeuclidean"),
    "whitened PCA": (WHITENED, "cosine"),
    "Siamese": (SiameseTransformer(loss="bce", **PAIRS), "cosine"),
    "Triplet": (TripletTransformer(mining="hard", **PAIRS), "cosine"),
    "SphereFace": (SphereFaceTransformer(**PAIRS), "cosine"),
    "three of SphereFace": (
        ShiftAveraged(FeatureUnion([(str(i), SphereFaceTransformer(**PAIRS)) for i in range(3)])),
        "cosine",
    ),
    "AM-Softmax": (AMSoftmaxTransformer(**PAIRS), "cosine"),
    "ArcFace": (ArcFaceTransformer(**PAIRS), "cosine"),
    "Prototypical": (
        PrototypicalTransformer(n_way=20, n_shot=1, n_query=1, **TRAINING),
        "sqeuclidean",
    ),
}
STRONGER = RandomAffine(15, 0.1, (0.8, 1.2), 10, padding_mode="border", flip=0.5)
BRIEF = {"max_epochs": 15, "classes_per_batch": 10}
SEVEN_EACH = {"classes_per_batch": 10, "samples_per_class": 7, "max_epochs": 5}
NARROW = {"module_params": {"n_filters": 32, "n_poolings": 3}}
COSINE = {"loss": "contrastive", "metric": "cosine", "margin": 0.3}
TRIED = [  # beside the setting chosen, with the shorter training and fewer classes a batch
    ("PCA, 20 components", "whitened PCA", {"n_components": 20}),
    ("PCA, 40 components", "whitened PCA", {"n_components": 40}),
    ("PCA, 80 components", "whitened PCA", {}),
    ("SphereFace", "SphereFace", BRIEF),
    (
        "  three networks, shifted",
        "three of SphereFace",
        {f"encoder__{i}__{name}": value for i in range(3) for name, value in BRIEF.items()},
    ),
    ("AM-Softmax", "AM-Softmax", BRIEF),
    ("  24 epochs", "AM-Softmax", {**BRIEF, "max_epochs": 24}),
    ("  7 of each class", "AM-Softmax", SEVEN_EACH),
    ("  32 filters", "AM-Softmax", {**BRIEF, **NARROW}),
    ("  32 filters, 30 epochs", "AM-Softmax", {**BRIEF, **NARROW, "max_epochs": 30}),
    ("  32 filters, margin=0.5", "AM-Softmax", {**BRIEF, **NARROW, "margin": 0.5}),
    ("Siamese", "Siamese", BRIEF),
    ("  32 filters", "Siamese", {**BRIEF, **NARROW}),
    ("  32 filters, stronger", "Siamese", {**BRIEF, **NARROW, "augment": STRONGER}),
    ("  bce, cosine, 32 filters", "Siamese", {**BRIEF, **NARROW, "metric": "cosine"}),
    ("  contrastive, 32 filters", "Siamese", {**BRIEF, **NARROW, **COSINE}),
    ("  7 of each class", "Siamese", {**SEVEN_EACH, **NARROW}),
    ("Triplet, hard", "Triplet", BRIEF),
    ("  32 filters", "Triplet", {**BRIEF, **NARROW}),
    ("  semihard", "Triplet", {**BRIEF, "mining": "semihard"}),
    ("Prototypical", "Prototypical", {"max_epochs": 15, "n_way": 10}),
]


def load_faces() -> tuple[np.ndarray, np.ndarray]:
    """Faces (400, 64 * 64) in [0, 1], and their people, 0 to 39."""
    home = SHARED_FACES if SHARED_FACES.is_dir() else None
    bunch = fetch_olivetti_faces(data_home=home, download_if_missing=home is None)
    return bunch.data.astype(np.float32), bunch.target


def prepared(faces: np.ndarray) -> np.ndarray:
    """Faces (n, SIDE * SIDE), each of mean 0 and variance 1."""
    faces = faces.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)).reshape(len(faces), -1)
    faces -= faces.mean(1, keepdims=True)
    return faces / faces.std(1, keepdims=True)


def scores(encoder, metric: str, X: np.ndarray, y: np.ndarray) -> list[float]:
    """EER, TAR at 1%, 1-shot and 5-shot accuracy over all people of y."""
    embeddings = torch.from_numpy(encoder.transform(X))
    i, j = np.triu_indices(len(y), k=1)
    alike = -pairwise_distances(embeddings, embeddings, metric).numpy()[i, j]
    same = (y[i] == y[j]).astype(int)
    clf = PrototypicalClassifier(FrozenEstimator(encoder), metric=metric)
    n_way = len(np.unique(y))
    accuracies = [
        episode_score(
            clf, X, y, n_way=n_way, n_shot=k, n_query=5, n_episodes=1000, random_state=0
        ).mean
        for k in (1, 5)
    ]
    return [equal_error_rate(same, alike), true_accept_rate(same, alike), *accuracies]


def fit_and_score(name: str, changes: dict, seed: int, train, test) -> list[float]:
    """Scores on the people of `test`, and processor seconds of the training."""
    encoder, metric = METHODS[name]
    encoder = clone(encoder).set_params(**changes)
    names = [name for name in encoder.get_params() if name.endswith("random_state")]
    encoder.set_params(**{name: len(names) * seed + i for i, name in enumerate(names)})
    start = time.process_time()
    encoder = MirrorAveraged(encoder).fit(*train)
    seconds = time.process_time() - start
    return [*scores(encoder, metric, *test), seconds]


def tune(X: np.ndarray, y: np.ndarray) -> None:
    """Print the validation table."""
    halves = np.array_split(np.random.RandomState(0).permutation(20), 2)
    for title, name, changes in TRIED:
        rows = []
        for judged in halves:
            test = np.isin(y, judged)
            rows.append(fit_and_score(name, changes, 0, (X[~test], y[~test]), (X[test], y[test])))
        print_row(title, np.mean(rows, axis=0))


def print_row(title: str, values) -> None:
    """Print a row of the table."""
    print(f"{title:25}", *(f"{value:8.3f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tune", action="store_true", help="print the validation table")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--output", type=Path, default=HERE / "results" / "olivetti.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    raw, y = load_faces()
    X, train = prepared(raw), y < 20
    print(f"{'':25}", *(f"{column:>8}" for column in COLUMNS))
    if arguments.tune:
        return tune(X[train], y[train])
    for name, (encoder, metric) in UNPREPARED.items():
        fitted = clone(encoder).fit(raw[train])
        print_row(name, scores(fitted, metric, raw[~train], y[~train]))
    finished = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name in arguments.methods:
        rows = finished.setdefault(name, [])
        trained = any(param.endswith("max_epochs") for param in METHODS[name][0].get_params())
        n_seeds = N_SEEDS if trained else 1
        for seed in range(len(rows), n_seeds):
            rows.append(fit_and_score(name, {}, seed, (X[train], y[train]), (X[~train], y[~train])))
            arguments.output.parent.mkdir(exist_ok=True)
            arguments.output.write_text(json.dumps(finished, indent=1) + "\n")
        print_row(name, np.mean(rows, axis=0))
        if n_seeds > 1:
            print_row("  +- half the range", np.ptp(rows, axis=0) / 2)


if __name__ == "__main__":
    main()
