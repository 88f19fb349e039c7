"""Batches to draw, and the distances of one pair, written out."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st


@st.composite
def _batches(draw, min_size=0, max_size=8, n_labels=3, zeros=True):
    """Unbalanced classes, also only one or one example each, duplicates and zero vectors."""
    n = draw(st.integers(min_size, max_size))
    d = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    z = rng.standard_normal((n, d))
    rows = st.integers(0, max(n - 1, 0))
    for source, target in draw(st.lists(st.tuples(rows, rows), max_size=2)) if n else []:
        z[target] = z[source]
    for row in draw(st.lists(rows, max_size=2)) if n and zeros else []:
        z[row] = 0
    y = draw(st.lists(st.integers(0, n_labels - 1), min_size=n, max_size=n))
    return torch.tensor(z), torch.tensor(y, dtype=torch.int64)


@pytest.fixture(scope="session")
def batches():
    return _batches


def _length(x):
    squared = (x * x).sum()
    return squared.sqrt() if squared > 0 else 0 * squared


def _cos(x, y):
    lengths = _length(x) * _length(y)
    return (x * y).sum() / lengths if lengths > 0 else 0 * lengths


_ONE_PAIR = {
    "sqeuclidean": lambda x, y: ((x - y) ** 2).sum(),
    "euclidean": lambda x, y: _length(x - y),
    "cosine": lambda x, y: 1 - _cos(x, y),
    "manhattan": lambda x, y: abs(x - y).sum(),
    "dot": lambda x, y: -(x * y).sum(),
}


@pytest.fixture(scope="session", params=sorted(_ONE_PAIR))
def metric(request):
    return request.param


@pytest.fixture(scope="session")
def one_distance():
    """Distance of two vectors, written out."""
    return lambda x, y, metric: _ONE_PAIR[metric](x, y)


@pytest.fixture(scope="session")
def on_sphere():
    def function(z):
        rows = [x / _length(x) if _length(x) > 0 else 0 * x for x in z]
        return torch.stack(rows) if rows else z

    return function


@pytest.fixture(scope="session")
def assert_equal_with_gradient():
    """Compare two functions of the embeddings, in value and in gradient.

    Where identical embeddings compete, either may get the gradient: it is summed over them.
    """

    def check(actual, expected, z, *parameters, tolerance=1e-9):
        results = []
        for function in (actual, expected):
            leaf = z.clone().requires_grad_()
            value = function(leaf)
            assert value.shape == ()
            gradients = torch.autograd.grad(value, [leaf, *parameters], materialize_grads=True)
            same = (z.unsqueeze(1) == z.unsqueeze(0)).all(2).to(z.dtype)
            results.append((value.detach(), same @ gradients[0], *gradients[1:]))
        for got, wanted in zip(*results):
            torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)

    return check


@pytest.fixture(scope="session")
def classified():
    """A batch with classes 0 to 3 and fitting class weights, none of them parallel."""

    @st.composite
    def draw_classified(draw, zeros=True):
        z, y = draw(_batches(min_size=1, n_labels=4, zeros=zeros))
        rng = np.random.default_rng([draw(st.integers(0, 2**32 - 1)), 1])
        weight = torch.tensor(rng.standard_normal((4, z.shape[1])))
        weight[draw(st.integers(0, 3))] *= draw(st.sampled_from([1.0, 1e-6, 1e6]))
        return z, y, weight

    return draw_classified


@pytest.fixture(scope="session")
def set_weight():
    def function(loss, weight):
        loss = loss.double()
        with torch.no_grad():
            loss.weight.copy_(weight)
        return loss

    return function


@pytest.fixture(scope="session")
def cross_entropy_of_cosines():
    """Mean of -log softmax, example by example, given the target's logit as a function."""

    def function(z, y, weight, length, target_logit):
        terms = []
        for x, label in zip(z, y.tolist()):
            logits = [length(x) * _cos(x, w) for w in weight]
            logits[label] = target_logit(x, weight[label])
            terms.append(torch.logsumexp(torch.stack(logits), 0) - logits[label])
        return torch.stack(terms).mean()

    return function


@pytest.fixture(scope="session")
def cosine_of_pair():
    return _cos


@pytest.fixture(scope="session")
def length_of():
    return _length
