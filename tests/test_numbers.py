"""No infinity and no NaN out of finite numbers, however small, large or degenerate they are.

Losses, heads and metrics are found by walking the public names, so that new ones are covered.
"""

import inspect
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sk_fewshot
from sk_fewshot import PairClassifier, heads, losses, metrics
from sk_fewshot.distances import METRICS, pairwise_distances, unit
from sk_fewshot.testing import check_head, check_loss
from sk_fewshot.testing.strategies import support_sets

D = 4
SCALES = [1e-15, 1e-7, 1.0, 1e7, 1e15]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
scales = st.floats(-15, 15).map(lambda exponent: 10**exponent)

NEEDED = {"n_classes": 6, "embedding_dim": D, "embedding_shape": D, "head": heads.MatchingHead()}
OPTIONS = {
    "metric": sorted(METRICS),
    "mining": ["all", "hard", "semihard"],
    "normalize": [True, False],
    "soft": [True, False],
    "annealing": [True, False],
    "pooling": ["mean", "sum"],
    "loss": ["mse", "softmax"],
    "context": [None, heads.FullContext(D)],
    "comparator": [None, losses.PairBCELoss(D), losses.PairBCELoss(D, "cosine")],
}


def every(module, without=()):
    """All exported classes in all their options, as pytest parameters."""
    for name in sorted(set(module.__all__) - set(without)):
        cls = getattr(module, name)
        parameters = inspect.signature(cls).parameters
        needed = {
            key: NEEDED[key]
            for key, p in parameters.items()
            if p.default is inspect.Parameter.empty
        }
        options = {key: OPTIONS[key] for key in parameters if key in OPTIONS}
        for values in product(*options.values()):
            chosen = dict(zip(options, values))
            words = [str(v) if isinstance(v, str | bool) else type(v).__name__ for v in values]
            yield pytest.param(cls(**needed, **chosen), id="-".join([name, *words]))


LOSSES = list(every(losses))
HEADS = list(every(heads, without=["FullContext"]))  # that is a part of one


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_is_finite_and_has_the_gradient_of_finite_differences(loss):
    check_loss(loss, embedding_dim=D, n_classes=6)


@pytest.mark.parametrize("head", HEADS)
def test_head_is_finite_and_has_the_gradient_of_finite_differences(head):
    check_head(head, embedding_dim=D)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "EpisodeLoss" not in loss.id])
@given(batch=support_sets(embedding_dim=D, scales=scales))
@settings(max_examples=10)
def test_loss_of_any_batch_is_finite(loss, batch):
    z, y = batch[0].requires_grad_(), batch[1]
    value = loss(z, y)
    assert value.isfinite()
    (gradient,) = torch.autograd.grad(value, z, materialize_grads=True)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(data=st.data())
@settings(max_examples=30)
def test_distances_are_finite(metric, dtype, data):
    x, _ = data.draw(support_sets(embedding_dim=D, dtype=dtype, scales=scales))
    x = x.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max)
    y = x.flip(0)
    x.requires_grad_()
    distances = pairwise_distances(x, y, metric)
    assert distances.dtype == dtype
    assert distances.isfinite().all()
    (gradient,) = torch.autograd.grad(distances.double().mean(), x)
    assert gradient.isfinite().all()
    assert unit(x).isfinite().all()


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_float16_has_its_largest_number_where_a_distance_exceeds_it(metric):
    x = torch.tensor([[65504.0, -65504.0]], dtype=torch.float16, requires_grad=True)
    distance = pairwise_distances(x, -x.detach(), metric)
    expected = {"cosine": 2.0}.get(metric, 65504.0)
    assert distance.item() == expected
    distance.backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("metric", ["sqeuclidean", "dot"])
