"""Rankings by distance as rankings by inner product, in float32 with a bound on its error."""

from __future__ import annotations

import torch
from torch import Tensor

from sk_fewshot.distances import Metric, unit

_EUCLIDEAN = ("sqeuclidean", "euclidean")
_CENTRE_ROWS = 1024
_ROUNDING_OF_DISTANCES = 2  # of the squared distance: of its root, in float32, and its temperature


class InnerProducts:
    r"""Ranks rows by their nearness to a query.

    A row y is the nearer to a query x the larger the score

    - :math:`(x - c) \cdot (y - c) - |y - c|^2 / 2` by the (squared) Euclidean distance, where c is
      a centre that keeps the numbers small,
    - :math:`x \cdot y / |y|` by the cosine distance,
    - :math:`x \cdot y` by the dot product.

    Parameters
    ----------
    metric : {"sqeuclidean", "euclidean", "cosine", "dot"}
    rows : Tensor of shape (n, d)
        c is the mean of some of them.
    """

    def __init__(self, metric: Metric, rows: Tensor):
        self._euclidean = metric in _EUCLIDEAN
        self._cosine = metric == "cosine"
        centre = rows[:: 1 + len(rows) // _CENTRE_ROWS].double().mean(0)  # (d,)
        self._centre = centre if self._euclidean else torch.zeros_like(centre)
        # the rounding of d additions grows as the square root of d (Higham and Mary, "A new
        # approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 2019)
        self._rounding_of_sums = 0.5 * len(centre) ** 0.5 + 1  # 1: of lengths, squared again

    @staticmethod
    def rank(metric: Metric) -> bool:
        """Whether inner products rank as this metric does."""
        return metric in (*_EUCLIDEAN, "cosine", "dot")

    def queries(self, x: Tensor) -> Tensor:
        """Return queries (..., d) as the left factors of the products."""
        return (x - self._centre.to(x.dtype)).float()

    def rows(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows (..., d) as the right factors, what is added to their products, lengths.

        The latter two are (...).
        """
        y = (unit(y) if self._cosine else y - self._centre.to(y.dtype)).float()
        lengths = y.norm(dim=-1)
        return y, lengths.square() * (-0.5 if self._euclidean else 0.0), lengths

    def error(self, query_norms: Tensor, largest_row: Tensor) -> Tensor:
        """Bound what a score and the distance itself, in float32, may be wrong by.

        Parameters
        ----------
        query_norms, largest_row : Tensor of shape (...)
            Lengths of the left factors and the largest length of the right ones.

        Returns
        -------
        Tensor of shape (...)
        """
        float32 = torch.finfo(torch.float32)
        size = query_norms + (largest_row if self._euclidean else 0)
        sums = self._rounding_of_sums * size * largest_row
        distances = _ROUNDING_OF_DISTANCES * size * (size if self._euclidean else largest_row)
        return float32.eps * (sums + distances) + float32.tiny
