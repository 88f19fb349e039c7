"""TripletTransformer's own parameters."""

import numpy as np
import pytest

from sk_fewshot import TripletTransformer
from sk_fewshot.losses import TripletLoss, TripletRatioLoss

BRIEF = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}


@pytest.fixture(scope="module")
def flat():
    """Four classes of six examples, three features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 6)
    return rng.normal(size=(24, 3)) + 3 * y[:, None], y


def test__defaults__are_those_of_facenet(flat):
    loss = TripletTransformer(**BRIEF).fit(*flat).loss_
    assert type(loss) is TripletLoss
    assert (loss.mining, loss.margin, loss.metric) == ("semihard", 0.2, "sqeuclidean")
    assert loss.normalize
    assert not loss.soft


def test__hinge__parameters_reach_the_loss(flat):
    parameters = {"mining": "hard", "margin": 0, "metric": "euclidean"}
    parameters |= {"normalize": False, "soft": True}
    loss = TripletTransformer(**parameters, **BRIEF).fit(*flat).loss_
    assert {name: getattr(loss, name) for name in parameters} == parameters


@pytest.mark.parametrize(("metric", "expected"), [(None, "euclidean"), ("cosine", "cosine")])
def test__ratio__metric_reaches_the_loss(metric, expected, flat):
    loss = TripletTransformer(loss="ratio", metric=metric, **BRIEF).fit(*flat).loss_
    assert type(loss) is TripletRatioLoss
    assert loss.metric == expected


@pytest.mark.parametrize("mining", ["all", "semihard"])
def test__validation__by_the_hardest_triplets(mining, flat):
    X, y = flat
    parameters = {"margin": 0.3, "validation_classes": 0.5, **BRIEF, "lr": 1e-9}
    judged, by_hardest = (
        TripletTransformer(mining=m, **parameters).fit(X, y).history_[-1]["valid_loss"]
        for m in (mining, "hard")
    )
    assert judged == pytest.approx(by_hardest, rel=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "ratio", "mining": "hard"}, "mining belongs to loss='hinge'.*got mining='hard'"),
        ({"loss": "ratio", "margin": 0.2}, "margin belongs to loss='hinge'; with loss='ratio' it"),
        ({"loss": "ratio", "normalize": True}, "normalize belongs to loss='hinge'"),
        ({"loss": "ratio", "soft": False}, "soft belongs to loss='hinge'"),
        ({"mining": "easy"}, "'mining' parameter of TripletTransformer"),
        ({"margin": -1}, "'margin' parameter of TripletTransformer"),
    ],
)
def test__bad_parameter__named(parameters, message, flat):
    with pytest.raises(ValueError, match=message):
        TripletTransformer(**parameters, **BRIEF).fit(*flat)
