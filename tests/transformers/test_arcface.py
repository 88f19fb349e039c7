"""ArcFaceTransformer's own parameters."""

import numpy as np
import pytest

from sk_fewshot import ArcFaceTransformer
from sk_fewshot.losses import ArcFaceLoss

BRIEF = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}


@pytest.fixture(scope="module")
def flat():
    """Four classes of six examples, three features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 6)
    return rng.normal(size=(24, 3)) + 3 * y[:, None], y


@pytest.mark.parametrize("parameters", [{}, {"margin": 0.1, "scale": 30}])
def test__parameters__reach_the_loss(parameters, flat):
    loss = ArcFaceTransformer(embedding_dim=5, **parameters, **BRIEF).fit(*flat).loss_
    assert type(loss) is ArcFaceLoss
    assert loss.weight.shape == (4, 5)
    assert {"margin": loss.margin, "scale": loss.scale} == {
        "margin": 0.5,
        "scale": 16,
        **parameters,
    }


@pytest.mark.parametrize("parameters", [{"margin": -0.1}, {"margin": 180}, {"scale": 0}], ids=str)
def test__bad_parameter__named(parameters, flat):
    with pytest.raises(ValueError, match=f"'{next(iter(parameters))}' parameter of ArcFace"):
        ArcFaceTransformer(**parameters, **BRIEF).fit(*flat)
