import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import SupConLoss
from sk_fewshot.testing import check_loss


def supcon(directions, y, temperature):
    """The loss written out, anchor by anchor and positive by positive."""
    anchors = []
    for i, z in enumerate(directions):
        others = [a for a in range(len(y)) if a != i]
        total = sum((z @ directions[a] / temperature).exp() for a in others)
        terms = [
            -((z @ directions[p] / temperature).exp() / total).log() for p in others if y[p] == y[i]
        ]
        if terms:
            anchors.append(sum(terms) / len(terms))
    return sum(anchors) / len(anchors) if anchors else 0 * directions.sum()


@settings(max_examples=60)
@given(data=st.data(), temperature=st.sampled_from([0.05, 0.1, 0.5, 2.0]))
def test_supcon__any_batch__equals_the_loops(
    data, batches, on_sphere, assert_equal_with_gradient, temperature
):
    z, y = data.draw(batches())
    loss = SupConLoss(temperature)
    assert_equal_with_gradient(
        lambda z: loss(z, y), lambda z: supcon(on_sphere(z), y, temperature), z
    )


def test_supcon__several_chunks__equal_the_anchors_one_by_one(assert_equal_with_gradient):
    n = 900
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(100, (n,), generator=generator)

    def expected(z):
        directions = z / z.norm(dim=1, keepdim=True)
        anchors = []
        for i in range(n):
            others = torch.arange(n) != i
            logits = (directions[others] @ directions[i]) / 0.1
            positive = y[others] == y[i]
            if positive.any():
                anchors.append(-logits.log_softmax(0)[positive].mean())
        return torch.stack(anchors).mean()

    assert_equal_with_gradient(lambda z: SupConLoss()(z, y), expected, z)


@pytest.mark.parametrize("embedding", [[1.0, 2.0], [0.0, 0.0]])
def test_supcon__equal_embeddings__has_a_finite_gradient(embedding):
    z = torch.tensor([embedding] * 6, requires_grad=True)
    value = SupConLoss()(z, torch.tensor([0, 0, 1, 1, 2, 2]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(5.0).log())
    assert z.grad.isfinite().all()


def test_supcon__class_of_one_example__has_no_term_of_its_own():
    z, y = torch.eye(3), torch.tensor([0, 0, 1])
    of_pair = SupConLoss()(z, y)
    torch.testing.assert_close(of_pair, torch.tensor(2.0).log())  # either of two others
    alone = torch.tensor([[0.6, 0.0, 0.8]], requires_grad=True)
    with_two_alone = SupConLoss()(torch.cat([z, alone]), torch.tensor([0, 0, 1, 2]))
    expected = (2 + (6 * torch.ones(1)).exp()).log(), (3 * torch.ones(1)).log()
    torch.testing.assert_close(with_two_alone, torch.cat(expected).mean())


@pytest.mark.parametrize("y", [[], [0], [0, 1, 2]], ids=str)
def test_supcon__no_positive_pair__is_zero_and_still_connected(y):
    z = torch.ones(len(y), 3, requires_grad=True)
    value = SupConLoss()(z, torch.tensor(y, dtype=torch.int64))
    value.backward()
    assert value == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_supcon__lengths__do_not_matter():
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(12, 3, generator=generator, dtype=torch.float64), torch.arange(12) % 4
    lengths = 0.1 + 10 * torch.rand(12, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(SupConLoss()(lengths * z, y), SupConLoss()(z, y))


def test_supcon__default__has_the_temperature_of_the_paper():
    assert SupConLoss().temperature == 0.1
    check_loss(SupConLoss())


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "a", None])
def test_supcon__bad_temperature__is_refused(temperature):
    with pytest.raises(ValueError, match="'temperature' parameter of SupConLoss"):
        SupConLoss(temperature)
