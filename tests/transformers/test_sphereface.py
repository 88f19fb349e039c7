"""SphereFaceTransformer's own parameters."""

import numpy as np
import pytest

from sk_fewshot import SphereFaceTransformer
from sk_fewshot.losses import SphereFaceLoss

BRIEF = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}


@pytest.fixture(scope="module")
def flat():
    """Four classes of six examples, three features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 6)
    return rng.normal(size=(24, 3)) + 3 * y[:, None], y


@pytest.mark.parametrize("parameters", [{}, {"margin": 2, "annealing": False}])
def test__parameters__reach_the_loss(parameters, flat):
    loss = SphereFaceTransformer(embedding_dim=5, **parameters, **BRIEF).fit(*flat).loss_
    assert type(loss) is SphereFaceLoss
    assert loss.weight.shape == (4, 5)
    assert {"margin": loss.margin, "annealing": loss.annealing} == {
        "margin": 4,
        "annealing": True,
        **parameters,
    }


def test__annealing__advances_by_a_step_a_training_batch(flat):
    sphereface = SphereFaceTransformer(**{**BRIEF, "max_epochs": 2})
    for _ in range(2):
        assert sphereface.fit(*flat).loss_.step == 6


def test__annealing__validation_does_not_count_and_the_best_epoch_has_its_own(flat):
    sphereface = SphereFaceTransformer(**{**BRIEF, "max_epochs": 2}, validation_classes=0.5).fit(
        *flat
    )
    assert sphereface.loss_.step in (3, 6)


@pytest.mark.parametrize(
    "parameters", [{"margin": 0}, {"margin": 1.5}, {"annealing": "yes"}], ids=str
)
def test__bad_parameter__named(parameters, flat):
    with pytest.raises(ValueError, match=f"'{next(iter(parameters))}' parameter of SphereFace"):
        SphereFaceTransformer(**parameters, **BRIEF).fit(*flat)
