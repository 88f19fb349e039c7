"""Which examples of a batch belong together."""

from __future__ import annotations

import torch
from torch import Tensor


class ClassMembers:
    """Which examples of a batch share a class, as padded tables of indices.

    Parameters
    ----------
    y : Tensor of shape (n,)
        Integer labels.

    Attributes
    ----------
    size : Tensor of shape (n,)
        Number of examples in the class of each example, itself among them.
    largest : int
        Number of examples in the largest class.
    pair_weights : tuple of float
        Weights of a pair i < j of one class, and of two. All of a batch add up to 1, and each kind
        to one half where there are both.
    """

    def __init__(self, y: Tensor) -> None:
        _, inverse, counts = y.unique(return_inverse=True, return_counts=True)
        self.size = counts[inverse]
        self.largest = int(counts.max()) if len(y) else 0
        n_same = int((counts * (counts - 1)).sum()) // 2
        n_different = len(y) * (len(y) - 1) // 2 - n_same
        n_kinds = max((n_same > 0) + (n_different > 0), 1)
        self.pair_weights = tuple(1 / (n_kinds * max(n, 1)) for n in (n_same, n_different))
        self._start = (counts.cumsum(0) - counts)[inverse]
        self._order = y.argsort(stable=True)

    def __call__(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Members of the classes of some rows.

        Parameters
        ----------
        rows : slice
            Rows of the batch.

        Returns
        -------
        members : Tensor of shape (r, largest)
            Batch indices; where the class is smaller, padded with the row's own.
        own : Tensor of shape (r, 1)
            The row's own index.
        """
        own = torch.arange(len(self._order), device=self._order.device)[rows, None]
        rank = torch.arange(self.largest, device=own.device)
        index = (self._start[rows, None] + rank).clamp(max=len(self._order) - 1)
        return torch.where(rank < self.size[rows, None], self._order[index], own), own
