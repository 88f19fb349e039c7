"""SiameseTransformer's own parameters."""

import math

import numpy as np
import pytest
import torch

from sk_fewshot import SiameseTransformer
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss

BRIEF = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}


@pytest.fixture(scope="module")
def flat():
    """Four classes of six examples, three features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 6)
    return rng.normal(size=(24, 3)) + 3 * y[:, None], y


@pytest.mark.parametrize(
    ("parameters", "metric", "margin"),
    [
        ({}, "cosine", 0.5),
        ({"embedding_dim": 8, "metric": "euclidean"}, "euclidean", 4.0),
        ({"metric": "cosine"}, "cosine", 0.5),
        ({"metric": "sqeuclidean"}, "sqeuclidean", 1.0),
        ({"metric": "manhattan", "margin": 3.5}, "manhattan", 3.5),
        ({"metric": torch.cdist, "margin": 2}, torch.cdist, 2),
    ],
)
def test__contrastive__metric_and_margin_reach_the_loss(parameters, metric, margin, flat):
    loss = SiameseTransformer(**parameters, **BRIEF).fit(*flat).loss_
    assert type(loss) is ContrastiveLoss
    assert loss.metric == metric
    assert math.isclose(loss.margin, margin)


@pytest.mark.parametrize(
    ("metric", "expected"), [(None, "manhattan"), ("cosine", "cosine"), ("euclidean", "euclidean")]
)
def test__bce__metric_and_width_reach_the_loss(metric, expected, flat):
    siamese = SiameseTransformer(loss="bce", metric=metric, embedding_dim=7, **BRIEF).fit(*flat)
    assert type(siamese.loss_) is PairBCELoss
    assert siamese.loss_.metric == expected
    assert siamese.loss_.embedding_dim == siamese.embedding_dim_ == 7


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "bce", "margin": 1.0}, "margin belongs to loss='contrastive'; with loss='bce'"),
        ({"loss": "triplet"}, "'loss' parameter of SiameseTransformer"),
        ({"metric": "hamming"}, "'metric' parameter of SiameseTransformer"),
        ({"margin": 0}, "'margin' parameter of SiameseTransformer"),
    ],
)
def test__bad_parameter__named(parameters, message, flat):
    with pytest.raises(ValueError, match=message):
        SiameseTransformer(**parameters, **BRIEF).fit(*flat)
