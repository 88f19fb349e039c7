"""Means over the triplets (anchor, positive, negative) of a batch, none of which is stored."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sk_fewshot.distances import Metric
from sk_fewshot.losses._batch_distances import BatchDistances
from sk_fewshot.losses._class_members import ClassMembers
from sk_fewshot.losses._rows import row_chunks, sum_over_rows, with_gradient


def mean_over_hinges(
    z: Tensor, y: Tensor, metric: Metric, margin: float, semihard: bool = False
) -> Tensor:
    """Mean of ``d_ap - d_an + margin`` over the triplets where it is positive.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    y : Tensor of shape (n,)
    metric : str or callable
    margin : float
    semihard : bool, default=False
        Only over those of them with ``d_ap < d_an``.
    """
    distances = BatchDistances(z, metric)
    members_of = ClassMembers(y, z.device)

    def terms(rows: slice, z: Tensor) -> tuple[Tensor, Tensor]:
        d = distances.rows(z, rows)  # (r, n)
        with torch.no_grad():
            members, own = members_of(rows)  # (r, k)
            d_ap = d.gather(1, members).masked_fill_(members == own, -torch.inf)
            d_ap, order = d_ap.sort(1)
            # the positives of rank first to last - 1 make a triplet with the negative of a column
            first = torch.searchsorted(d_ap + margin, d, right=True)  # (r, n)
            last = torch.full_like(first, d_ap.shape[1])
            if semihard:
                last = torch.searchsorted(d_ap, d)
            n_positives = (last - first).clamp_(min=0).scatter_(1, members, 0)
            # a sum of hinges is linear in the distances as long as the same ones are positive
            edges = d.new_zeros(len(d), d_ap.shape[1] + 1)  # (r, k + 1)
            used = (n_positives > 0).to(d.dtype)
            edges.scatter_add_(1, first, used).scatter_add_(1, last, -used)
            n_negatives = edges.cumsum(1)[:, :-1]
            gradient = n_positives.to(d.dtype).neg_()
            gradient.scatter_(1, members.gather(1, order), n_negatives)
            count = n_positives.sum()
            value = (d * gradient).sum(dtype=torch.float64) + margin * count.double()
        return with_gradient(value, d, gradient), count

    chunks = [slice(0, len(z))] if callable(metric) else row_chunks(len(z), len(z))
    return _mean(z, *sum_over_rows(terms, chunks, z))


def mean_over_triplets(
    z: Tensor,
    y: Tensor,
    metric: Metric,
    loss: Callable[[Tensor], Tensor],
    chosen: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean of a smooth function of ``d_ap - d_an`` over triplets.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    y : Tensor of shape (n,)
    metric : str or callable
    loss : callable
        Elementwise function of ``d_ap - d_an`` that vanishes towards minus infinity.
    chosen : callable, optional
        Mask of the values of ``d_ap - d_an`` that count; all by default.
    """
    distances = BatchDistances(z, metric)
    members_of = ClassMembers(y, z.device)

    def terms(rows: slice, z: Tensor) -> tuple[Tensor, Tensor | int]:
        d = distances.rows(z, rows)  # (r, n)
        members, _ = members_of(rows)
        anchor, positive, n_triplets = members_of.others(rows)  # (r * (k - 1),)
        d_ap = d[anchor, positive].unsqueeze(1)
        d_an = d.scatter(1, members, torch.inf).index_select(0, anchor)  # no loss, no gradient
        difference = d_ap - d_an  # (r * (k - 1), n)
        if chosen is None:
            return loss(difference).sum(), n_triplets
        counts = chosen(difference)
        counts |= difference.isnan()  # NaN is not to be hidden
        return torch.where(counts, loss(difference), 0).sum(), counts.sum()

    row_elements = members_of.largest * len(z)
    chunks = [slice(0, len(z))] if callable(metric) else row_chunks(len(z), row_elements)
    return _mean(z, *sum_over_rows(terms, chunks, z))


def mean_over_hardest(
    z: Tensor, y: Tensor, metric: Metric, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean over the anchors with a positive and a negative, the farthest and the nearest of them.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    y : Tensor of shape (n,)
    metric : str or callable
    loss : callable
        Elementwise function of ``d_ap - d_an``.
    """
    distances = BatchDistances(z, metric)
    members_of = ClassMembers(y, z.device)
    none = torch.empty(0, dtype=torch.int64, device=z.device)
    positives, negatives = [none], [none]
    for rows in row_chunks(len(z), len(z)):
        members, own = members_of(rows)  # (r, k)
        d = distances.rough(rows)  # (r, n)
        d_ap = d.gather(1, members).masked_fill_(members == own, -torch.inf)
        positives.append(members.gather(1, d_ap.argmax(1, keepdim=True)).squeeze(1))
        negatives.append(d.scatter_(1, members, torch.inf).argmin(1))
    valid = (members_of.size > 1) & (members_of.size < len(y))
    anchor = valid.nonzero().squeeze(1).to(z.device)
    positive, negative = torch.cat(positives)[anchor], torch.cat(negatives)[anchor]
    d_ap, d_an = distances.pairs(z, anchor.repeat(2), torch.cat([positive, negative])).chunk(2)
    return _mean(z, loss(d_ap - d_an).sum(), torch.tensor(len(anchor)))


def _mean(z: Tensor, total: Tensor, count: Tensor) -> Tensor:
    return (total / count.clamp(min=1)).to(z.dtype)
