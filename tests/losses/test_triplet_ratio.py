import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import TripletRatioLoss


@pytest.fixture(scope="module")
def reference(one_distance):
    def loss(z, y, metric):
        terms = []
        for a in range(len(z)):
            for p in range(len(z)):
                for n in range(len(z)):
                    if a != p and y[a] == y[p] and y[a] != y[n]:
                        d = [one_distance(z[a], z[other], metric) for other in (p, n)]
                        e = torch.stack(d).exp()
                        share = e / e.sum()
                        terms.append(share[0] ** 2 + (share[1] - 1) ** 2)
        return torch.stack(terms).mean() if terms else 0 * z.sum()

    return loss


@settings(max_examples=60)
@given(
    data=st.data(),
    metric=st.sampled_from(["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]),
)
def test_ratio__any_batch__equals_the_loop_over_triplets(
    data, batches, reference, assert_equal_with_gradient, metric
):
    z, y = data.draw(batches(max_size=7))
    loss = TripletRatioLoss(metric)
    assert_equal_with_gradient(lambda z: loss(z, y), lambda z: reference(z, y, metric), z)


def test_ratio__several_chunks__equal_the_anchors_one_by_one(assert_equal_with_gradient):
    n = 500
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(60, (n,), generator=generator)

    def expected(z):
        terms = []
        for a in range(n):
            squared = (z[a] - z).square().sum(1)
            d = torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)
            positive = y == y[a]
            positive[a] = False
            pairs = torch.cartesian_prod(d[positive], d[y != y[a]]).reshape(-1, 2)
            error = pairs.softmax(1) - torch.tensor([0, 1])
            terms.append(error.square().sum(1))
        return torch.cat(terms).mean()

    loss = TripletRatioLoss()
    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


def test_ratio__default__compares_unsquared_distances():
    z = torch.tensor([[0.0], [1.0], [3.0]])
    y = torch.tensor([0, 0, 1])
    shares = torch.tensor([[1.0, 3.0], [1.0, 2.0]]).softmax(1)
    expected = (shares - torch.tensor([0, 1])).square().sum(1).mean()
    torch.testing.assert_close(TripletRatioLoss()(z, y), expected)


def test_ratio__far_negative__costs_less_than_a_near_one():
    y = torch.tensor([0, 0, 1])
    near, far = (TripletRatioLoss()(torch.tensor([[0.0], [1.0], [x]]), y) for x in (1.5, 9.0))
    assert far < near


def test_ratio__extreme_distances__stay_between_0_and_2():
    y = torch.tensor([0, 0, 1, 1])
    hardest = torch.tensor([[0.0], [1e6], [0.0], [1e6]])
    easiest = torch.tensor([[0.0], [0.0], [1e6], [1e6]])
    assert TripletRatioLoss()(hardest, y) == pytest.approx((2 + 0.5) / 2)
    assert TripletRatioLoss()(easiest, y) == 0


def test_ratio__smooth_batch__passes_gradcheck(metric):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda z: TripletRatioLoss(metric)(z, y), z)


def test_ratio__unknown_metric__is_named():
    with pytest.raises(ValueError, match="'metric' parameter of TripletRatioLoss"):
        TripletRatioLoss("hamming")
