"""SiameseHead: the class whose example is most probably the same."""

import pytest
import torch
from torch import nn

from sk_fewshot.heads import SiameseHead


class WeightedL1(nn.Module):
    """sum_j a_j |x_j - y_j| + b, the comparator of Koch et al. (2015)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(-torch.rand(8, generator=torch.Generator().manual_seed(0)).double())

    def pair_logits(self, x, y):
        return (x[:, None] - y).abs() @ self.a + 2


def reference(log_same, queries, support, labels):
    """Largest log p(same) of each class, pair by pair."""
    rows = []
    for x in queries:
        same = [log_same(x, s) for s in support]
        rows.append(
            torch.stack(
                [
                    max(value for value, label in zip(same, labels, strict=True) if label == k)
                    for k in range(int(labels.max()) + 1)
                ]
            )
        )
    return torch.stack(rows)


@pytest.mark.parametrize("learned", [False, True])
def test_scores_and_gradients_equal_loops_over_pairs(unbalanced, learned):
    queries, support, labels = unbalanced
    comparator = WeightedL1() if learned else None
    head = SiameseHead(comparator=comparator)
    if learned:

        def log_same(x, s):
            return (((x - s).abs() * comparator.a).sum() + 2).sigmoid().log()
    else:

        def log_same(x, s):
            return -((x - s) ** 2).sum().sqrt()

    results = []
    for scores_of in (lambda *a: reference(log_same, *a), head):
        q, s = queries.clone().requires_grad_(), support.clone().requires_grad_()
        scores = scores_of(q, s, labels)
        inputs = (q, s, comparator.a) if learned else (q, s)
        gradients = torch.autograd.grad(scores.log_softmax(-1)[:, 0].sum(), inputs)
        results.append((scores, *gradients))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


def test_loss_is_cross_entropy_over_normalised_p_same(unbalanced):
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    head = SiameseHead(comparator=WeightedL1())
    same = head(*unbalanced).exp()
    expected = -(same[range(6), y] / same.sum(-1)).log().mean()
    torch.testing.assert_close(head.loss(head(*unbalanced), y), expected)


@pytest.mark.parametrize("comparator", [None, WeightedL1()])
def test_many_episodes_at_once_equal_one_by_one(unbalanced, comparator):
    queries, support, labels = unbalanced
    head = SiameseHead(comparator=comparator)
    many = head(
        torch.stack([queries, -queries]), torch.stack([support, support + 1]), labels.expand(2, -1)
    )
    torch.testing.assert_close(many[0], head(queries, support, labels))
    torch.testing.assert_close(many[1], head(-queries, support + 1, labels))


def test_a_comparator_must_compare_pairs():
    with pytest.raises(ValueError, match="'comparator' parameter of SiameseHead"):
        SiameseHead(comparator=nn.Linear(2, 2))
