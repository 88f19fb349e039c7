"""From the similarities of support examples to the scores of their classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot._utils.device import labels_on, labels_on_cpu, wide_device
from sk_fewshot.heads._classes import class_logsumexp, class_max, number_of_classes

_ROWS = 1024  # support examples compared at once

Comparison = Callable[[Tensor, Tensor], Tensor]


def pooled(
    of_classes: Callable[[Tensor, Tensor], Tensor],
    compare: Comparison,
    queries: Tensor,
    support: Tensor,
    support_labels: Tensor,
) -> Tensor:
    """Score classes by their examples, some at a time where there are many and no gradient.

    Memory then grows with neither the number of examples times that of the queries, nor with their
    number times that of the classes.

    Parameters
    ----------
    of_classes : class_max or class_logsumexp
    compare : callable
        Maps queries (..., n_queries, d) and examples (..., n, d) to (..., n_queries, n).
    queries : Tensor of shape (..., n_queries, d)
    support : Tensor of shape (..., n_support, d)
    support_labels : Tensor of int of shape (..., n_support)
        0 .. n_classes - 1, each at least once; memory is least where they ascend.

    Returns
    -------
    Tensor of shape (..., n_queries, n_classes)
    """
    if support.ndim > 2 or len(support) <= _ROWS or torch.is_grad_enabled():
        return of_classes(compare(queries, support), support_labels)
    n_classes = number_of_classes(support_labels)
    scores: Tensor | None = None
    for rows, labels in zip(
        support.split(_ROWS), labels_on_cpu(support_labels).split(_ROWS), strict=True
    ):
        first, last = int(labels.min()), int(labels.max())
        of_these = of_classes(compare(queries, rows), labels - first)
        if scores is None:
            scores = of_these.new_full((len(queries), n_classes), -torch.inf)
        before = scores[:, first : last + 1]
        before.copy_(_JOINED[of_classes](before, of_these))
    assert scores is not None
    return scores


_JOINED: dict[Callable, Callable] = {class_max: torch.maximum, class_logsumexp: torch.logaddexp}


def in_fixed_order(values: Tensor, support_labels: Tensor) -> Tensor:
    """Sum exponentials per class as :func:`class_logsumexp`, alike for alike values.

    Two classes whose examples have the same values get bitwise the same result, in whatever order
    and place these stand.

    Parameters
    ----------
    values : Tensor of shape (n_queries, n_support)
    support_labels : Tensor of int of shape (n_support,)
        Ascending.

    Returns
    -------
    Tensor of shape (n_queries, n_classes)
    """
    n_examples = labels_on_cpu(support_labels).bincount().to(values.device)
    support_labels = labels_on(support_labels, values.device)
    order = values.argsort(dim=1)
    order = order.gather(1, support_labels[order].argsort(dim=1, stable=True))
    largest = class_max(values, support_labels)
    differences = values.gather(1, order) - largest[:, support_labels]
    powers = differences.to(wide_device(values.device)).double().exp()
    lengths = n_examples.expand(len(values), -1).contiguous().to(powers.device)
    sums = torch.segment_reduce(powers, "sum", lengths=lengths, axis=1)
    return sums.log().to(values) + largest
