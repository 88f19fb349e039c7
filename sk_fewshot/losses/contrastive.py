"""The contrastive loss."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.device import labels_on, may_look_at
from sk_fewshot._utils.precision import full_precision, limited
from sk_fewshot._utils.validation import check_batch, check_given_pairs, check_parameters
from sk_fewshot.distances import Metric, pairwise_distances
from sk_fewshot.losses._batch_distances import (
    METRIC_CONSTRAINT,
    BatchDistances,
    is_sparse,
    may_be_sparse,
)
from sk_fewshot.losses._class_members import ClassMembers
from sk_fewshot.losses._rows import row_chunks, sum_over_rows, with_gradient

_LARGE = 1e7  # whose fourth power, summed over a thousand coordinates, leaves float32


class ContrastiveLoss(nn.Module):
    """Pulls pairs of one class together and pushes others at least a margin apart.

    A pair at distance d costs ``d^2 / 2`` if both are of one class and ``max(0, margin - d)^2 / 2``
    otherwise [1]_. The mean is taken over all pairs i < j of the batch, weighted so that the pairs
    of the same and of different classes carry half of the weight each, as if drawn half and half;
    a batch with one kind of pairs is the plain mean over that kind. A batch without a pair gives 0.

    Parameters
    ----------
    margin : float, default=1.0
        In units of the metric, so of d and not of its square. Different examples farther apart
        than that do not repel.
    metric : str or callable, default="euclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. The paper's
        is "euclidean".

    Raises
    ------
    InvalidParameterError
        If `margin` is not a positive number or `metric` is unknown.

    References
    ----------
    .. [1] Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
       CVPR 2006, equation 4.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import ContrastiveLoss
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.3, 0.4]])  # d = 0.5
    >>> ContrastiveLoss()(embeddings, torch.tensor([0, 0]))
    tensor(0.1250)
    >>> ContrastiveLoss(margin=2.5)(embeddings, torch.tensor([0, 1]))
    tensor(2.)
    """

    needs_float64 = True

    def __init__(self, margin: float = 1.0, metric: Metric = "euclidean") -> None:
        super().__init__()
        check_parameters(
            self,
            {"margin": [Interval(Real, 0, None, closed="neither")], "metric": METRIC_CONSTRAINT},
            margin=margin,
            metric=metric,
        )
        self.margin = margin
        self.metric = metric

    def pair_distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances that the loss compares pairs by: those of `metric`.

        Parameters
        ----------
        x : Tensor of shape (..., n, d)
        y : Tensor of shape (..., m, d)

        Returns
        -------
        Tensor of shape (..., n, m)
            See :func:`~sk_fewshot.distances.pairwise_distances`.
        """
        return pairwise_distances(x, y, self.metric)

    def of_pairs(self, x: Tensor, y: Tensor, same: Tensor) -> Tensor:
        """Return the mean loss of given pairs.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Embeddings of the first member of each pair.
        y : Tensor of shape (n, d)
            Those of the second, of the same dtype.
        same : Tensor of bool or int of shape (n,)
            True or 1 where both are of one class.

        Returns
        -------
        Tensor
            A scalar, float32 or float64: the plain mean over the pairs, 0 if there are none.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others.
        """
        check_given_pairs(x, y, same)
        wide = {"with_float64": True}
        with full_precision(x, **wide) as first, full_precision(y, **wide) as second:
            dtype = first.dtype
            same = labels_on(same, first.device)
            if self._is_large(first) or self._is_large(second):
                first, second = (limited(z, torch.float64) for z in (first, second))
            d = self.pair_distance(first.unsqueeze(1), second.unsqueeze(1)).flatten()
            cost = torch.where(same.bool(), d, (self.margin - d).clamp(min=0)).square()
            loss = limited(cost.sum() / (2 * max(len(d), 1)), dtype)
        return loss.to(x.device)

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Floating point; half precision is computed in float32.
        y : Tensor of int of shape (n,)
            Labels, any values.

        Returns
        -------
        Tensor
            A scalar, float32 or float64. It is the largest number of its type where it would be
            larger, and so is its gradient: the square of a squared distance soon is.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others.
        """
        check_batch(embeddings, y)
        with full_precision(embeddings, with_float64=True) as z:
            squarable = limited(z, torch.float64) if self._is_large(z) else z
            pairs = _Pairs(BatchDistances(squarable, self.metric), y, self.margin)
            chunks = [slice(0, len(z))] if callable(self.metric) else row_chunks(len(z), len(z))
            loss = limited(sum_over_rows(pairs, chunks, squarable)[0], z.dtype)
        return loss.to(embeddings.device)

    def _is_large(self, z: Tensor) -> bool:
        """Whether squares of squared distances may be beyond float32."""
        if self.margin > _LARGE:
            return True
        return may_look_at(z) and bool((z.detach().abs() > _LARGE).any())


class _Pairs:
    """The weighted loss of the pairs (i, j), i < j, whose first is one of some rows."""

    def __init__(self, distances: BatchDistances, y: Tensor, margin: float) -> None:
        self.distances = distances
        self.y = labels_on(y, distances.z.device)
        self.margin = margin
        self.members_of = ClassMembers(y, distances.z.device)

    def __call__(self, rows: slice, z: Tensor) -> tuple[Tensor, int]:
        members, own = self.members_of(rows)
        members = members.maximum(own)  # (r, k)
        near = self._few_near(rows)
        if near is None:
            return self._of_many(z, rows, members, own), 1
        return self._of_few(z, rows.start, near, members, own), 1

    def _few_near(self, rows: slice) -> Tensor | None:
        """Mask (r, m) of the pairs within the margin, where counting and picking them pays."""
        if not may_be_sparse(self.distances.z):
            return None
        sample = self._near(slice(rows.start, min(rows.start + 16, rows.stop)))
        if not is_sparse(sample):
            return None
        near = self._near(rows)
        return near if is_sparse(near) else None

    def _near(self, rows: slice) -> Tensor:
        return self.distances.within(self.margin, rows, rows.start)

    def _of_few(self, z: Tensor, start: int, near: Tensor, members: Tensor, own: Tensor) -> Tensor:
        """One by one, where few pairs of different classes are within the margin."""
        row, rank = (members > own).nonzero(as_tuple=True)
        pulled = self.distances.pairs(z, row + start, members[row, rank])
        i, j = (near.nonzero() + start).unbind(1)
        different = (i < j) & (self.y[i] != self.y[j])
        pushed = self.margin - self.distances.pairs(z, i[different], j[different])
        return self._total(pulled, pushed.clamp(min=0))

    def _of_many(self, z: Tensor, rows: slice, members: Tensor, own: Tensor) -> Tensor:
        """All at once, with the gradient written out to save passes over the matrix."""
        d = self.distances.rows(z, rows, rows.start)  # (r, m)
        with torch.no_grad():
            column = members - rows.start
            pulled = d.gather(1, column).masked_fill_(members == own, 0)  # (r, k)
            pushed = (self.margin - d).clamp_(min=0).triu_(1).scatter_(1, column, 0)
            value = self._total(pulled, pushed)
            of_same, of_different = self.members_of.pair_weights
            gradient = pushed.mul_(-of_different).scatter_(1, column, of_same * pulled)
        return with_gradient(value, d, gradient)

    def _total(self, pulled: Tensor, pushed: Tensor) -> Tensor:
        of_same, of_different = self.members_of.pair_weights
        return (of_same * pulled.square().sum() + of_different * pushed.square().sum()) / 2
