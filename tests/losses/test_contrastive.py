import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import ContrastiveLoss


@pytest.fixture(scope="module")
def reference(one_distance):
    def loss(z, y, margin, metric):
        kinds = {True: [], False: []}
        for i, j in itertools.combinations(range(len(z)), 2):
            d = one_distance(z[i], z[j], metric)
            same = bool(y[i] == y[j])
            gap = d if same else torch.clamp(margin - d, min=0)
            kinds[same].append(gap**2 / 2)
        means = [torch.stack(kind).mean() for kind in kinds.values() if kind]
        return torch.stack(means).mean() if means else 0 * z.sum()

    return loss


@settings(max_examples=100)
@given(
    data=st.data(),
    metric=st.sampled_from(["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]),
    margin=st.sampled_from([0.05, 0.9, 2.3, 30.0]),
)
def test_contrastive__any_batch__equals_the_loop_over_pairs(
    data, batches, reference, assert_equal_with_gradient, metric, margin
):
    z, y = data.draw(batches())
    loss = ContrastiveLoss(margin, metric)
    assert_equal_with_gradient(lambda z: loss(z, y), lambda z: reference(z, y, margin, metric), z)


@pytest.mark.parametrize("margin", [0.3, 1.0, 100.0])
@pytest.mark.parametrize("n_classes", [1, 2, 250])
def test_contrastive__large_batch__equals_the_formula_on_matrices(
    assert_equal_with_gradient, margin, n_classes
):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1000, 6, generator=generator, dtype=torch.float64) / 2
    z[10:20] = z[0]
    y = torch.randint(n_classes, (1000,), generator=generator)
    i, j = torch.triu_indices(1000, 1000, 1)
    same = y[i] == y[j]

    def expected(z):
        difference = z[i] - z[j]
        squared = difference.square().sum(1)
        d = torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)
        means = [d[same].square().mean() / 2]
        if n_classes > 1:
            means.append((margin - d[~same]).clamp(min=0).square().mean() / 2)
        return torch.stack(means).mean()

    loss = ContrastiveLoss(margin)
    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


def test_contrastive__different_pair__is_hadsells_not_linear_nor_margin_less_square():
    z = torch.tensor([[0.0], [0.5]])
    d, margin = 0.5, 2.0
    got = ContrastiveLoss(margin)(z, torch.tensor([0, 1]))
    assert got == (margin - d) ** 2 / 2
    assert got not in (margin - d, (margin - d**2), (margin - d**2) / 2)


def test_contrastive__same_pair__is_half_the_squared_distance_whatever_the_margin():
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert ContrastiveLoss(0.1)(z, torch.tensor([7, 7])) == 12.5


def test_contrastive__many_more_different_pairs__each_kind_keeps_half_the_weight():
    z = torch.tensor([[0.0], [1.0], [10.0], [20.0], [30.0], [40.0]])
    y = torch.tensor([0, 0, 1, 2, 3, 4])
    assert ContrastiveLoss(1.0)(z, y) == pytest.approx(0.5 * 0.5)


def test_contrastive__cosine__margin_is_on_the_distance_one_minus_cosine():
    z = torch.tensor([[1.0, 0.0], [0.0, 5.0]])  # distance 1
    y = torch.tensor([0, 1])
    assert ContrastiveLoss(1.5, "cosine")(z, y) == pytest.approx(0.125)
    assert ContrastiveLoss(0.9, "cosine")(z, y) == 0


def test_contrastive__callable_metric__equals_the_named_one_and_trains_its_parameters():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x, y):
            return self.factor * torch.cdist(x, y, p=1.0)

    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 3, generator=generator)
    y = torch.arange(12) % 3
    metric = Scaled()
    loss = ContrastiveLoss(4.0, metric)(z, y)
    loss.backward()
    assert loss.item() == pytest.approx(4 * ContrastiveLoss(2.0, "manhattan")(z, y).item())
    assert metric.factor.grad.abs() > 0


def test_contrastive__smooth_batch__passes_gradcheck(metric):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda z: ContrastiveLoss(2.0, metric)(z, y), z)


def test_contrastive__far_from_the_origin__equals_the_centred_batch():
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(-8, 9, (40, 4), generator=generator) / 8
    y = torch.arange(40) % 5
    near, far = (ContrastiveLoss(1.0)(z + shift, y) for shift in (0, 2**17))
    torch.testing.assert_close(near, far, rtol=1e-5, atol=0)


@pytest.mark.parametrize("margin", [0, -1.0, "1", None])
def test_contrastive__bad_margin__is_named(margin):
    with pytest.raises(ValueError, match="'margin' parameter of ContrastiveLoss"):
        ContrastiveLoss(margin)


def test_contrastive__unknown_metric__is_named():
    with pytest.raises(ValueError, match="'metric' parameter of ContrastiveLoss"):
        ContrastiveLoss(metric="hamming")