def test_contrastive_loss_is_that_of_float64_until_float32_ends(metric):
    generator = torch.Generator().manual_seed(0)
    directions, y = torch.randn(12, D, generator=generator), torch.arange(12) // 4
    loss = losses.ContrastiveLoss(metric=metric)
    for scale in (1.0, 1e6, 1e7, 1e8, 1e9):
        z = (scale * directions).requires_grad_()
        value = loss(z, y)
        wide = z.detach().double().requires_grad_()
        expected = loss(wide, y)
        torch.testing.assert_close(value, expected.float(), rtol=1e-5, atol=0)
        given_gradient, wanted = (
            torch.autograd.grad(v, x)[0] for v, x in ((value, z), (expected, wide))
        )
        torch.testing.assert_close(given_gradient, wanted.float(), rtol=1e-3, atol=1e-5 * scale**3)
    z = (1e15 * directions).requires_grad_()
    value = loss(z, y)
    value.backward()
    assert value == torch.finfo(torch.float32).max
    assert (z.grad.abs() == torch.finfo(torch.float32).max).all()


RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(4), 5)
X = RNG.normal(size=(20, D))
X[1] = X[0]  # of one class
X[6] = X[0]  # of two classes
X[[2, 11]] = 0
X[3], X[12] = 2 * X[0], -X[0]

RETRIEVAL = [
    name
    for name in metrics.__all__
    if "X_reference" in inspect.signature(getattr(metrics, name)).parameters
]
OF_PAIRS = [
    name
    for name in metrics.__all__
    if "y_score" in inspect.signature(getattr(metrics, name)).parameters
]


def test_every_metric_is_tried():
    others = {"make_pairs", "expected_calibration_error"}  # of examples, of probabilities
    assert set(RETRIEVAL) | set(OF_PAIRS) | others == set(metrics.__all__)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("name", RETRIEVAL)
def test_scores_of_retrieval_are_finite(name, metric, scale, dtype):
    with np.errstate(over="ignore"):
        scaled = (X * scale).astype(dtype)
    if not np.isfinite(scaled).all():
        scaled = X.astype(dtype)
    assert 0 <= getattr(metrics, name)(scaled, Y, metric=metric) <= 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", OF_PAIRS)
def test_scores_of_pairs_do_not_depend_on_the_unit(name, scale):
    y_true, y_score = np.arange(20) % 2, np.r_[X[:10].sum(1), X[:10].sum(1)]
    score = getattr(metrics, name)
    assert score(y_true, y_score * scale) == score(y_true, y_score)


CLASSIFIERS = [
    getattr(sk_fewshot, name)("passthrough", **({"metric": metric} if metric else {}))
    for name in sk_fewshot.__all__
    if name.endswith("Classifier") and name != "PairClassifier"
    for metric in (sorted(METRICS) if name != "RelationClassifier" else [None])
]


@pytest.mark.filterwarnings("ignore:Training has collapsed")  # a comparator of tiny numbers
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("clf", CLASSIFIERS, ids=lambda c: "".join(repr(c).split()))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_are_finite(clf, scale, dtype):
    scaled = (X * scale).astype(dtype)
    clf.fit(scaled, Y)
    probabilities = clf.predict_proba(scaled)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert np.isfinite(clf.decision_function(scaled)).all()
    assert np.isfinite(clf.score_samples(scaled)).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_probabilities_of_pairs_are_finite(metric, scale):
    pairs, y = metrics.make_pairs(X * scale, Y)
    clf = PairClassifier("passthrough", metric=metric).fit(pairs, y)
    assert np.isfinite(clf.predict_proba(pairs)).all()
    assert np.isfinite(clf.decision_function(pairs)).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "transformer",
    [getattr(sk_fewshot, name) for name in sk_fewshot.__all__ if name.endswith("Transformer")],
)
def test_embeddings_are_finite(transformer, scale):
    encoder = transformer(max_epochs=1, batches_per_epoch=3, random_state=0)
    assert np.isfinite(encoder.fit(X * scale, Y).transform(X * scale)).all()
