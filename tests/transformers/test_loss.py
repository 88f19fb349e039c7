"""Any loss in our engine: of this package, of the user's own, of pytorch-metric-learning."""

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
    LossTransformer,
    PrototypicalClassifier,
    TripletTransformer,
    episode_score,
    load,
    save,
)
from sk_fewshot.losses import ArcFaceLoss, SupConLoss, TripletLoss

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
    given = LossTransformer(**BRIEF, loss=TripletLoss(0.4), normalize=True).fit(X, y)
    np.testing.assert_array_equal(given.transform(X), named.transform(X))
    raw = LossTransformer(TripletLoss(0.4), **BRIEF).fit(X, y)
    assert not np.allclose(np.linalg.norm(raw.transform(X), axis=1), 1)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("loss", [TripletLoss(0.4), ArcFaceLoss], ids=["module", "class"])
def test_a_triplet_transformer_takes_any_loss_too(loss, normalize, blobs):
    X, y = blobs
    params = {**BRIEF, "loss": loss, "normalize": normalize, "validation_classes": 0.4}
    by_loss, by_triplet = LossTransformer(**params), TripletTransformer(**params)
    np.testing.assert_array_equal(by_loss.fit_transform(X, y), by_triplet.fit_transform(X, y))
    assert [e["valid_loss"] for e in by_loss.history_] == [
        e["valid_loss"] for e in by_triplet.history_
    ]


@pytest.mark.parametrize(
    "loss",
    [
        partial(ArcFaceLoss, scale=16),
        lambda n_classes, embedding_dim: ArcFaceLoss(n_classes, embedding_dim, scale=16),
    ],
)
def test_a_class_or_function_is_told_the_sizes(loss, blobs):
    X, y = blobs
    encoder = LossTransformer(**BRIEF, loss=loss, normalize=True, embedding_dim=3).fit(X, y)
    assert encoder.loss_.weight.shape == (8, 3)
    named = ArcFaceTransformer(**BRIEF, embedding_dim=3).fit(X, y)
    np.testing.assert_array_equal(encoder.transform(X), named.transform(X))


def test_what_a_module_learns_is_learned_by_a_copy(blobs):
    loss = ArcFaceLoss(8, 64)
    before = loss.weight.clone()
    encoder = LossTransformer(**BRIEF, loss=loss, embedding_dim=64).fit(*blobs)
    assert torch.equal(loss.weight, before)
    assert not torch.equal(encoder.loss_.weight, before)


