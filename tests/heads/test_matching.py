"""MatchingHead against equation 1 of Vinyals et al. (2016), written as loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.distances import METRICS
from sk_fewshot.heads import FullContext, MatchingHead


def reference(queries, support, labels, temperature=0.1):
    """Log-probabilities: softmax of cosine similarities, summed class by class."""
    rows = []
    for x in queries:
        similarities = [(x @ s) / (x.norm() * s.norm()) / temperature for s in support]
        total = sum(similarity.exp() for similarity in similarities)
        classes = []
        for k in range(int(labels.max()) + 1):
            own = [a for a, label in zip(similarities, labels, strict=True) if label == k]
            classes.append((sum(a.exp() for a in own) / total).log())
        rows.append(torch.stack(classes))
    return torch.stack(rows)


def test_scores_and_gradients_equal_the_papers_equations(unbalanced):
    queries, support, labels = unbalanced
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    head = MatchingHead().double()
    results = []
    for log_probabilities in (reference, head):
        q, s = queries.clone().requires_grad_(), support.clone().requires_grad_()
        scores = log_probabilities(q, s, labels)
        loss = -scores[range(6), y].mean()
        results.append((scores, loss, *torch.autograd.grad(loss, (q, s))))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(head.loss(head(*unbalanced), y), results[0][1])


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    metric=st.sampled_from(sorted(METRICS)),
)
@settings(max_examples=30)
def test_scores_are_log_probabilities_for_any_numbers_of_shots(seed, counts, metric):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    support = torch.randn(len(labels), 4, generator=generator)
    scores = MatchingHead(metric)(torch.randn(3, 4, generator=generator), support, labels)
    assert scores.shape == (3, len(counts))
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(3))


def test_log_probabilities_of_hopeless_classes_stay_finite():
    support = torch.tensor([[0.0], [1e3]], requires_grad=True)
    scores = MatchingHead("sqeuclidean")(torch.zeros(1, 1), support, torch.tensor([0, 1]))
    torch.testing.assert_close(scores, torch.tensor([[0.0, -1e6]]))
    MatchingHead().loss(scores, torch.tensor([1])).backward()
    assert torch.isfinite(support.grad).all()


def test_temperature_lets_probabilities_exceed_the_cap_of_plain_cosine():
    support, labels = torch.eye(5), torch.arange(5)
    plain = MatchingHead(temperature=1.0)(support, support, labels).exp()
    assert plain.max() < 0.65
    assert MatchingHead()(support, support, labels).exp().diagonal().min() > 0.99


def full_context_reference(context, queries, support, labels):
    """Appendix A of Vinyals et al., gate by gate, on a support set in canonical order."""
    d = support.shape[1]

    def cell(x, h, c, weights):
        w_x, w_h, b_x, b_h = weights
        i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).split(d)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    forward = [getattr(context.lstm, f"{name}_l0") for name in names]
    backward = [getattr(context.lstm, f"{name}_l0_reverse") for name in names]
    direction = torch.tensor([math.cos(j + 1) for j in range(d)], dtype=torch.float64)
    order = sorted(range(len(support)), key=lambda i: (support[i] @ direction).item())
    g = {i: support[i] for i in order}
    for weights, sequence in ((forward, order), (backward, order[::-1])):
        h = c = torch.zeros(d, dtype=torch.float64)
        for i in sequence:
            h, c = cell(support[i], h, c, weights)
            g[i] = g[i] + h
    g = torch.stack([g[i] for i in range(len(support))])

    attention = [getattr(context.attention_lstm, name) for name in names]
    refined = []
    for x in queries:
        h, c = x, torch.zeros(d, dtype=torch.float64)
        for _ in range(context.n_steps):
            weights = torch.stack([h @ row for row in g])
            weights = weights.exp() / weights.exp().sum()
            r = sum(weight * row for weight, row in zip(weights, g, strict=True))
            output, c = cell(torch.cat([x, r]), h, c, attention)
            h = output + x
        refined.append(h)
    return torch.stack(refined), g


def test_full_context_equals_explicit_steps_in_value_and_gradient(unbalanced):
    queries, support, labels = unbalanced
    torch.manual_seed(0)
    head = MatchingHead(context=FullContext(8, n_steps=3)).double()
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    results = []
    for explicit in (True, False):
        q, s = queries.clone().requires_grad_(), support.clone().requires_grad_()
        if explicit:
            scores = reference(*full_context_reference(head.context, q, s, labels), labels)
        else:
            scores = head(q, s, labels)
        loss = -scores[range(6), y].mean()
        learned = [p for p in head.parameters() if p.ndim]
        results.append((scores, *torch.autograd.grad(loss, (q, s, *learned))))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("context", [None, FullContext(8)])
def test_order_of_rows_and_names_of_classes_do_not_matter(unbalanced, context):
    queries, support, labels = unbalanced
    head = MatchingHead(context=context).double()
    scores = head(queries, support, labels)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(head(queries, support[order], labels[order]), scores)
    renamed = torch.tensor([1, 2, 0])[labels]
    torch.testing.assert_close(head(queries, support, renamed)[:, [1, 2, 0]], scores)


def test_full_context_does_not_depend_on_the_order_of_equal_examples():
    torch.manual_seed(0)
    head = MatchingHead(context=FullContext(4))
    support = torch.ones(4, 4)
    scores = [
        head(torch.eye(4), support, torch.tensor(labels)) for labels in ([0, 1, 0, 1], [1, 1, 0, 0])
    ]
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize("context", [None, FullContext(8)])
def test_many_episodes_at_once_equal_one_by_one(unbalanced, context):
    queries, support, labels = unbalanced
    head = MatchingHead(context=context).double()
    other = labels.flip(0)
    many = head(
        torch.stack([queries, -queries]),
        torch.stack([support, support + 1]),
        torch.stack([labels, other]),
    )
    torch.testing.assert_close(many[0], head(queries, support, labels))
    torch.testing.assert_close(many[1], head(-queries, support + 1, other))


def test_n_steps_is_checked():
    with pytest.raises(ValueError, match="'n_steps' parameter of FullContext"):
        FullContext(8, n_steps=0)
