"""The loss of an episode, through any head."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.device import labels_on, labels_on_cpu
from sk_fewshot._utils.validation import check_batch, check_parameters


class EpisodeLoss(nn.Module):
    """Treats a batch as an episode and takes its head's loss over the queries.

    The first `n_shot` rows of each class are the support set, the others are queries; the mean is
    taken as the head's own ``loss`` does, over all queries [1]_.

    Parameters
    ----------
    head : nn.Module
        As those of :mod:`sk_fewshot.heads`: ``head.score(queries, head.enrol(support, labels))``
        returns scores (n_queries, n_classes), ``head.loss(scores, y)`` a scalar.
    n_shot : int, default=1
        Support examples per class.

    References
    ----------
    .. [1] Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017,
       algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import PrototypicalHead
    >>> from sk_fewshot.losses import EpisodeLoss
    >>> embeddings = torch.tensor([[0.0], [0.0], [5.0], [5.0]])
    >>> EpisodeLoss(PrototypicalHead(), n_shot=1)(embeddings, torch.tensor([0, 0, 1, 1])) < 1e-6
    tensor(True)
    """

    head: Any

    def __init__(self, head: nn.Module, n_shot: int = 1):
        super().__init__()
        check_parameters(
            self,
            {"head": [nn.Module], "n_shot": [Interval(Integral, 1, None, closed="left")]},
            head=head,
            n_shot=n_shot,
        )
        self.head = head
        self.n_shot = n_shot

    @property
    def needs_float64(self) -> bool:
        """Whether the head computes in float64."""
        return getattr(self.head, "needs_float64", False)

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
        y : Tensor of int of shape (n,)
            Class labels, in any order; each class equally often and more than `n_shot` times.

        Returns
        -------
        Tensor
            A scalar.

        Raises
        ------
        ValueError
            If the classes differ in size or have no query.
        """
        check_batch(embeddings, y)
        order, labels, sizes = _class_by_class(labels_on_cpu(y))
        if len(set(sizes)) != 1 or sizes[0] <= self.n_shot:
            raise ValueError(
                f"An episode needs classes of one size above n_shot={self.n_shot}, "
                f"got {sizes} examples."
            )
        shots = [self.n_shot, sizes[0] - self.n_shot]
        if order is not None:
            embeddings = embeddings[order.to(embeddings.device)]
        support, queries = embeddings.unflatten(0, (len(sizes), -1)).split(shots, dim=1)
        of_support, of_queries = (
            labels_on(some.flatten(), embeddings.device)
            for some in labels.unflatten(0, (len(sizes), -1)).split(shots, dim=1)
        )
        state = self.head.enrol(support.flatten(0, 1), of_support)
        scores = self.head.score(queries.flatten(0, 1), state)
        return self.head.loss(scores, of_queries)


def _class_by_class(y: Tensor) -> tuple[Tensor | None, Tensor, list[int]]:
    """Order that brings each class's rows together, their labels 0 .. n_way - 1, and class sizes.

    None where they are together already, as a sampler draws them.
    """
    classes, labels, counts = torch.unique_consecutive(y, return_inverse=True, return_counts=True)
    if len(set(classes.tolist())) == len(classes):
        return None, labels, counts.tolist()
    y, order = y.sort(stable=True)
    return order, *_class_by_class(y)[1:]
