"""Losses of the user's own, and of pytorch-metric-learning, in our engine."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from sk_fewshot import (
    ArcFaceTransformer,
    PrototypicalClassifier,
    TripletTransformer,
    episode_score,
    load,
    save,
)
from sk_fewshot.losses import ArcFaceLoss, TripletLoss

BRIEF = {"max_epochs": 2, "batches_per_epoch": 10, "random_state": 0}


@pytest.fixture(scope="module")
def blobs(clusters):
    """Eight classes of twelve examples, five features."""
    return clusters(8, 12)


class Returns(nn.Module):
    """A loss that returns whatever a function makes of the embeddings."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, embeddings, y):
        return self.function(embeddings)


def test_a_loss_given_as_a_module_trains_as_by_its_name(blobs):
    X, y = blobs
    named = TripletTransformer(**BRIEF, margin=0.4).fit(X, y)
    given = TripletTransformer(**BRIEF, loss=TripletLoss(0.4), normalize=True).fit(X, y)
    np.testing.assert_array_equal(given.transform(X), named.transform(X))
    raw = TripletTransformer(**BRIEF, loss=TripletLoss(0.4)).fit(X, y)
    assert not np.allclose(np.linalg.norm(raw.transform(X), axis=1), 1)


@pytest.mark.parametrize(
    "loss",
    [
        partial(ArcFaceLoss, scale=16),
        lambda n_classes, embedding_dim: ArcFaceLoss(n_classes, embedding_dim, scale=16),
    ],
)
def test_a_class_or_function_is_told_the_sizes(loss, blobs):
    X, y = blobs
    encoder = TripletTransformer(**BRIEF, loss=loss, normalize=True, embedding_dim=3).fit(X, y)
    assert encoder.loss_.weight.shape == (8, 3)
    named = ArcFaceTransformer(**BRIEF, embedding_dim=3).fit(X, y)
    np.testing.assert_array_equal(encoder.transform(X), named.transform(X))


def test_what_a_module_learns_is_learned_by_a_copy(blobs):
    loss = ArcFaceLoss(8, 64)
    before = loss.weight.clone()
    encoder = TripletTransformer(**BRIEF, loss=loss, embedding_dim=64).fit(*blobs)
    assert torch.equal(loss.weight, before)
    assert not torch.equal(encoder.loss_.weight, before)


def test_it_is_cloned_pickled_and_searched(blobs):
    X, y = blobs
    encoder = TripletTransformer(**BRIEF, loss=TripletLoss(soft=True))
    first = encoder.fit_transform(X, y)
    np.testing.assert_array_equal(clone(encoder).fit_transform(X, y), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(X), first)
    search = GridSearchCV(
        make_pipeline(encoder, KNeighborsClassifier(1)),
        {"triplettransformer__loss": ["hinge", TripletLoss(soft=True), ArcFaceLoss]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_score_ > 0.8


@pytest.mark.parametrize("normalize", [True, False])
def test_held_out_classes_are_judged_by_episodes(normalize, blobs):
    """A loss with weights for the training classes could not."""
    params = {**BRIEF, "normalize": normalize, "validation_classes": 0.4, "max_epochs": 5}
    encoder = TripletTransformer(**params, loss=ArcFaceLoss).fit(*blobs)
    losses = [epoch["valid_loss"] for epoch in encoder.history_]
    assert min(losses) < np.log(3)  # what guessing among three classes has
    assert encoder.loss_.weight.shape == (5, 64)


def test_a_file_holds_losses_of_this_package_alone(blobs, tmp_path):
    X, y = blobs
    encoder = TripletTransformer(**BRIEF, loss=TripletLoss(0.4)).fit(X, y)
    save(encoder, tmp_path / "encoder")
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(X), encoder.transform(X))
    for loss in (Returns(torch.mean), partial(Returns, torch.mean)):
        encoder = TripletTransformer(**BRIEF, loss=loss).fit(X, y)
        with pytest.raises(TypeError, match=r"loss cannot be saved: .* keep a loss of your own"):
            save(encoder, tmp_path / "encoder")


def test_a_checkpoint_knows_the_loss(blobs, tmp_path):
    params = {**BRIEF, "checkpoint": tmp_path / "training"}
    first = TripletTransformer(**params, loss=TripletLoss(0.4)).fit(*blobs)
    again = TripletTransformer(**params, loss=TripletLoss(0.4)).fit(*blobs)
    np.testing.assert_array_equal(again.transform(blobs[0]), first.transform(blobs[0]))
    with pytest.raises(ValueError, match="another training, which differs in loss"):
        TripletTransformer(**params, loss=TripletLoss(0.5)).fit(*blobs)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"mining": "hard"}, ValueError, "mining belongs to loss='hinge'; with loss=TripletLoss"),
        ({"margin": 0.3}, ValueError, "margin belongs to loss='hinge'"),
        ({"metric": "cosine"}, ValueError, "metric belongs to loss='hinge'"),
        ({"soft": True}, ValueError, "soft belongs to loss='hinge'"),
        ({"loss": 3}, ValueError, "The 'loss' parameter"),
        ({"loss": "circle"}, ValueError, "The 'loss' parameter"),
        ({"loss": lambda: 3}, TypeError, "loss must make an nn.Module, got int"),
        ({"loss": Returns(lambda x: x)}, ValueError, r"loss must return .* number, got \(72, 64\)"),
        ({"loss": Returns(lambda x: 0.5)}, ValueError, "tensor of one number, got float"),
        ({"loss": Returns(lambda x: x.sum() / 0)}, ValueError, "loss became (inf|-inf|nan)"),
    ],
)
def test_misuse_is_named(blobs, params, error, message):
    encoder = TripletTransformer(**{**BRIEF, "loss": TripletLoss(), **params})
    with pytest.raises(error, match=message):
        encoder.fit(*blobs)


