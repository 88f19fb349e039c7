"""The nine methods, with their settings on each data set.

A method is a classifier whose encoder is still to be trained. Siamese, Triplet, SphereFace,
AM-Softmax and ArcFace learn an embedding, and the nearest prototype by the cosine decides; the
others have a head of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from olivetti import METHODS as FACE_METHODS
from olivetti import PAIRS as FACE_PAIRS
from olivetti import TRAINING as FACE_TRAINING
from olivetti import MirrorAveraged
from quickstart import small_network
from sklearn.base import BaseEstimator, clone
from torch import nn

from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.encoders import Conv4

N_EPOCHS = 10
OMNIGLOT_DRAWINGS = 120_000  # that a method sees in training: about 3 minutes of one core
RELATION_DRAWINGS = 45_000  # the same time: its network pools less, its comparator sees all pairs
DIGITS_IMAGES = 40_000  # about 20 seconds
FACE_BATCHES = FACE_TRAINING["max_epochs"] * FACE_TRAINING["batches_per_epoch"]


def methods(data_set: str) -> dict[str, BaseEstimator]:
    """Return the untrained classifiers by name."""
    return {"Omniglot": on_omniglot, "Olivetti": on_olivetti, "digits": on_digits}[data_set]()


def on_omniglot() -> dict[str, BaseEstimator]:
    """Conv4; episodes of 60 x (1 + 4), of 20 x (1 + 4) for Relation, and batches of 18 x 4.

    SphereFace, which alone learns from the lengths of embeddings, gets a linear last layer as in
    its paper: among a thousand classes it would escape through Conv4's ReLU to lengths of zero.
    """
    shared = {"augment": RandomAffine(translate=0.04)}
    wide = {"n_way": 60, "n_query": 4, **length(OMNIGLOT_DRAWINGS, 60 * 5), **shared}
    narrow = {"n_way": 20, "n_query": 4, **length(RELATION_DRAWINGS, 20 * 5), **shared}
    batches = {
        "classes_per_batch": 18,
        "samples_per_class": 4,
        **length(OMNIGLOT_DRAWINGS, 18 * 4),
        **shared,
    }
    sphereface = SphereFaceTransformer(embedding_dim=64, **batches)
    return {
        **under_nearest_prototype(batches),
        "SphereFace": PrototypicalClassifier(sphereface, metric="cosine"),
        "Prototypical": PrototypicalClassifier(PrototypicalTransformer(**wide)),
        **with_own_head(wide, narrow, {"metric": "cosine", **batches}),
    }


def on_digits() -> dict[str, BaseEstimator]:
    """Train the quickstart's network in the quickstart's way, in batches of 20 x 6.

    Relation, in episodes of 20 x (5 + 5): on held-out digits of the training ones it was better so
    with one shot and with five.
    """
    shared = {
        "augment": RandomAffine(),
        "optimizer": "adamw",
        "net_params": {"optimizer__weight_decay": 0.05},
        "module": small_network,
        **length(DIGITS_IMAGES, 20 * 6),
    }
    episodes = {"n_way": 20, "n_query": 5, **shared}
    five_shots = {"n_shot": 5, **length(DIGITS_IMAGES, 20 * 10)}
    relation = {**episodes, "module": small_network_of_maps, **five_shots}
    batches = {"classes_per_batch": 20, "samples_per_class": 6, **shared}
    return {
        **under_nearest_prototype(batches),
        "Prototypical": PrototypicalClassifier(
            PrototypicalTransformer(metric="euclidean", **episodes), metric="euclidean"
        ),
        **with_own_head(
            episodes,
            relation,
            {"metric": "cosine", **batches},
        ),
    }


def on_olivetti() -> dict[str, BaseEstimator]:
    """Take the methods of `olivetti.py` as they are there, the others in the same training."""
    tabled = {
        name: PrototypicalClassifier(MirrorAveraged(encoder), metric=metric)
        for name, (encoder, metric) in FACE_METHODS.items()
        if hasattr(encoder, "max_epochs")
    }
    episodes = {"n_way": 20, "n_query": 1, **FACE_TRAINING}
    relation = {**episodes, "module": maps_of_faces, "module_params": None}
    return {**tabled, **with_own_head(episodes, relation, FACE_PAIRS, MirrorAveragedWithHead)}


def under_nearest_prototype(batches: Mapping[str, Any]) -> dict[str, BaseEstimator]:
    """Return the methods that learn an embedding, by these batches."""
    encoders = {
        "Siamese": SiameseTransformer(**batches),
        "Triplet": TripletTransformer(**batches),
        "SphereFace": SphereFaceTransformer(**batches),
        "AM-Softmax": AMSoftmaxTransformer(**batches),
        "ArcFace": ArcFaceTransformer(**batches),
    }
    return {n: PrototypicalClassifier(e, metric="cosine") for n, e in encoders.items()}


def with_own_head(
    episodes: Mapping[str, Any],
    relation: Mapping[str, Any],
    siamese: Mapping[str, Any],
    around: Callable[[BaseEstimator], BaseEstimator] = clone,
) -> dict[str, BaseEstimator]:
    """Return the methods whose heads learn, or are not a nearest prototype."""
    return {
        "Matching": MatchingClassifier(around(MatchingTransformer(**episodes))),
        "Relation": RelationClassifier(around(RelationTransformer(loss="softmax", **relation))),
        "Siamese classifier": SiameseClassifier(around(SiameseTransformer(loss="bce", **siamese))),
    }


def length(n_images: int, n_a_batch: int) -> dict[str, int]:
    """Epochs and batches in which a method sees this many images."""
    return {"max_epochs": N_EPOCHS, "batches_per_epoch": n_images // n_a_batch // N_EPOCHS}


def small_network_of_maps() -> nn.Module:
    """Make the quickstart's network without its last step, for Relation: maps (64, 4, 4)."""
    return small_network()[:-1]


def maps_of_faces(image_shape: tuple[int, int, int]) -> nn.Module:
    """Make the network of `olivetti.py` for Relation: maps (32, 4, 4)."""
    encoder = Conv4(image_shape, **FACE_TRAINING["module_params"])
    return nn.Sequential(encoder, nn.Unflatten(1, encoder.map_shape))


class MirrorAveragedWithHead(MirrorAveraged):
    """Keeps what the encoder learned beside the embedding."""

    @property
    def head_(self) -> nn.Module:
        """The head of the encoder within."""
        return self.encoder_.head_
