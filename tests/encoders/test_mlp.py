"""MLP: shapes, errors, and an untrained network that keeps the geometry of its input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.spatial.distance import pdist
from sklearn.preprocessing import MaxAbsScaler
from torch.nn import functional as F

from sk_fewshot.encoders import MLP


@pytest.mark.parametrize("hidden", [(), (3,), (8, 4)])
@pytest.mark.parametrize("n_features", [1, 5, 100])
def test__shape(n_features, hidden):
    module = MLP(n_features, 6, hidden=hidden)
    assert module(torch.randn(4, n_features)).shape == (4, 6)
    assert module.embedding_dim == 6


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 70),
    npst.arrays(np.float64, 2, elements=st.floats(0.01, 100)),
)
@settings(max_examples=30)
def test__untrained__distances_of_scaled_features(seed, n_features, shift_and_size):
    shift, size = shift_and_size
    rng = np.random.default_rng(seed)
    X = rng.normal(shift, size, (50, n_features)).astype(np.float32)
    torch.manual_seed(seed)
    module = MLP(n_features, 70)
    for batch in np.split(X, 5):
        module(torch.tensor(batch))
    with torch.no_grad():
        module.log_share.fill_(-torch.inf)
        Z = module.eval()(torch.tensor(X)).double().numpy()
    X = X.astype(np.float64)
    scaled = MaxAbsScaler().fit_transform(X - X.mean(0))
    rounding = np.finfo(np.float32).eps * (1 + np.abs(X).max() / np.ptp(X, 0).min())
    np.testing.assert_allclose(pdist(Z), pdist(scaled), rtol=1e-3, atol=50 * rounding)


def test__before_training__distances_of_the_input():
    module = MLP(9, 20).eval()
    X = torch.randn(5, 9)
    with torch.no_grad():
        module.log_share.fill_(-torch.inf)
    torch.testing.assert_close(torch.pdist(module(X)), torch.pdist(X))


def test__feature_that_never_varied__ignored():
    module = MLP(3)
    X = torch.randn(10, 3)
    X[:, 1] = 5
    module(X)
    module.eval()
    unseen = X.clone()
    unseen[:, 1] = 1e6
    torch.testing.assert_close(module(unseen), module(X))


def test__units__do_not_matter():
    X = torch.randn(30, 4)
    embeddings = []
    for units in (torch.ones(4), torch.tensor([1e-3, 1.0, 60.0, 1e5])):
        torch.manual_seed(0)
        embeddings.append(MLP(4)(X * units))
    torch.testing.assert_close(*embeddings, rtol=1e-3, atol=1e-4)


def test__steps__learn_and_keep_the_rotation():
    torch.manual_seed(0)
    module = MLP(4, 2)
    x = torch.randn(40, 4)
    y = (x[:, 0] * x[:, 1] > 0).long()
    before = module.rotation.weight.clone()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-2)
    losses = []
    for _ in range(100):
        loss = F.cross_entropy(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert torch.equal(module.rotation.weight, before)


def test__state__moves_to_a_new_module():
    module, other = MLP(4), MLP(4)
    x = torch.randn(6, 4)
    module(x)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.eval()(x), module.eval()(x))


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