def test_it_is_cloned_pickled_and_searched(blobs):
    X, y = blobs
    encoder = LossTransformer(**BRIEF, loss=TripletLoss(soft=True))
    first = encoder.fit_transform(X, y)
    np.testing.assert_array_equal(clone(encoder).fit_transform(X, y), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(X), first)
    search = GridSearchCV(
        make_pipeline(encoder, KNeighborsClassifier(1)),
        {"losstransformer__loss": [TripletLoss(soft=True), ArcFaceLoss, SupConLoss()]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_score_ > 0.8


@pytest.mark.parametrize("normalize", [True, False])
def test_held_out_classes_are_judged_by_episodes(normalize, blobs):
    """A loss with weights for the training classes could not."""
    params = {**BRIEF, "normalize": normalize, "validation_classes": 0.4, "max_epochs": 5}
    encoder = LossTransformer(**params, loss=ArcFaceLoss).fit(*blobs)
    losses = [epoch["valid_loss"] for epoch in encoder.history_]
    assert min(losses) < np.log(3)  # what guessing among three classes has
    assert encoder.loss_.weight.shape == (5, 64)


def test_a_file_holds_losses_of_this_package_alone(blobs, tmp_path):
    X, y = blobs
    encoder = LossTransformer(**BRIEF, loss=TripletLoss(0.4)).fit(X, y)
    save(encoder, tmp_path / "encoder")
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(X), encoder.transform(X))
    for loss in (Returns(torch.mean), partial(Returns, torch.mean)):
        encoder = LossTransformer(**BRIEF, loss=loss).fit(X, y)
        with pytest.raises(TypeError, match=r"loss cannot be saved: .* keep a loss of your own"):
            save(encoder, tmp_path / "encoder")


def test_a_checkpoint_knows_the_loss(blobs, tmp_path):
    params = {**BRIEF, "checkpoint": tmp_path / "training"}
    first = LossTransformer(**params, loss=TripletLoss(0.4)).fit(*blobs)
    again = LossTransformer(**params, loss=TripletLoss(0.4)).fit(*blobs)
    np.testing.assert_array_equal(again.transform(blobs[0]), first.transform(blobs[0]))
    with pytest.raises(ValueError, match="another training, which differs in loss"):
        LossTransformer(**params, loss=TripletLoss(0.5)).fit(*blobs)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"loss": 3}, ValueError, "The 'loss' parameter"),
        ({"loss": "circle"}, ValueError, "The 'loss' parameter"),
        ({"loss": None}, ValueError, "The 'loss' parameter"),
        ({"loss": lambda: 3}, TypeError, "loss must make an nn.Module, got int"),
        ({"loss": Returns(lambda x: x)}, ValueError, r"loss must return .* number, got \(72, 64\)"),
        ({"loss": Returns(lambda x: 0.5)}, ValueError, "tensor of one number, got float"),
        ({"loss": Returns(lambda x: x.sum() / 0)}, ValueError, "loss became (inf|-inf|nan)"),
        ({"normalize": None}, ValueError, "The 'normalize' parameter of LossTransformer"),
    ],
)
@pytest.mark.parametrize("estimator", [LossTransformer, TripletTransformer])
def test_misuse_is_named(blobs, estimator, params, error, message):
    if estimator is TripletTransformer and "loss" not in params:
        pytest.skip("None has a meaning there")
    encoder = estimator(**{**BRIEF, "loss": TripletLoss(), **params})
    with pytest.raises(error, match=message):
        encoder.fit(*blobs)


@pytest.mark.parametrize(
    "params", [{"mining": "hard"}, {"margin": 0.3}, {"metric": "cosine"}, {"soft": True}]
)
def test_parameters_of_the_triplet_loss_do_not_go_with_another(blobs, params):
    encoder = TripletTransformer(**BRIEF, loss=TripletLoss(), **params)
    with pytest.raises(ValueError, match="belongs to loss='hinge'; with loss=TripletLoss"):
        encoder.fit(*blobs)


def test_the_default_is_the_supervised_contrastive_loss(blobs):
    X, y = blobs
    encoder = LossTransformer(**BRIEF).fit(X, y)
    assert type(encoder.loss_) is SupConLoss
    given = LossTransformer(SupConLoss(temperature=0.1), **BRIEF).fit(X, y)
    np.testing.assert_array_equal(encoder.transform(X), given.transform(X))


def test_a_saved_transformer_has_its_loss_back(blobs, tmp_path):
    X, y = blobs
    for loss in (SupConLoss(0.5), SupConLoss, ArcFaceLoss):
        encoder = LossTransformer(loss, **BRIEF).fit(X, y)
        save(encoder, tmp_path / "encoder")
        loaded = load(tmp_path / "encoder")
        np.testing.assert_array_equal(loaded.transform(X), encoder.transform(X))
        assert type(loaded.loss_) is type(encoder.loss_)
        assert type(loaded.loss) is type(loss)
        np.testing.assert_array_equal(loaded.fit_transform(X, y), encoder.transform(X))


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
    encoder = LossTransformer(**params, batches_per_epoch=300, net_params=faster)
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
    encoder = LossTransformer(**BRIEF, loss=loss).fit(*blobs)
    plain = LossTransformer(**BRIEF, loss=loss.loss).fit(*blobs)
    assert encoder.history_[-1]["train_loss"] > plain.history_[-1]["train_loss"]
