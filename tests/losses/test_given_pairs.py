"""The losses on pairs, of pairs that are given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import ContrastiveLoss, PairBCELoss

METRICS = ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]
MADE = [lambda metric: ContrastiveLoss(0.9, metric), lambda metric: PairBCELoss(3, metric)]
every_loss = pytest.mark.parametrize("make", MADE, ids=["contrastive", "bce"])


@every_loss
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), metric=st.sampled_from(METRICS))
def test_given_pairs__any__cost_the_mean_of_the_loss_of_each(
    assert_equal_with_gradient, make, seed, n, metric
):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * n, 3, generator=generator, dtype=torch.float64)
    z[1] = z[0]
    same = torch.randint(2, (n,), generator=generator)
    loss = make(metric).double()

    def one_by_one(z):
        batches = [(z[2 * i : 2 * i + 2], torch.tensor([1, same[i]])) for i in range(n)]
        return sum(loss(pair, y) for pair, y in batches) / n

    assert_equal_with_gradient(lambda z: loss.of_pairs(z[::2], z[1::2], same), one_by_one, z)
    assert loss.of_pairs(z[::2], z[1::2], same == 1) == loss.of_pairs(z[::2], z[1::2], same)


@every_loss
@pytest.mark.parametrize("metric", METRICS)
def test_pair_distance__orders_pairs_as_the_loss_of_a_same_pair_does(make, metric):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 20, 3, generator=generator).unbind(0)
    loss = make(metric)
    distance = loss.pair_distance(x[:, None], y[:, None]).flatten()
    assert loss.pair_distance(x, y).shape == (20, 20)
    one = torch.ones(1, dtype=torch.bool)
    costs = torch.stack([loss.of_pairs(x[i : i + 1], y[i : i + 1], one) for i in range(20)])
    order = (distance.square() if isinstance(loss, ContrastiveLoss) else distance).argsort()
    assert (costs[order].diff() >= -1e-6).all()


@every_loss
@pytest.mark.parametrize("scale", [0, 1e-15, 1e8, 1e15])
@pytest.mark.parametrize("metric", METRICS)
def test_given_pairs__equal_tiny_and_huge_ones__value_and_gradient_are_finite(make, metric, scale):
    if scale > 1e8 and make is MADE[0] and metric in ("sqeuclidean", "dot"):
        scale = 1e8  # to the fourth power 1e32, and float32 ends at 1e38
    x = (scale * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()
    y = torch.cat([x[:4], -x[4:]])
    value = make(metric).of_pairs(x, y, torch.arange(8) % 2)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


@every_loss
def test_given_pairs__none__are_zero_and_still_connected(make):
    x = torch.ones(0, 3, requires_grad=True)
    value = make("euclidean").of_pairs(x, x, torch.ones(0, dtype=torch.int64))
    value.backward()
    assert value == 0
    assert x.grad.shape == (0, 3)


@every_loss
def test_given_pairs__half_precision__is_computed_in_float32(make):
    x, y = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).half().unbind(0)
    same = torch.arange(6) % 2
    loss = make("euclidean")
    value = loss.of_pairs(x, y, same)
    assert value.dtype == torch.float32
    assert value == loss.of_pairs(x.float(), y.float(), same)


@every_loss
@pytest.mark.parametrize(
    ("x", "y", "same", "error", "message"),
    [
        (torch.ones(2, 3).long(), torch.ones(2, 3), torch.ones(2).long(), TypeError, "x must be"),
        (torch.ones(2, 3), [[1.0] * 3] * 2, torch.ones(2).long(), TypeError, "y must be"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), TypeError, "same must be"),
        (torch.ones(2, 3), torch.ones(1, 3), torch.ones(2).long(), ValueError, "x and y must"),
        (torch.ones(2, 3), torch.ones(2, 4), torch.ones(2).long(), ValueError, "x and y must"),
        (torch.ones(3), torch.ones(3), torch.ones(3).long(), ValueError, "x and y must"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(1).long(), ValueError, "same must have"),
        (torch.ones(2, 3), torch.ones(2, 3).double(), torch.ones(2).long(), ValueError, "dtype"),
    ],
)
def test_given_pairs__bad_ones__name_the_argument(make, x, y, same, error, message):
    with pytest.raises((error, TypeError), match=message):
        make("euclidean").of_pairs(x, y, same)
