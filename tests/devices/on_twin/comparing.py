"""Classifiers, searches, episodes, heads and distances."""

import copy
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

import sk_fewshot
from sk_fewshot import (
    PairClassifier,
    PrototypicalClassifier,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
    load,
    save,
)
from sk_fewshot.distances import METRICS, paired_distances, pairwise_distances, unit
from sk_fewshot.encoders import Conv4, encode, folded
from sk_fewshot.heads import FullContext, MatchingHead, PrototypicalHead, RelationHead, SiameseHead
from sk_fewshot.losses import PairBCELoss
from sk_fewshot.metrics import make_pairs

TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}
CLASSIFIERS = [
    name for name in sk_fewshot.__all__ if name.endswith("Classifier") and name != "PairClassifier"
]
BY_DISTANCE = [name for name in CLASSIFIERS if name != "RelationClassifier"]


def classifier(name, device, **params):
    return getattr(sk_fewshot, name)(device=device, random_state=0, **params)


def frozen_encoder(name, device, X, y):
    method = getattr(sk_fewshot, name.replace("Classifier", "Transformer"))
    return FrozenEstimator(method(device=device, **TINY).fit(X, y))


def answers(clf, X):
    return clf.predict(X), clf.predict_proba(X), clf.decision_function(X), clf.score_samples(X)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        *product(CLASSIFIERS, ["own", "of another device"]),
        *product(BY_DISTANCE, ["passthrough", "float64"]),
    ],
)
def test_classifier_answers_the_same(digits, assert_same, name, encoder):
    base, y_base, novel, y = digits
    found = []
    for device in ("cpu", "twin"):
        clf = classifier(name, device)
        X = novel.astype(np.float64) if encoder in ("float64", "own") else novel
        if encoder in ("passthrough", "float64"):
            clf.set_params(encoder="passthrough")
        else:
            other = "cpu" if encoder == "of another device" else device
            clf.set_params(encoder=frozen_encoder(name, other, base, y_base))
        clf.fit(X[:40], y[:40]).partial_fit(X[40:60], y[40:60])
        found.append(answers(clf, X[60:150]))
    for ours, expected in zip(found[1], found[0], strict=True):
        assert_same(ours, expected)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_travels_to_the_cpu(digits, tmp_path, name):
    base, y_base, X, y = digits
    encoder = frozen_encoder(name, "twin", base, y_base)
    clf = classifier(name, "twin", encoder=encoder).fit(X[:40], y[:40])
    expected = answers(clf, X[60:100])
    save(clf, tmp_path / "clf.sk")
    for moved in (pickle.loads(pickle.dumps(clf)), load(tmp_path / "clf.sk"), copy.deepcopy(clf)):
        for ours, other in zip(answers(moved, X[60:100]), expected, strict=True):
            np.testing.assert_array_equal(ours, other)
    stored = pickle.loads(pickle.dumps(clf)).head_.state_dict().values()
    assert all(tensor.device.type == "cpu" for tensor in stored)
    moved = pickle.loads(pickle.dumps(clf)).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict_proba(X[60:100]), expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", BY_DISTANCE)
def test_neighbours_are_the_same(digits, assert_same, name, metric):
    _, _, X, y = digits
    X = np.concatenate([X, X[:300] + 1e-3, X[:50]]).astype(np.float32)  # of some, two alike
    y = np.concatenate([y, y[:300], y[:50]])
    found = []
    for device in ("cpu", "twin"):
        clf = classifier(name, device, encoder="passthrough", metric=metric).fit(X[:1100], y[:1100])
        found.append((*clf.kneighbors(X[1000:1080], 3), clf.predict(X[1000:1080])))
    for ours, expected in zip(found[1], found[0], strict=True):
        assert_same(ours, expected)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_episode_scores_are_the_same(digits, name):
    base, y_base, X, y = digits
    encoder = frozen_encoder(name, "twin", base, y_base)
    scores = [
        episode_score(
            classifier(name, device, encoder=encoder), X, y, n_episodes=20, random_state=0
        ).scores
        for device in ("cpu", "twin")
    ]
    np.testing.assert_array_equal(*scores)
    for dtype in (np.float32, np.float64):
        clf = classifier(name, "twin", encoder=encoder)
        episode_score(clf, X.astype(dtype), y, n_way=3, n_shot=2, n_episodes=2, random_state=0)


