import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import PairBCELoss


@pytest.fixture(scope="module")
def reference(one_distance):
    def loss(z, y, metric, factor, bias):
        kinds = {True: [], False: []}
        for i, j in itertools.combinations(range(len(z)), 2):
            if metric == "manhattan":
                logit = sum(a * abs(p - q) for a, p, q in zip(factor, z[i], z[j])) + bias
            else:
                d = one_distance(z[i], z[j], metric)
                logit = factor * (1 - d if metric == "cosine" else -d) + bias
            p_same = torch.sigmoid(logit)
            same = bool(y[i] == y[j])
            kinds[same].append(-torch.log(p_same if same else 1 - p_same))
        means = [torch.stack(kind).mean() for kind in kinds.values() if kind]
        return torch.stack(means).mean() if means else 0 * z.sum()

    return loss


@settings(max_examples=80)
@given(
    data=st.data(),
    metric=st.sampled_from(["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pair_bce__any_batch__equals_the_loop_over_pairs(
    data, batches, reference, assert_equal_with_gradient, metric, seed
):
    z, y = data.draw(batches())
    z = z / 2
    loss = PairBCELoss(z.shape[1], metric).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if metric == "manhattan":
            loss.weight[0] = 0  # where it must still learn
    parameters = list(loss.parameters())
    assert_equal_with_gradient(
        lambda z: loss(z, y), lambda z: reference(z, y, metric, *parameters), z, *parameters
    )


def test_pair_bce__several_chunks__equal_the_pair_logits(assert_equal_with_gradient):
    n, d = 300, 16
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randint(40, (n,), generator=generator)
    loss = PairBCELoss(d).double()
    i, j = torch.triu_indices(n, n, 1)
    same = y[i] == y[j]

    def expected(z):
        p = torch.sigmoid(loss.pair_logits(z, z)[i, j])
        return -(p[same].log().mean() + (1 - p[~same]).log().mean()) / 2

    assert_equal_with_gradient(lambda z: loss(z, y), expected, z, *loss.parameters())


def test_pair_bce__label__is_1_for_same_and_0_for_different():
    z = torch.tensor([[0.0], [13 / 30]])  # logit 10 - 13
    loss = PairBCELoss(1)
    assert loss(z, torch.tensor([5, 5])).item() == pytest.approx(math.log1p(math.exp(3)))
    assert loss(z, torch.tensor([5, 6])).item() == pytest.approx(math.log1p(math.exp(-3)))


def test_pair_bce__many_more_different_pairs__each_kind_keeps_half_the_weight():
    z = torch.tensor([[0.0], [0.0], [100.0], [200.0], [300.0]])
    y = torch.tensor([0, 0, 1, 2, 3])
    loss = PairBCELoss(1)
    with torch.no_grad():
        loss.bias.fill_(1.0)
    same = math.log1p(math.exp(-1))
    assert loss(z, y).item() == pytest.approx(same / 2)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"])
def test_pair_bce__untrained__finds_the_more_alike_pair_more_probably_the_same(metric):
    x = torch.tensor([[1.0, 0.0]])
    near, far = PairBCELoss(2, metric).pair_logits(x, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))[0]
    assert near > far


def test_pair_bce__cosine__logit_is_scale_times_similarity_plus_bias():
    loss = PairBCELoss(2, "cosine")
    with torch.no_grad():
        loss.scale.fill_(3.0)
        loss.bias.fill_(0.5)
    x = torch.tensor([[2.0, 0.0]])
    y = torch.tensor([[7.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(loss.pair_logits(x, y), torch.tensor([[3.5, 0.5, -2.5]]))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_pair_bce__leading_dimensions__are_batches(metric):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 5, 3, generator=generator)
    loss = PairBCELoss(3, metric)
    paired = loss.pair_logits(x[:, None], y[:, None])
    assert paired.shape == (5, 1, 1)
    torch.testing.assert_close(paired.flatten(), loss.pair_logits(x, y).diagonal())


def test_pair_bce__training__learns_which_coordinates_tell_classes_apart():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 8
    z = torch.randn(32, 4, generator=generator)
    z[:, 0] = 3 * y
    loss = PairBCELoss(4)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(z, y)
        value.backward()
        optimizer.step()
    p = torch.sigmoid(loss.pair_logits(z, z))
    assert ((p > 0.5) == (y[:, None] == y)).all()
    assert loss.weight.argmin() == 0


def test_pair_bce__callable_metric__equals_the_named_one():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 3, generator=generator)
    y = torch.arange(12) % 4
    torch.testing.assert_close(PairBCELoss(3, torch.cdist)(z, y), PairBCELoss(3, "euclidean")(z, y))


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"])
def test_pair_bce__smooth_batch__passes_gradcheck(metric):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = PairBCELoss(3, metric).double()
    assert torch.autograd.gradcheck(lambda z, *_: loss(z, y), (z, *loss.parameters()))


def test_pair_bce__another_width__names_the_argument():
    with pytest.raises(ValueError, match="y must have embedding_dim=3 columns, got 2"):
        PairBCELoss(3).pair_logits(torch.ones(1, 3), torch.ones(1, 2))


@pytest.mark.parametrize(("name", "value"), [("embedding_dim", 0), ("metric", "hamming")])
def test_pair_bce__bad_argument__is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of PairBCELoss"):
        PairBCELoss(**{"embedding_dim": 3, name: value})
