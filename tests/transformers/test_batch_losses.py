"""What holds for every transformer that is trained by a loss on batches."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    LossTransformer,
    PrototypicalClassifier,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
    episode_score,
)
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes
from sk_fewshot.losses import SupConLoss

TRANSFORMERS = [
    SiameseTransformer(),
    SiameseTransformer(metric="euclidean"),
    SiameseTransformer(loss="bce"),
    SiameseTransformer(loss="bce", metric="cosine"),
    TripletTransformer(),
    TripletTransformer(mining="hard", metric="euclidean", normalize=False, soft=True),
    TripletTransformer(loss="ratio"),
    SphereFaceTransformer(),
    AMSoftmaxTransformer(),
    ArcFaceTransformer(),
    LossTransformer(SupConLoss(), normalize=True),
]
every_loss = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
DEFAULTS = [t for t in TRANSFORMERS if t.get_params() == type(t)().get_params()]
MARGIN_SOFTMAX = [SphereFaceTransformer(), AMSoftmaxTransformer(), ArcFaceTransformer()]


@pytest.fixture(scope="module")
def blobs():
    """Eight classes of twelve examples, five features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(list("hgfedcba")), 12)
    centres = rng.normal(scale=4, size=(8, 5))
    return np.repeat(centres, 12, axis=0) + rng.normal(size=(96, 5)), y


def fitted(transformer, X, y, **parameters):
    brief = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}
    return transformer.__class__(**{**transformer.get_params(), **brief, **parameters}).fit(X, y)


def one_shot_accuracy(X, y):
    clf = PrototypicalClassifier("passthrough")
    return episode_score(clf, X, y, n_way=len(np.unique(y)), n_episodes=200, random_state=0).mean


@every_loss
def test__digits__learning_beats_pixels_and_the_untrained_network(transformer, digits):
    images, y = digits
    X = images.reshape(len(images), -1).copy()
    train, test = slice(None, 1000), slice(1000, None)
    untrained = fitted(transformer, X[train], y[train], batches_per_epoch=1, lr=1e-9)
    trained = fitted(transformer, X[train], y[train], batches_per_epoch=600)
    accuracy = one_shot_accuracy(trained.transform(X[test]), y[test])
    assert accuracy > one_shot_accuracy(X[test], y[test]) + 0.05
    assert accuracy > one_shot_accuracy(untrained.transform(X[test]), y[test]) + 0.05


@pytest.mark.parametrize("transformer", DEFAULTS, ids=str)
def test__other_digits__learning_beats_pixels_and_the_untrained_network(transformer, digits):
    images, y = digits
    base, novel = y < 5, y >= 5
    X, labels = symmetries_as_classes(images[base], y[base], kind="dihedral")
    small = {"module_params": {"n_filters": 32}, "augment": RandomAffine()}
    untrained = fitted(transformer, X, labels, **small, batches_per_epoch=1, lr=1e-9)
    trained = fitted(transformer, X, labels, **small, batches_per_epoch=500)
    accuracy = one_shot_accuracy(trained.transform(images[novel]), y[novel])
    assert accuracy > one_shot_accuracy(images[novel].reshape(novel.sum(), -1), y[novel]) + 0.01
    assert accuracy > one_shot_accuracy(untrained.transform(images[novel]), y[novel]) + 0.01


@every_loss
def test__pipeline_with_neighbours__grid_search_in_two_processes(transformer, blobs):
    X, y = blobs
    brief = transformer.set_params(max_epochs=1, batches_per_epoch=3, random_state=0)
    search = GridSearchCV(
        make_pipeline(brief, KNeighborsClassifier(1)),
        {f"{type(brief).__name__.lower()}__embedding_dim": [2, 4]},
        n_jobs=2,
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_score_ > 0.8


@every_loss
def test__validation_classes__scored_in_every_epoch(transformer, blobs):
    X, y = blobs
    net = fitted(transformer, X, y, max_epochs=2, validation_classes=0.3)
    assert np.isfinite([epoch["valid_loss"] for epoch in net.history_]).all()
    assert net.transform(X).shape == (96, net.embedding_dim_)
    assert len(net.classes_) == 8


@every_loss
def test__what_the_loss_learns__is_trained(transformer, blobs):
    X, y = blobs
    first, second = (
        [w.detach() for w in fitted(transformer, X, y, batches_per_epoch=n).loss_.parameters()]
        for n in (1, 20)
    )
    assert all(not torch.equal(before, after) for before, after in zip(first, second))


@pytest.mark.parametrize(
    ("transformer", "directional"),
    [
        *((transformer, True) for transformer in MARGIN_SOFTMAX),
        (TripletTransformer(), True),
        (TripletTransformer(normalize=False), False),
        (TripletTransformer(loss="ratio"), False),
        (TripletTransformer(loss="ratio", metric="cosine"), True),
        (SiameseTransformer(), True),
        (SiameseTransformer(metric="euclidean"), False),
        (SiameseTransformer(loss="bce"), False),
        (SiameseTransformer(loss="bce", metric="cosine"), True),
    ],
    ids=str,
)
def test__transform__unit_length_where_only_directions_count(transformer, directional, blobs):
    X, y = blobs
    net = fitted(transformer, X, y)
    embeddings = net.transform(X)
    raw = net.module_(torch.tensor(X, dtype=torch.float32)).detach().numpy()
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    expected = raw / lengths if directional else raw
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-6)
    one_by_one = np.concatenate([net.transform(x[None]) for x in X[:5]])
    assert np.array_equal(one_by_one, embeddings[:5])


@pytest.mark.parametrize("transformer", MARGIN_SOFTMAX, ids=str)
def test__logits__find_the_training_classes(transformer, blobs):
    X, y = blobs
    net = fitted(transformer, X, y, batches_per_epoch=100, lr=1e-2)
    with torch.no_grad():
        logits = net.loss_.logits(torch.from_numpy(net.transform(X)))
    assert (net.classes_[logits.argmax(1)] == y).mean() > 0.95


@pytest.mark.parametrize("n_classes", [2, 5, 18, 40])
@pytest.mark.parametrize("n_samples", [2, 3, 10, 100])
def test__batch__about_72_examples(n_classes, n_samples):
    counts = np.full(n_classes, n_samples)
    n_way, k = TripletTransformer()._batch_shape(counts)
    assert n_way <= n_classes
    assert k <= n_samples
    assert min(n_classes * n_samples, 60) <= n_way * k <= 80


def test__classes_per_batch_and_samples_per_class__make_the_batch(blobs):
    X, y = blobs
    seen = []

    def remember(batch):
        seen.append(batch.shape)
        return batch

    fitted(
        TripletTransformer(classes_per_batch=3, samples_per_class=4, augment=remember),
        X,
        y,
        batches_per_epoch=2,
    )
    assert seen == [(12, 5)] * 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"classes_per_batch": 9}, "classes_per_batch=9 must not be greater than n_classes=8"),
        ({"samples_per_class": 13}, "samples_per_class needs 13 examples .* n_samples=12"),
        ({"samples_per_class": 1}, "'samples_per_class' parameter of TripletTransformer"),
        ({"classes_per_batch": 1}, "'classes_per_batch' parameter of TripletTransformer"),
    ],
)
def test__impossible_batch__named(parameters, message, blobs):
    with pytest.raises(ValueError, match=message):
        fitted(TripletTransformer(), *blobs, **parameters)
