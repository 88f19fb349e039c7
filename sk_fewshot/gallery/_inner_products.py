"""Rankings by distance as rankings by inner product, in float32 with a bound on its error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sk_fewshot.distances import Metric, unit

_EUCLIDEAN = ("sqeuclidean", "euclidean")
_SAMPLE = 1024  # rows that tell centre and scale
_UNIT_ROUNDOFF = 2.0**-24  # of float32
_FURTHEST = 120  # exponent of 2, whose power float32 holds
_NEAR_ONE = 20  # as an exponent of 2
_ROUNDINGS_OF_FACTORS = 16  # of centring, scaling, normalising; of the distance, in float32


class InnerProducts:
    r"""Ranks rows by their nearness to a query.

    A row y is the nearer to a query x the larger the score

    - :math:`(x - c) \cdot (y - c) - |y - c|^2 / 2` by the (squared) Euclidean distance, where c is
      a centre that keeps the numbers small,
    - :math:`x \cdot y / (|x| |y|)` by the cosine distance,
    - :math:`x \cdot y` by the dot product.

    All is scaled to numbers about 1, which rank alike, so that no product over- or underflows where
    rows and queries are of one size. Where they are not, scores may be infinite or NaN: their error
    is then infinite or NaN too.

    Parameters
    ----------
    metric : {"sqeuclidean", "euclidean", "cosine", "dot"}
    rows : Tensor of shape (n, d)
        Some of them tell the centre, their median, which no far row drags away, and the scale.
    """

    def __init__(self, metric: Metric, rows: Tensor):
        self._euclidean = metric in _EUCLIDEAN
        self._cosine = metric == "cosine"
        sample = rows[:: 1 + len(rows) // _SAMPLE]
        self._centre = sample.median(0).values  # (d,)
        if not self._euclidean:
            self._centre = torch.zeros_like(self._centre)
        self._scale = _scale_for((sample - self._centre).abs().amax(1).median().item())
        # a sum of d terms in any order is wrong by at most d roundings of their size
        self._roundings = 2 * rows.shape[1] + _ROUNDINGS_OF_FACTORS

    @staticmethod
    def rank(metric: Metric) -> bool:
        """Whether inner products rank as this metric does."""
        return metric in (*_EUCLIDEAN, "cosine", "dot")

    def queries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (..., d) as the left factors of the products, and their lengths (...)."""
        # its length does not change what is the nearest by an angle or a product
        factors = self._scaled(x) if self._euclidean else unit(x).float()
        return factors, factors.norm(dim=-1)

    def rows(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows (..., d) as the right factors, what is added to their products, lengths.

        The latter two are (...).
        """
        factors = unit(y).float() if self._cosine else self._scaled(y)
        lengths = factors.norm(dim=-1)
        return factors, lengths.square() * (-0.5 if self._euclidean else 0.0), lengths

    def error(self, query_lengths: Tensor, row_lengths: Tensor) -> Tensor:
        """Bound what a score may be wrong by, and what scores of equal distances differ by.

        Parameters
        ----------
        query_lengths, row_lengths : Tensor of shape (...)
            Lengths of the left factors, and the largest of the right ones.

        Returns
        -------
        Tensor of shape (...)
        """
        size = query_lengths * row_lengths
        if self._euclidean:
            size = (query_lengths + row_lengths).square()
        tiny = torch.finfo(torch.float32).tiny
        return self._roundings * (_UNIT_ROUNDOFF * size + tiny)

    def _scaled(self, x: Tensor) -> Tensor:
        x = x - self._centre.to(x.dtype)
        return (x if self._scale == 1 else x * self._scale).float()


def _scale_for(size: float) -> float:
    """Power of two that brings numbers of this size near 1; 1 where they are."""
    exponent = min(max(math.frexp(size)[1], -_FURTHEST), _FURTHEST)
    return 1.0 if abs(exponent) < _NEAR_ONE else 2.0**-exponent
