import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import SphereFaceLoss


@settings(max_examples=60)
@given(
    data=st.data(),
    margin=st.sampled_from([1, 2, 3, 4]),
    step=st.sampled_from([None, 0, 7, 100_000]),
)
def test_sphereface__any_batch__equals_the_formula(
    data,
    classified,
    set_weight,
    cosine_of_pair,
    length_of,
    cross_entropy_of_cosines,
    assert_equal_with_gradient,
    margin,
    step,
):
    z, y, weight = data.draw(classified(zeros=False))  # |z| has no gradient at 0
    loss = set_weight(SphereFaceLoss(4, z.shape[1], margin, annealing=step is not None), weight)
    loss.step += step or 0
    blend = 0 if step is None else max(5, 1000 / (1 + 0.12 * step))

    def target_logit(x, w):
        cosine = cosine_of_pair(x, w)
        theta = torch.acos(cosine)
        k = math.floor(margin * theta.item() / math.pi)
        psi = (-1) ** k * torch.cos(margin * theta) - 2 * k
        return length_of(x) * (blend * cosine + psi) / (1 + blend)

    def expected(z):
        return cross_entropy_of_cosines(z, y, loss.weight, length_of, target_logit)

    loss.eval()
    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


def at_angle(theta):
    return torch.tensor([[math.cos(theta), math.sin(theta)]], dtype=torch.float64)


@pytest.fixture
def psi(set_weight):
    """What the loss without annealing makes of an angle, from two classes at 0 and 180 degrees."""
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])

    def function(theta, margin=4):
        loss = set_weight(SphereFaceLoss(2, 2, margin, annealing=False), weight)
        value = loss(at_angle(theta), torch.tensor([0]))
        return -torch.log(torch.expm1(value)).item() - math.cos(theta)

    return function


def test_sphereface__psi__falls_all_the_way_from_1_to_1_minus_2_margin(psi):
    values = [psi(theta) for theta in torch.linspace(0, math.pi, 60).tolist()]
    assert values[0] == pytest.approx(1)
    assert values[-1] == pytest.approx(1 - 2 * 4)
    assert all(after < before for before, after in itertools.pairwise(values))


def test_sphereface__margin_4__quadruples_a_small_angle(psi):
    assert psi(0.3) == pytest.approx(math.cos(4 * 0.3))


def test_sphereface__embedding_length__scales_the_logits_but_the_weights_does_not(set_weight):
    weight = torch.tensor([[3.0, 0.0], [0.0, 0.2]])
    loss = set_weight(SphereFaceLoss(2, 2), weight)
    z = torch.tensor([[5.0, 0.0], [0.0, 0.01]], dtype=torch.float64)
    wanted = torch.tensor([[5.0, 0.0], [0.0, 0.01]], dtype=torch.float64)
    torch.testing.assert_close(loss.logits(z), wanted)


def test_sphereface__training__lowers_lambda_from_1000_down_to_5(set_weight):
    loss = set_weight(SphereFaceLoss(2, 2), torch.eye(2))
    y = torch.tensor([0])
    theta = 0.3
    seen = []
    for _ in range(3):
        value = loss(at_angle(theta), y)
        target = -torch.log(torch.expm1(value)).item() + math.sin(theta)
        cosine, psi = math.cos(theta), math.cos(4 * theta)
        seen.append((target - psi) / (cosine - target))
    assert seen == pytest.approx([1000, 1000 / 1.12, 1000 / 1.24], rel=1e-6)
    loss.step += 1_000_000
    target = -torch.log(torch.expm1(loss(at_angle(theta), y))).item() + math.sin(theta)
    assert target == pytest.approx((5 * cosine + psi) / 6)


def test_sphereface__evaluation__does_not_move_lambda():
    loss = SphereFaceLoss(2, 2).eval()
    for _ in range(3):
        loss(torch.ones(1, 2), torch.tensor([0]))
    assert loss.step == 0
    loss.train()(torch.ones(1, 2), torch.tensor([0]))
    assert loss.step == 1


def test_sphereface__state_dict__resumes_lambda_where_it_was():
    torch.manual_seed(0)
    z, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = SphereFaceLoss(3, 3)
    for _ in range(50):
        loss(z, y)
    resumed = SphereFaceLoss(3, 3)
    resumed.load_state_dict(loss.state_dict())
    for _ in range(3):
        assert resumed(z, y) == loss(z, y)
    restarted = SphereFaceLoss(3, 3)
    restarted.load_state_dict({**loss.state_dict(), "step": torch.tensor(0)})
    assert restarted(z, y) != loss(z, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("annealing", [True, False])
def test_sphereface__weights_copied_from_embeddings__gradients_are_finite(dtype, annealing):
    torch.manual_seed(0)
    z = torch.randn(200, 16, dtype=dtype)
    z = torch.cat([z, -z]).requires_grad_()
    loss = SphereFaceLoss(200, 16, annealing=annealing).to(dtype)
    with torch.no_grad():
        loss.weight.copy_(z[:200])
    loss(z, torch.arange(400) % 200).backward()
    assert z.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("annealing", [True, False])
def test_sphereface__smooth_batch__passes_gradcheck(annealing):
    torch.manual_seed(0)
    loss = SphereFaceLoss(3, 4, annealing=annealing).double().eval()
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda z, weight: loss(z, y), (z, loss.weight))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_classes", 1), ("embedding_dim", 0), ("margin", 0), ("margin", 1.5), ("annealing", 1.0)],
)
def test_sphereface__bad_argument__is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of SphereFaceLoss"):
        SphereFaceLoss(**{"n_classes": 3, "embedding_dim": 2, name: value})
