import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import AMSoftmaxLoss


@settings(max_examples=60)
@given(
    data=st.data(),
    margin=st.sampled_from([0.0, 0.35, 1.0]),
    scale=st.sampled_from([0.5, 30.0, 64.0]),
)
def test_am_softmax__any_batch__equals_the_formula(
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
    loss = set_weight(AMSoftmaxLoss(4, z.shape[1], margin, scale), weight)

    def expected(z):
        return cross_entropy_of_cosines(
            z,
            y,
            loss.weight,
            lambda x: scale,
            lambda x, w: scale * (cosine_of_pair(x, w) - margin),
        )

    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


def test_am_softmax__class_weights__get_the_formulas_gradient(
    set_weight, cosine_of_pair, cross_entropy_of_cosines
):
    generator = torch.Generator().manual_seed(0)
    z, weight = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 3])
    loss = set_weight(AMSoftmaxLoss(4, 3), weight)
    wanted = torch.autograd.grad(
        cross_entropy_of_cosines(
            z, y, loss.weight, lambda x: 30, lambda x, w: 30 * (cosine_of_pair(x, w) - 0.35)
        ),
        loss.weight,
    )
    got = torch.autograd.grad(loss(z, y), loss.weight)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_am_softmax__many_classes__several_chunks_equal_cross_entropy():
    n, n_classes, d = 300, 5000, 4
    torch.manual_seed(0)
    loss = AMSoftmaxLoss(n_classes, d).double()
    z = torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    y = torch.randint(n_classes, (n,))
    unit = torch.nn.functional.normalize
    cosine = unit(z) @ unit(loss.weight).T
    margin = 0.35 * torch.nn.functional.one_hot(y, n_classes).double()
    wanted = torch.nn.functional.cross_entropy(30 * (cosine - margin), y)
    got = loss(z, y)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        torch.autograd.grad(got, [z, loss.weight]),
        torch.autograd.grad(wanted, [z, loss.weight]),
        rtol=1e-9,
        atol=1e-9,
    )


def test_am_softmax__margin__is_in_cosine_units_and_scaled(set_weight):
    loss = set_weight(AMSoftmaxLoss(2, 2, margin=0.25, scale=8), torch.eye(2))
    z = torch.tensor([[2.0, 0.0]], dtype=torch.float64)  # cosines 1 and 0
    assert loss(z, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-8 * 0.75)))


def test_am_softmax__logits__have_no_margin_and_ignore_lengths(set_weight):
    weight = torch.tensor([[3.0, 0.0], [0.0, 0.2]])
    loss = set_weight(AMSoftmaxLoss(2, 2, margin=0.9, scale=10), weight)
    z = torch.tensor([[5.0, 0.0], [0.0, 0.01], [-1.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[10.0, 0.0], [0.0, 10.0], [-10.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(loss.logits(z), wanted)


def test_am_softmax__defaults__are_the_papers():
    loss = AMSoftmaxLoss(2, 2)
    assert (loss.margin, loss.scale) == (0.35, 30)


def test_am_softmax__smooth_batch__passes_gradcheck():
    torch.manual_seed(0)
    loss = AMSoftmaxLoss(3, 4).double()
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda z, weight: loss(z, y), (z, loss.weight))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_classes", 1), ("n_classes", 2.5), ("embedding_dim", 0), ("margin", -1), ("scale", 0)],
)
def test_am_softmax__bad_argument__is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of AMSoftmaxLoss"):
        AMSoftmaxLoss(**{"n_classes": 3, "embedding_dim": 2, name: value})
