"""MLP: shapes, errors, and an untrained network that keeps the geometry of its input."""

import pytest
import torch

from sk_fewshot.encoders import MLP


@pytest.mark.parametrize("hidden", [(), (3,), (8, 4)])
@pytest.mark.parametrize("n_features", [1, 5, 100])
def test__shape(n_features, hidden):
    module = MLP(n_features, 6, hidden=hidden)
    assert module(torch.randn(4, n_features)).shape == (4, 6)
    assert module.embedding_dim == 6


def test__constant_and_new_features__finite():
    module = MLP(3)
    module(torch.ones(10, 3))
    assert module.eval()(torch.tensor([[1.0, 1e6, -1e6]])).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_features": 0}, "'n_features' parameter of MLP"),
        ({"embedding_dim": None}, "'embedding_dim' parameter of MLP"),
        ({"hidden": 64}, "'hidden' parameter of MLP"),
        ({"hidden": (64, 0)}, r"hidden must hold positive integers, got \(64, 0\)"),
    ],
)
def test__bad_argument__named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**{"n_features": 4} | arguments)


@pytest.mark.parametrize("shape", [(2, 5), (4,), (2, 4, 1)])
def test__wrong_features__both_shapes_in_error(shape):
    with pytest.raises(ValueError, match=r"features must have shape \(n, 4\), got \("):
        MLP(4)(torch.zeros(shape))
