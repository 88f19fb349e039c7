"""Which examples of a batch belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from sk_fewshot._utils.device import labels_on_cpu

_CPU = torch.device("cpu")


class ClassMembers:
    """Which examples of a batch share a class, as padded tables of indices.

    They are looked up on the CPU, so that nobody waits for another device.

    Parameters
    ----------
    y : Tensor of shape (n,)
        Integer labels.
    device : torch.device, default=cpu
        Where the tables are used.

    Attributes
    ----------
    size : Tensor of shape (n,)
        Number of examples in the class of each example, itself among them; on the CPU.
    largest : int
        Number of examples in the largest class.
    pair_weights : tuple of float
        Weights of a pair i < j of one class, and of two. All of a batch add up to 1, and each kind
        to one half where there are both.
    """

    def __init__(self, y: Tensor, device: torch.device = _CPU) -> None:
        y = labels_on_cpu(y)
        _, inverse, counts = y.unique(return_inverse=True, return_counts=True)
        self.size = counts[inverse]
        self.largest = int(counts.max()) if len(y) else 0
        n_same = int((counts * (counts - 1)).sum()) // 2
        n_different = len(y) * (len(y) - 1) // 2 - n_same
        n_kinds = max((n_same > 0) + (n_different > 0), 1)
        self.pair_weights = tuple(1 / (n_kinds * max(n, 1)) for n in (n_same, n_different))
        start = (counts.cumsum(0) - counts)[inverse]
        self._table = torch.stack([self.size, start, y.argsort(stable=True)])
        self._table_there = self._table.to(device, non_blocking=True)

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
        return _members(self._table_there, rows, self.largest)

    def others(self, rows: slice) -> tuple[Tensor, Tensor, int]:
        """Pairs of one class: one of some rows and, in turn, each other member of its class.

        Returns
        -------
        row : Tensor of shape (n_pairs,)
            Index into these rows.
        other : Tensor of shape (n_pairs,)
            Batch index.
        n_different : int
            How often the first of a pair stands beside an example of another class.
        """
        members, own = _members(self._table, rows, self.largest)
        row, rank = (members != own).nonzero(as_tuple=True)
        n_different = len(self.size) * len(row) - int(self.size[rows][row].sum())
        pairs = torch.stack([row, members[row, rank]])
        row, other = pairs.to(self._table_there.device, non_blocking=True)
        return row, other, n_different


def _members(table: Tensor, rows: slice, largest: int) -> tuple[Tensor, Tensor]:
    size, start, order = table
    own = torch.arange(len(order), device=table.device)[rows, None]
    rank = torch.arange(largest, device=table.device)
    index = (start[rows, None] + rank).clamp(max=len(order) - 1)
    return torch.where(rank < size[rows, None], order[index], own), own