def of_pml(make):
    """A loss made by a function of pytorch_metric_learning.losses."""
    return make(pytest.importorskip("pytorch_metric_learning.losses"))


PML = {
    "multi-similarity": lambda losses: losses.MultiSimilarityLoss(),
    "circle": lambda losses: losses.CircleLoss(),
    "proxies": lambda losses: (
        lambda n_classes, embedding_dim: losses.ProxyNCALoss(n_classes, embedding_dim)
    ),
}


@pytest.mark.parametrize("name", PML)
def test_losses_of_pytorch_metric_learning_learn(name, digits):
    loss = of_pml(PML[name])
    images, y = digits
    X = images.reshape(len(images), -1).copy()
    train, test = slice(None, 1000), slice(1000, None)

    def accuracy(embeddings):
        clf = PrototypicalClassifier("passthrough", metric="cosine")
        return episode_score(clf, embeddings, y[test], n_way=10, n_episodes=200, random_state=0)

    params = {"loss": loss, "normalize": True, "max_epochs": 1, "lr": 3e-3, "random_state": 0}
    faster = {"optimizer__param_groups": [("proxies", {"lr": 3e-2})]}  # where there are any
    encoder = TripletTransformer(**params, batches_per_epoch=300, net_params=faster)
    trained = accuracy(encoder.fit(X[train], y[train]).transform(X[test])).mean
    untrained = encoder.set_params(batches_per_epoch=1, lr=1e-9).fit(X[train], y[train])
    assert trained > accuracy(untrained.transform(X[test])).mean + 0.05
    assert trained > accuracy(X[test]).mean + 0.05


def test_a_miner_goes_within_the_loss(blobs):
    losses = of_pml(lambda losses: losses)
    miners = pytest.importorskip("pytorch_metric_learning.miners")

    class Mined(nn.Module):
        def __init__(self, loss, miner):
            super().__init__()
            self.loss, self.miner = loss, miner

        def forward(self, embeddings, y):
            return self.loss(embeddings, y, self.miner(embeddings, y))

    loss = Mined(losses.TripletMarginLoss(), miners.BatchHardMiner())
    encoder = TripletTransformer(**BRIEF, loss=loss).fit(*blobs)
    plain = TripletTransformer(**BRIEF, loss=loss.loss).fit(*blobs)
    assert encoder.history_[-1]["train_loss"] > plain.history_[-1]["train_loss"]
