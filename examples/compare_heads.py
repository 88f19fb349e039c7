"""
Heads and encoders
==================

A head labels queries from a few examples of each class; an encoder says where examples lie. Any
head stands on any encoder. Here all heads meet one frozen encoder, and one head all encoders, on
the digits 5 to 9, turned and shifted at random, when only 0 to 4 were learned from. Takes two to
three minutes on one core: six encoders are trained, and two comparators in each of twenty episodes.
"""

# %%
# Digits 0 to 4 are for learning to compare: each of their eight symmetries counts as a class of its
# own, and every image is turned and shifted a little. Digits 5 to 9 are new, and each of them is
# turned and shifted once: pixels alone say little then.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator

from sk_fewshot import (
    ArcFaceTransformer,
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    TripletTransformer,
    episode_score,
)
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes
from sk_fewshot.plotting import EpisodeScoresDisplay

digits = load_digits()
X, y = (digits.images / 16).astype(np.float32), digits.target
X_base, y_base = symmetries_as_classes(X[y < 5], y[y < 5], kind="dihedral")
shake = RandomAffine()
torch.manual_seed(0)
X_novel, y_novel = shake(torch.from_numpy(X[y >= 5])[:, None]).numpy(), y[y >= 5]


def accuracy(clf, n_episodes=100):
    """5-way accuracy with 1 and with 5 examples a class."""
    return [
        episode_score(
            clf,
            X_novel,
            y_novel,
            n_way=5,
            n_shot=n_shot,
            n_query=5,
            n_episodes=n_episodes,
            random_state=0,
        )
        for n_shot in (1, 5)
    ]


training = {"augment": shake, "max_epochs": 3, "random_state": 0}

# %%
# All heads over one frozen encoder. Relation and Siamese learn a comparator for it from the support
# set, which takes two examples of each class: there is no 1-shot figure.
encoder = FrozenEstimator(PrototypicalTransformer(**training).fit(X_base, y_base))
heads = {
    "Prototypical": accuracy(PrototypicalClassifier(encoder)),
    "Matching": accuracy(MatchingClassifier(encoder)),
    "Siamese, distance": accuracy(SiameseClassifier(encoder, metric="euclidean")),
}
for name, clf in [
    ("Siamese, learned", SiameseClassifier(encoder, random_state=0)),
    ("Relation, learned", RelationClassifier(encoder, random_state=0)),
]:
    five_shot = episode_score(
        clf, X_novel, y_novel, n_way=5, n_shot=5, n_query=5, n_episodes=20, random_state=0
    )
    heads[name] = [None, five_shot]

# %%
# All encoders under one head. The encoder of Relation Networks was trained for a comparator, not
# for distances: under its own head it does better.
transformers = {
    "raw pixels": "passthrough",
    "PCA": PCA(20),
    "Prototypical": PrototypicalTransformer(**training),
    "Matching": MatchingTransformer(**training),
    "Siamese": SiameseTransformer(loss="bce", metric="cosine", **training),
    "Triplet": TripletTransformer(**training),
    "ArcFace": ArcFaceTransformer(**training),
    "Relation": RelationTransformer(**training),
}
encoders = {}
for name, transformer in transformers.items():
    clf = PrototypicalClassifier(transformer, metric="cosine")
    encoders[name] = accuracy(clf if name == "raw pixels" else clf.meta_fit(X_base, y_base))

# %%
# As a table.
tables = {
    "heads over the Prototypical encoder": heads,
    "encoders under the Prototypical head": encoders,
}
for title, rows in tables.items():
    print(f"{title:40}{'1-shot':>16}{'5-shot':>16}")
    for name, scores in rows.items():
        cells = [f"{s.mean:.3f} ± {s.confidence_interval:.3f}" if s else "-" for s in scores]
        print(f"  {name:38}{cells[0]:>16}{cells[1]:>16}")

# %%
# And as a picture.
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
for ax, (title, rows) in zip(axes, tables.items(), strict=True):
    scores = {name: [s for s in row if s] for name, row in rows.items()}
    EpisodeScoresDisplay.from_scores(scores, ax=ax)
    ax.set_title(title)
plt.show()
