"""The head of Siamese one-shot classification."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.utils._param_validation import HasMethods
from torch import Tensor, nn

from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.distances import Metric
from sk_fewshot.heads._classes import class_max
from sk_fewshot.heads._metric import MetricHead
from sk_fewshot.heads._pooling import pooled


class SiameseHead(MetricHead):
    r"""Scores a query by the support example of each class that is most probably the same.

    .. math:: s_k(x) = \max_{i : y_i = k} \log p(\mathrm{same} \mid x, x_i)

    as in section 4.3 of [1]_, where each class has one example; with more, the closest speaks for
    its class, so that neither a further example nor their number can lower a score. The probability
    is a comparator's, or :math:`\exp(-d(f(x), f(x_i)) / \tau)`.

    Parameters
    ----------
    metric : str or callable, default="euclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. Unused with
        a `comparator`.
    temperature : float or None, default=None
        Distances, or the comparator's logits, are divided by it. None: 1, except for "cosine",
        where it is learned from 0.1 on.
    comparator : nn.Module or None, default=None
        Has a method ``pair_logits(x, y)`` that maps embeddings (n, d) and (m, d) to the logits
        (n, m) of being the same, such as :class:`~sk_fewshot.losses.PairBCELoss`.

    References
    ----------
    .. [1] Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition",
       ICML Deep Learning Workshop 2015.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import SiameseHead
    >>> support = torch.tensor([[0.0], [4.0], [10.0]])
    >>> SiameseHead()(torch.tensor([[3.0]]), support, torch.tensor([0, 0, 1]))
    tensor([[-1., -7.]])
    """

    nearest_decides = True

    def __init__(
        self,
        metric: Metric = "euclidean",
        temperature: float | None = None,
        comparator: nn.Module | None = None,
    ):
        super().__init__(metric, temperature)
        check_parameters(
            self, {"comparator": [HasMethods("pair_logits"), None]}, comparator=comparator
        )
        self.comparator = comparator

    def enrol(self, support: Tensor, support_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what queries are compared with: the support embeddings and labels themselves."""
        return support, support_labels

    def class_similarity(self, queries, state, *, alone=False):
        """Logarithms of the largest p(same) per class."""
        compare = self.log_same
        if alone and self.comparator is None:
            compare = self.similarity_alone
        return pooled(class_max, compare, queries, *state)

    def log_same(self, x: Tensor, y: Tensor) -> Tensor:
        """Logarithms of p(same), (..., n, m), of x (..., n, d) and y (..., m, d)."""
        if self.comparator is None:
            return self.similarity(x, y)
        dtype = torch.promote_types(x.dtype, y.dtype)
        logits = _each_episode(self.comparator.pair_logits, x.to(dtype), y.to(dtype))
        return nn.functional.logsigmoid(logits / self.log_temperature.exp())

    @property
    def distance(self) -> Metric:
        """What the support examples are ranked by: the metric, or -log p(same)."""
        comparator: Any = self.comparator
        if comparator is None:
            return self.metric
        return lambda x, y: -nn.functional.logsigmoid(comparator.pair_logits(x, y))

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the mean over queries of -log(p(same) of the own class / sum over classes)."""
        return nn.functional.cross_entropy(scores.flatten(0, -2), y.flatten())


def _each_episode(function, queries: Tensor, support: Tensor) -> Tensor:
    """Apply a function of (n, d) and (m, d) to each pair of leading-dimension entries."""
    if queries.ndim == 2:
        return function(queries, support)
    pairs = zip(queries.flatten(0, -3), support.flatten(0, -3), strict=True)
    stacked = torch.stack([function(x, y) for x, y in pairs])  # (b, n_queries, n_support)
    return stacked.unflatten(0, queries.shape[:-2])
