"""Collapsed trainings say so, once after an epoch and at the end; healthy ones say nothing."""

import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    MatchingTransformer,
    PairClassifier,
    PrototypicalTransformer,
    RelationTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)
from sk_fewshot.losses import TripletLoss
from sk_fewshot.metrics import make_pairs

X, Y = load_digits(return_X_y=True)
X_SCALED = (X / 16).astype(np.float32)
SHORT = {"max_epochs": 3, "batches_per_epoch": 50, "random_state": 0}
ALIKE = r"\d+ embeddings of different examples are the same to within rounding"
ZERO = r"all of \d+ embeddings are 0"
TRIVIAL = r"the loss of a batch is \S+, and would be \S+ if all its embeddings were the same"


def small(n_features):
    return nn.Sequential(
        nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16)
    )


def ending_in_relu(n_features):
    return nn.Sequential(nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())


def deep(n_features):
    layers = [nn.Linear(n_features, 32)]
    for _ in range(5):
        layers += [nn.ReLU(), nn.Linear(32, 32)]
    return nn.Sequential(*layers)


def what_it_says(estimator, X, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    assert all(warning.category is UserWarning for warning in caught)
    return [str(warning.message) for warning in caught]


COLLAPSED = {
    "Prototypical": (PrototypicalTransformer(module=small, lr=0.3, **SHORT), ALIKE),
    "Prototypical, validated": (
        PrototypicalTransformer(module=small, lr=0.3, validation_classes=0.3, **SHORT),
        ALIKE,
    ),
    "Matching": (MatchingTransformer(module=deep, lr=3, **SHORT), TRIVIAL),
    "Relation": (RelationTransformer(module=small, lr=0.3, **SHORT), TRIVIAL),
    "Siamese": (SiameseTransformer(module=small, loss="bce", lr=1, **SHORT), ALIKE),
    "Triplet, hard": (TripletTransformer(module=small, mining="hard", lr=0.1, **SHORT), TRIVIAL),
    "Triplet, own loss": (
        TripletTransformer(loss=TripletLoss(mining="hard"), module=small, lr=0.1, **SHORT),
        ".*",
    ),
    "SphereFace": (SphereFaceTransformer(module=ending_in_relu, lr=1, **SHORT), ZERO),
    "AM-Softmax": (AMSoftmaxTransformer(module=deep, lr=0.3, **SHORT), TRIVIAL),
    "ArcFace": (ArcFaceTransformer(module=deep, lr=0.3, **SHORT), TRIVIAL),
}


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapse_is_said_at_the_end(name):
    estimator, seen = COLLAPSED[name]
    *_, last = what_it_says(estimator, X, Y)
    assert re.match(rf"Training has collapsed: {seen}\. What helps", last), last
    for remedy in (f"smaller lr (it is {estimator.lr})", "StandardScaler", "semi-hard", "linear"):
        assert remedy in last


def test_and_once_after_an_epoch():
    encoder = PrototypicalTransformer(module=small, lr=0.3, **{**SHORT, "max_epochs": 5})
    first, last = what_it_says(encoder, X, Y)
    assert re.match(f"By epoch 1 training has collapsed: {ALIKE}", first)
    assert re.match(f"Training has collapsed: {ALIKE}", last)
    hard = TripletTransformer(module=small, mining="hard", lr=0.1, **{**SHORT, "max_epochs": 9})
    first, last = what_it_says(hard, X, Y)
    assert re.match(f"By epoch 4 training has collapsed: {TRIVIAL}", first)
    assert re.match(f"Training has collapsed: {TRIVIAL}", last)


def test_short_epochs_are_looked_at_now_and_then():
    shape = {"max_epochs": 60, "batches_per_epoch": 1, "random_state": 0}
    first, last = what_it_says(PrototypicalTransformer(module=small, lr=3, **shape), X, Y)
    assert first.startswith("By epoch 50 ")
    assert last.startswith("Training ")


def test_training_on_pairs_says_so_too():
    pairs, same = make_pairs(X, Y, n_pairs=200, random_state=0)
    encoder = SiameseTransformer(module=small, loss="bce", lr=1, **SHORT)
    *_, last = what_it_says(PairClassifier(encoder, random_state=0), pairs, same)
    assert re.match(f"Training has collapsed: {ALIKE}", last)


def test_equal_examples_give_equal_embeddings():
    said = what_it_says(PrototypicalTransformer(**SHORT), np.ones((40, 5)), np.repeat([0, 1], 20))
    assert re.match(f"Training has collapsed: {ALIKE}|{ZERO}", said[-1])


def test_resumed_and_finished_trainings_say_the_same(tmp_path):
    encoder = PrototypicalTransformer(module=small, lr=0.3, checkpoint=tmp_path / "c", **SHORT)
    said = what_it_says(encoder, X, Y)
    assert what_it_says(encoder, X, Y) == said[-1:]


HEALTHY = {
    "Prototypical": PrototypicalTransformer,
    "Matching": MatchingTransformer,
    "Relation": RelationTransformer,
    "Siamese": SiameseTransformer,
    "Siamese, bce": lambda **params: SiameseTransformer(loss="bce", **params),
    "Triplet": TripletTransformer,
    "Triplet, ratio": lambda **params: TripletTransformer(loss="ratio", **params),
    "SphereFace": SphereFaceTransformer,
    "AM-Softmax": AMSoftmaxTransformer,
    "ArcFace": ArcFaceTransformer,
}


@pytest.mark.parametrize(
    ("module", "params"),
    [
        (None, {}),
        (deep, {}),
        (deep, {"max_epochs": 1, "lr": 1e-30}),
        (ending_in_relu, {"max_epochs": 1, "batches_per_epoch": 1}),
    ],
)
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_short_and_no_training_says_nothing(name, module, params):
    estimator = HEALTHY[name](**{"module": module, "lr": 1e-3, **SHORT, **params})
    assert what_it_says(estimator, X_SCALED, Y) == []


class Remembers(nn.Module):
    """A loss that keeps what it has seen, gradient and all."""

    def forward(self, embeddings, y):
        self.last = embeddings
        return embeddings.square().mean()


@pytest.mark.filterwarnings("ignore:Training has collapsed")
def test_a_loss_that_cannot_be_copied_trains():
    assert TripletTransformer(loss=Remembers, **SHORT).fit(X_SCALED, Y).n_iter_ == 3


def test_looking_changes_nothing():
    class Drawn(nn.Module):
        """Draws in eval mode too."""

        def __init__(self, n_features):
            super().__init__()
            self.layer = nn.Linear(n_features, 8)
            self.norm = nn.BatchNorm1d(8)

        def forward(self, x):
            z = self.norm(self.layer(x))
            return z + 0.01 * torch.randn_like(z)

    watched = PrototypicalTransformer(module=Drawn, **SHORT).fit(X_SCALED, Y)
    off = {"callbacks__watch_collapse": None}
    plain = PrototypicalTransformer(module=Drawn, net_params=off, **SHORT).fit(X_SCALED, Y)
    for name, tensor in plain.module_.state_dict().items():
        assert torch.equal(watched.module_.state_dict()[name], tensor), name


def test_the_warning_is_at_the_callers_line():
    encoder = PrototypicalTransformer(module=small, lr=0.3, **SHORT)
    with pytest.warns(UserWarning, match="collapsed") as caught:
        encoder.fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__] * 2
