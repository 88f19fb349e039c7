"""Training on given pairs: to the engine a pair is an example, of the class same or different."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from sk_fewshot._training import LabelledRows
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss


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

    needs_float64 = True

    def __init__(self, of_pair: ContrastiveLoss | PairBCELoss):
        super().__init__()
        self.of_pair = of_pair

    def forward(self, embeddings: Tensor, same: Tensor) -> Tensor:
        """Return the loss of embeddings (2 n, d), pair after pair, and labels (n,) 0 or 1."""
        first, second = embeddings.unflatten(0, (-1, 2)).unbind(1)  # (n, d)
        return self.of_pair.of_pairs(first, second, same)