def test_pair_classifier_answers_the_same(digits, assert_same):
    base, y_base, X, y = digits
    pairs, same = make_pairs(X, y, n_pairs=100, random_state=0)
    found = []
    for device in ("cpu", "twin"):
        learned = SiameseTransformer(device=device, **TINY).fit(base, y_base)
        for encoder in ("passthrough", FrozenEstimator(learned)):
            clf = PairClassifier(encoder=encoder, device=device, random_state=0).fit(pairs, same)
            found.append(clf.predict_proba(pairs))
    assert_same(found[2], found[0])
    assert_same(found[3], found[1])


def test_own_metric_and_rejection_answer_the_same(digits, assert_same):
    _, _, X, y = digits
    found = []
    for device in ("cpu", "twin"):
        clf = PrototypicalClassifier(
            "passthrough", metric=lambda a, b: torch.cdist(a, b), reject_below=-2.5, device=device
        ).fit(X[:40], y[:40])
        found.append(clf.predict(X[40:90]))
    assert_same(*found)
    clf = SiameseClassifier("passthrough", device="twin").fit(X[:40], y[:40])
    assert set(clf.predict(X[40:60])) <= set(range(5, 10))


def test_encode_is_the_same(digits, assert_same):
    X = digits[0].reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    module = folded(Conv4((1, 8, 8)))
    expected = encode(module, X[:50], chunk_size=20)
    ours = encode(copy.deepcopy(module).to("twin"), X[:50], device="twin", chunk_size=20)
    assert_same(ours, expected)


HEADS = [
    *(PrototypicalHead(metric) for metric in METRICS),
    *(SiameseHead(metric) for metric in METRICS),
    *(MatchingHead(metric) for metric in METRICS),
    PrototypicalHead(temperature=0.3),
    MatchingHead(context=FullContext(6)),
    SiameseHead(comparator=PairBCELoss(6)),
    RelationHead(6).eval(),
]


def points():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 6, generator=generator) for n in (7, 9))
    x[0] = y[3]
    y[1] = 0
    return x, y


@pytest.mark.parametrize(
    "head", HEADS, ids=lambda h: f"{type(h).__name__}-{getattr(h, 'metric', '')}"
)
@pytest.mark.parametrize("batched", [False, True])
def test_head_scores_the_same(assert_same, head, batched):
    queries, support = points()
    labels = torch.arange(9) % 3
    if batched:
        queries, support, labels = (t.expand(2, *t.shape) for t in (queries, support, labels))
    expected = head(queries, support, labels)
    there = copy.deepcopy(head).to("twin")
    ours = there(*(t.to("twin") for t in (queries, support, labels)))
    assert ours.device.type == "twin"
    bitwise = {"bitwise": False} if getattr(head, "context", None) else {}  # the CPU's own LSTM
    assert_same(ours, expected, **bitwise)
    assert_same(there(queries.to("twin"), support.to("twin"), labels), ours)
    assert_same(there.to("cpu")(queries, support, labels), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_distances_and_gradients_are_the_same(assert_same, metric, offset, paired, grad):
    function = paired_distances if paired else pairwise_distances
    found = []
    for device in ("cpu", "twin"):
        x, y = ((points_ + offset).to(device).requires_grad_(grad) for points_ in points())
        distances = function(x, y[:7] if paired else y, metric)
        assert distances.device.type == device
        found.append([distances])
        if grad:
            distances.sum().backward()
            found[-1] += [x.grad, y.grad]
    for ours, expected in zip(found[1], found[0], strict=True):
        assert_same(ours, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_within_1e_5_of_float64(metric):
    x, y = (1e4 + t for t in points())
    expected = pairwise_distances(x.double(), y.double(), metric)
    for grad in (False, True):
        ours = pairwise_distances(x.to("twin").requires_grad_(grad), y.to("twin"), metric)
        torch.testing.assert_close(ours.detach().cpu().double(), expected, rtol=1e-5, atol=1e-12)


def test_unit_rows_are_the_same(assert_same):
    x = torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0, 0]])
    assert_same(unit(x.to("twin")), unit(x))
