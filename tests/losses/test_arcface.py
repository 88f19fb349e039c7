import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import ArcFaceLoss


@settings(max_examples=60)
@given(
    data=st.data(),
    margin=st.sampled_from([0.0, 0.5, 2.5]),
    scale=st.sampled_from([0.5, 30.0, 64.0]),
)
def test_arcface__any_batch__equals_the_formula(
    data,
    classified,
    set_weight,
    cosine_of_pair,
    cross_entropy_of_cosines,
    assert_equal_with_gradient,
    margin,
    scale,
):
    z, y, weight = data.draw(classified())
    loss = set_weight(ArcFaceLoss(4, z.shape[1], margin, scale), weight)

    def target_logit(x, w):
        theta = torch.acos(cosine_of_pair(x, w))
        if theta <= math.pi - margin:
            return scale * torch.cos(theta + margin)
        return scale * (torch.cos(theta) - margin * math.sin(margin))

    def expected(z):
        return cross_entropy_of_cosines(z, y, loss.weight, lambda x: scale, target_logit)

    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


def at_angle(theta, dtype=torch.float64):
    return torch.tensor([[math.cos(theta), math.sin(theta)]], dtype=dtype)


def target_cosine(loss, theta):
    """What the loss makes of the target's angle, from two classes at 0 and 180 degrees."""
    value = loss(at_angle(theta), torch.tensor([0]))
    return -torch.log(torch.expm1(value)).item() - math.cos(theta)  # of -log sigmoid(t + cos)


@pytest.fixture
def two_classes(set_weight):
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    return lambda margin: set_weight(ArcFaceLoss(2, 2, margin, scale=1), weight)


@pytest.mark.parametrize("theta", [0.1, 1.0, 2.0, 2.6])
def test_arcface__margin__is_in_radians(two_classes, theta):
    assert target_cosine(two_classes(0.5), theta) == pytest.approx(math.cos(theta + 0.5))


def test_arcface__beyond_pi_minus_margin__falls_back_to_a_falling_line(two_classes):
    loss = two_classes(0.5)
    angles = torch.linspace(0, math.pi, 50)[1:-1].tolist()
    values = [target_cosine(loss, theta) for theta in angles]
    assert all(after < before for before, after in itertools.pairwise(values))
    assert values[-1] == pytest.approx(math.cos(angles[-1]) - 0.5 * math.sin(0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcface__weights_copied_from_embeddings__gradients_are_finite(dtype):
    torch.manual_seed(0)
    z = torch.randn(200, 16, dtype=dtype)
    z = torch.cat([z, -z]).requires_grad_()  # parallel and opposite
    loss = ArcFaceLoss(200, 16).to(dtype)
    with torch.no_grad():
        loss.weight.copy_(z[:200])
    loss(z, torch.arange(400) % 200).backward()
    assert z.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


def test_arcface__parallel_embedding__has_the_value_of_the_margin_alone(two_classes):
    assert target_cosine(two_classes(0.5), 0.0) == pytest.approx(math.cos(0.5))


def test_arcface__logits__have_no_margin_and_ignore_lengths(set_weight):
    weight = torch.tensor([[3.0, 0.0], [0.0, 0.2]])
    loss = set_weight(ArcFaceLoss(2, 2, margin=0.9, scale=10), weight)
    z = torch.tensor([[5.0, 0.0], [0.0, 0.01]], dtype=torch.float64)
    wanted = torch.tensor([[10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    torch.testing.assert_close(loss.logits(z), wanted)


def test_arcface__defaults__are_the_papers():
    loss = ArcFaceLoss(2, 2)
    assert (loss.margin, loss.scale) == (0.5, 64)


def test_arcface__smooth_batch__passes_gradcheck():
    torch.manual_seed(0)
    loss = ArcFaceLoss(3, 4).double()
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda z, weight: loss(z, y), (z, loss.weight))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_classes", 1), ("embedding_dim", 2.0), ("margin", -0.1), ("margin", 28.6), ("scale", 0)],
)
def test_arcface__bad_argument__is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of ArcFaceLoss"):
        ArcFaceLoss(**{"n_classes": 3, "embedding_dim": 2, name: value})
