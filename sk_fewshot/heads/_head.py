"""What every head is: enrol a support set, then score queries against what that gave."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sk_fewshot._utils.device import labels_on
from sk_fewshot.heads._classes import check_episode

_ROUNDING = 1e-5  # of scores in float32 that are computed in another order

EpisodeScores = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Head(nn.Module, metaclass=ABCMeta):
    """Scores queries against a support set, in training and in prediction alike."""

    needs_float64 = False
    """Whether it computes in float64: on the CPU, for a device without."""

    def forward(self, queries: Tensor, support: Tensor, support_labels: Tensor) -> Tensor:
        """Score queries against a support set.

        Parameters
        ----------
        queries : Tensor of shape (..., n_queries, d)
            Embeddings.
        support : Tensor of shape (..., n_support, d)
            Embeddings.
        support_labels : Tensor of int of shape (..., n_support)
            0 .. n_classes - 1, each at least once.

        Returns
        -------
        Tensor of shape (..., n_queries, n_classes)
            The larger, the more alike.

        Raises
        ------
        TypeError, ValueError
            If the types, shapes or labels are others.
        """
        check_episode(queries, support, support_labels)
        return self.score(queries, self.enrol(support, support_labels))

    @abstractmethod
    def enrol(self, support: Tensor, support_labels: Tensor) -> Any:
        """Return what queries are compared with: a tensor or a tuple of tensors."""

    @abstractmethod
    def score(self, queries: Tensor, state: Any) -> Tensor:
        """Score queries (..., n_queries, d) against what `enrol` returned."""

    @abstractmethod
    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the loss () of scores (..., n_queries, n_classes) for labels (..., n_queries)."""

    def episode_scores(self, embeddings: Tensor) -> EpisodeScores:
        """Return a function that scores many episodes over stored embeddings at once.

        Parameters
        ----------
        embeddings : Tensor of shape (n_samples, d)

        Returns
        -------
        callable
            Takes the rows of the supports (n_episodes, n_way, n_shot) and those of the queries
            (n_episodes, n_queries). Returns scores (n_episodes, n_way, n_queries), up to a constant
            per query, and what these may be wrong by (n_episodes, n_queries).
        """

        def score(support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
            n_episodes, n_way, n_shot = support.shape
            labels = torch.arange(n_way).repeat_interleave(n_shot).expand(n_episodes, -1)
            scores = self(
                take_rows(embeddings, queries),
                take_rows(embeddings, support.flatten(1)),
                labels_on(labels, support.device),
            ).mT.contiguous()
            return scores, _ROUNDING * scores.abs().amax(1)

        return score


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return ``table[rows]``, which torch gathers several times as slowly."""
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
