"""PrototypicalHead against equations 1 and 2 of Snell et al. (2017), written as loops."""

import math

import pytest
import torch

from sk_fewshot.heads import PrototypicalHead


def reference(queries, support, labels):
    """Log-probabilities, query by query and class by class."""
    rows = []
    for query in queries:
        logits = []
        for k in range(int(labels.max()) + 1):
            members = [x for x, label in zip(support, labels, strict=True) if label == k]
            prototype = sum(members) / len(members)
            logits.append(-((query - prototype) ** 2).sum())
        total = torch.stack([logit.exp() for logit in logits]).sum().log()
        rows.append(torch.stack([logit - total for logit in logits]))
    return torch.stack(rows)


def test_scores_and_gradients_equal_the_papers_equations(unbalanced):
    queries, support, labels = unbalanced
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    gradients = []
    for log_probabilities in (reference, lambda *a: PrototypicalHead()(*a).log_softmax(-1)):
        q, s = queries.clone().requires_grad_(), support.clone().requires_grad_()
        scores = log_probabilities(q, s, labels)
        loss = -scores[range(6), y].mean()
        gradients.append((scores, *torch.autograd.grad(loss, (q, s))))
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected)


def test_loss_is_the_mean_negative_log_likelihood(unbalanced):
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    head = PrototypicalHead()
    expected = -reference(*unbalanced)[range(6), y].mean()
    torch.testing.assert_close(head.loss(head(*unbalanced), y), expected)


def test_many_episodes_at_once_equal_one_by_one(unbalanced):
    queries, support, labels = unbalanced
    head = PrototypicalHead("cosine")
    many = head(
        torch.stack([queries, -queries]), torch.stack([support, support + 1]), labels.expand(2, -1)
    )
    torch.testing.assert_close(many[0], head(queries, support, labels))
    torch.testing.assert_close(many[1], head(-queries, support + 1, labels))


def test_temperature_divides_and_is_learned_only_for_cosine(unbalanced):
    scores = PrototypicalHead(temperature=1.0)(*unbalanced)
    torch.testing.assert_close(PrototypicalHead(temperature=4.0)(*unbalanced), scores / 4)
    assert not list(PrototypicalHead().parameters())
    (log_temperature,) = PrototypicalHead("cosine").parameters()
    assert log_temperature.item() == pytest.approx(math.log(0.1))


@pytest.mark.parametrize("bad", [{"metric": "hamming"}, {"temperature": 0.0}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=f"'{next(iter(bad))}' parameter of PrototypicalHead"):
        PrototypicalHead(**bad)


def test_prototypical_head__thousands_of_classes__prototypes_are_their_means():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 8, (2_000,), generator=generator)
    labels = torch.arange(2_000).repeat_interleave(counts)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    support = torch.randn(len(labels), 3, generator=generator, requires_grad=True)
    prototypes = PrototypicalHead().enrol(support, labels)
    expected = torch.stack([support[labels == label].mean(0) for label in range(2_000)])
    torch.testing.assert_close(prototypes, expected)
    (gradient,) = torch.autograd.grad(prototypes[7].sum(), support)
    assert gradient[labels == 7].eq(1 / counts[7]).all()
    assert not gradient[labels != 7].any()
