"""A siamese encoder that learns from given pairs."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import _fit_context
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot._training import LabelledRows
from sk_fewshot._utils.examples import check_rows
from sk_fewshot._utils.rows import members
from sk_fewshot._utils.state import all_or_nothing
from sk_fewshot.distances import pairwise_distances
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss
from sk_fewshot.transformers.siamese import SiameseTransformer


class SiameseTransformerOfPairs(SiameseTransformer):
    """A :class:`SiameseTransformer` whose training examples are pairs, of the class same or not.

    To the engine a pair is one example and the two classes are 0 (different) and 1 (same), so a
    batch holds as many pairs of either. Only its members meet the encoder one by one.
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Learn to compare from pairs.

        Parameters
        ----------
        X : ndarray or Rows of shape (n_pairs, 2, ...)
            Pairs of examples.
        y : ndarray of shape (n_pairs,)
            1 for the same class, 0 for different ones.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If there are fewer than two pairs of either kind, or `validation_classes` is given.
        """
        if self.validation_classes is not None:
            raise ValueError(
                "validation_classes needs class labels, which pairs do not have; it must be None, "
                f"got {self.validation_classes!r}."
            )
        with all_or_nothing(self) as fitted:
            _, fitted.image_shape_ = check_rows(
                fitted, members(X), image_shape=self._checked_image_shape(), reset=True
            )
            fitted.classes_ = np.array([0, 1])
            fitted._train(X, y)
            fitted.loss_ = fitted.net_.criterion_.of_pair
        return self

    def _datasets(self, X, codes, rng, device):
        return PairRows(X, codes, (2, *self._input_shape), device), None

    def _make_loss(self, n_classes, embedding_shape):
        return GivenPairsLoss(super()._make_loss(n_classes, embedding_shape))


class PairRows(LabelledRows):
    """Pairs and whether they are the same, handed out member by member."""

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return examples (2 n, *shape), the members of a pair in a row, and labels (n,)."""
        pairs, same = super().batch(rows)
        return pairs.flatten(0, 1), same


class GivenPairsLoss(nn.Module):
    """The mean of a loss on pairs over given ones, instead of over all pairs of a batch.

    Parameters
    ----------
    of_pair : ContrastiveLoss or PairBCELoss
    """

    def __init__(self, of_pair: ContrastiveLoss | PairBCELoss):
        super().__init__()
        self.of_pair = of_pair

    def forward(self, embeddings: Tensor, same: Tensor) -> Tensor:
        """Return the loss of embeddings (2 n, d), pair after pair, and labels (n,) 0 or 1."""
        first, second = embeddings.unflatten(0, (-1, 1, 2)).unbind(2)  # (n, 1, d)
        if isinstance(self.of_pair, PairBCELoss):
            logits = self.of_pair.pair_logits(first, second).flatten()
            return F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype))
        d = pairwise_distances(first, second, self.of_pair.metric).flatten()
        return torch.where(same == 1, d, (self.of_pair.margin - d).clamp(min=0)).square().mean() / 2
