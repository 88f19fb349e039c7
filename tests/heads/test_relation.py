"""RelationHead against section 3 of Sung et al. (2018), with a plain concatenation."""

import copy

import pytest
import torch
from torch import nn

from sk_fewshot.heads import RelationHead


def concatenating(head):
    """The comparator as the paper draws it: one network on concatenated maps."""
    own = head.comparator
    halves = [own.query_convolution.weight, own.class_convolution.weight]  # (out, in, size, size)
    size = halves[0].shape[-1]
    first = nn.Conv2d(2 * own.map_shape[0], len(halves[0]), size, padding=size // 2, bias=False)
    first.weight = nn.Parameter(torch.cat(halves, dim=1).detach())
    norm, block, linear = (copy.deepcopy(m) for m in (own.norm, own.block, own.linear))
    pool = nn.MaxPool2d(2) if own.map_shape[1] > 1 else nn.Identity()
    network = nn.Sequential(first, norm, nn.ReLU(), pool, *block, nn.Flatten(), *linear)
    return network.double()


def reference(head, network, queries, support, labels):
    """Relation scores, all pairs concatenated in one batch."""
    pairs = []
    for query in queries:
        for k in range(int(labels.max()) + 1):
            own = [x for x, label in zip(support, labels, strict=True) if label == k]
            maps = sum(own) / (len(own) if head.pooling == "mean" else 1)
            pairs.append(torch.cat([m.view(head.comparator.map_shape) for m in (query, maps)]))
    return network(torch.stack(pairs)).view(len(queries), -1)


def episode(d, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(13, d, generator=generator, dtype=dtype) + 0.5
    return x[:6], x[6:], torch.tensor([2, 0, 0, 1, 2, 0, 2])


@pytest.mark.parametrize("shape", [(4, 5, 5), (4, 1, 3), (6,)])
@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["mse", "softmax"])
@pytest.mark.parametrize("training", [True, False])
def test_split_convolution_equals_concatenation(shape, pooling, loss, training):
    torch.manual_seed(0)
    head = RelationHead(shape, n_filters=5, pooling=pooling, loss=loss).double()
    with torch.no_grad():  # away from the values at which BatchNorm does nothing
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        head.comparator.norm.running_mean.add_(0.3)
        head.comparator.norm.running_var.mul_(2)
    network = concatenating(head)
    head.train(training)
    network.train(training)
    queries, support, labels = episode(torch.Size(shape).numel())
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    one_hot = nn.functional.one_hot(y).double()

    results = []
    for plain in (True, False):
        q, s = queries.clone().requires_grad_(), support.clone().requires_grad_()
        if plain:
            logits = reference(head, network, q, s, labels)
            if loss == "mse":
                scores = logits.sigmoid().log()
                value = ((logits.sigmoid() - one_hot) ** 2).mean()
            else:
                scores = logits
                value = -logits.log_softmax(-1)[range(6), y].mean()
        else:
            scores = head(q, s, labels)
            value = head.loss(scores, y)
        model = network if plain else head
        last = list(model.parameters())[-6:]
        results.append((scores, value, *torch.autograd.grad(value, (q, s, *last))))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    torch.testing.assert_close(head.comparator.norm.running_mean, norms[0].running_mean)
    torch.testing.assert_close(head.comparator.norm.running_var, norms[0].running_var)
    assert head.comparator.norm.num_batches_tracked == norms[0].num_batches_tracked


@pytest.mark.parametrize("training", [True, False])
def test_many_episodes_at_once(training):
    torch.manual_seed(0)
    head = RelationHead((4, 5, 5)).double().train(training)
    queries, support, labels = episode(100)
    one = head(queries, support, labels)
    many = head(queries.expand(3, -1, -1), support.expand(3, -1, -1), labels.expand(3, -1))
    torch.testing.assert_close(many, one.expand(3, -1, -1))


def test_evaluation_in_chunks_equals_all_pairs_at_once():
    torch.manual_seed(0)
    head = RelationHead(6).eval()
    queries, support = torch.randn(40, 6), torch.randn(100, 6)
    scores = head(queries, support, torch.arange(100))
    state = head.enrol(support, torch.arange(100))
    whole = head.comparator(head.comparator.of_query(queries), state)
    torch.testing.assert_close(scores, nn.functional.logsigmoid(whole))


def test_scores_of_confident_comparators_do_not_tie():
    head = RelationHead(2)
    logits = torch.tensor([[20.0, 21.0, -200.0]])
    scores = nn.functional.logsigmoid(logits)
    assert scores[0, 1] > scores[0, 0] > scores[0, 2]
    assert torch.isfinite(head.loss(scores, torch.tensor([2])))


def test_mean_does_not_depend_on_the_number_of_shots_and_sum_does():
    torch.manual_seed(0)
    queries, support = torch.randn(3, 6), torch.randn(2, 6)
    labels = torch.arange(2)
    thrice = support.repeat(3, 1), labels.repeat(3)
    mean, total = RelationHead(6).eval(), RelationHead(6, pooling="sum").eval()
    torch.testing.assert_close(mean(queries, *thrice), mean(queries, support, labels))
    assert not torch.allclose(total(queries, *thrice), total(queries, support, labels))


@pytest.mark.parametrize("shape", [(4, 5), (0, 5, 5), (2.0,), 0])
def test_bad_shapes_are_named(shape):
    with pytest.raises(ValueError, match="embedding_shape"):
        RelationHead(shape)
