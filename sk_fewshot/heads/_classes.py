"""From the support examples to their classes: sums, maxima, summed probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from sk_fewshot._utils.device import labels_on, labels_on_cpu, wide_device
from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_integers, check_points

_MEMBERSHIPS = 2**22  # examples x classes in one table
_ROWS = 4096  # added at once where there are more


def check_episode(queries: Tensor, support: Tensor, support_labels: Tensor) -> None:
    """Check what a head is given.

    Parameters
    ----------
    queries : Tensor of shape (..., n_queries, d)
    support : Tensor of shape (..., n_support, d)
    support_labels : Tensor of int of shape (..., n_support)
        0 .. n_classes - 1, each at least once.

    Raises
    ------
    TypeError
        If they are tensors of other types, or none.
    ValueError
        If shapes or labels are others.
    """
    check_points("queries", queries)
    check_points("support", support)
    check_integers("support_labels", support_labels)
    if queries.shape[-1] != support.shape[-1]:
        raise ValueError(
            "queries and support must have the same number of columns, got "
            f"{queries.shape[-1]} and {support.shape[-1]}."
        )
    if not support_labels.numel():
        raise ValueError(f"support must hold one example or more, got shape {support.shape}.")
    if support_labels.shape != support.shape[:-1]:
        raise ValueError(
            f"support_labels must have shape {tuple(support.shape[:-1])} to match support, "
            f"got shape {tuple(support_labels.shape)} instead."
        )
    on_cpu = labels_on_cpu(support_labels)
    rows = on_cpu[None] if on_cpu.ndim == 1 else on_cpu.flatten(0, -2).unique(dim=0)
    for row in rows:
        found = row.unique().tolist()
        if found != list(range(len(found))):
            raise ValueError(
                f"support_labels must hold 0 .. n_classes - 1, each at least once, got {found}."
            )


def number_of_classes(labels: Tensor) -> int:
    """Return the number of classes that labels 0 .. n_classes - 1 are of."""
    return int(labels_on_cpu(labels).max()) + 1


def memberships(labels: Tensor, n_classes: int) -> Tensor:
    """Return a table of bool (..., n, n_classes): one-hot labels (..., n), checked by nobody."""
    return labels.unsqueeze(-1) == torch.arange(n_classes, device=labels.device)


def class_sums(support: Tensor, support_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the embeddings of each class, and number of its examples.

    Parameters
    ----------
    support : Tensor of shape (..., n_support, d)
    support_labels : Tensor of int of shape (..., n_support)
        0 .. n_classes - 1, each at least once.

    Returns
    -------
    sums : Tensor of shape (..., n_classes, d)
        In float32 at least.
    counts : Tensor of shape (..., n_classes, 1)
    """
    with full_precision(support) as rows:
        n_classes = number_of_classes(support_labels)
        labels = labels_on(support_labels, rows.device)
        if rows.ndim == 2 and len(rows) * n_classes > _MEMBERSHIPS:
            return _sums_of_many_classes(rows, labels, n_classes)
        membership = memberships(labels, n_classes).to(rows.dtype)
        return membership.mT @ rows, membership.sum(-2).unsqueeze(-1)


def _sums_of_many_classes(rows: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Sums and counts where a table of examples x classes would be too large."""
    device = wide_device(rows.device)
    sums = torch.zeros(n_classes, rows.shape[1], dtype=torch.float64, device=device)
    for some, theirs in zip(rows.split(_ROWS), labels.split(_ROWS), strict=True):
        sums.index_add_(0, labels_on(theirs, device), some.to(device).double())
    return sums.to(rows), labels_on_cpu(labels).bincount().to(rows).unsqueeze(-1)


def class_means(support: Tensor, support_labels: Tensor) -> Tensor:
    """Mean embedding (..., n_classes, d) of each class; arguments as for :func:`class_sums`."""
    sums, counts = class_sums(support, support_labels)
    return sums / counts


def class_max(values: Tensor, support_labels: Tensor) -> Tensor:
    """Largest of the values of each class's support examples.

    Parameters
    ----------
    values : Tensor of shape (..., n_queries, n_support)
    support_labels : Tensor of int of shape (..., n_support)
        0 .. n_classes - 1, each at least once.

    Returns
    -------
    Tensor of shape (..., n_queries, n_classes)
    """
    labels = labels_on(support_labels, values.device).unsqueeze(-2).expand_as(values)
    n_classes = number_of_classes(support_labels)
    lowest = values.new_full((*values.shape[:-1], n_classes), -torch.inf)
    return lowest.scatter_reduce(-1, labels, values, "amax")


def class_logsumexp(values: Tensor, support_labels: Tensor) -> Tensor:
    """Logarithm of the summed exponentials of each class's values, as :func:`class_max`."""
    largest = class_max(values.detach(), support_labels)
    labels = labels_on(support_labels, values.device).unsqueeze(-2).expand_as(values)
    sums, _ = class_sums((values - largest.gather(-1, labels)).exp().mT, support_labels)
    return sums.mT.log() + largest
