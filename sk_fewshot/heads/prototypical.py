"""The head of Prototypical Networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sk_fewshot._utils.device import wide_device
from sk_fewshot.distances import Metric
from sk_fewshot.gallery._inner_products import InnerProducts
from sk_fewshot.heads._classes import class_means
from sk_fewshot.heads._head import take_rows
from sk_fewshot.heads._metric import MetricHead


class PrototypicalHead(MetricHead):
    r"""Scores a query by its distance to each class's mean support embedding.

    .. math:: p(k \mid x) = \mathrm{softmax}_k\left(-d(f(x), c_k) / \tau\right), \qquad
        c_k = \frac{1}{|S_k|} \sum_{x_i \in S_k} f(x_i)

    as in equations 1 and 2 of [1]_, with a temperature :math:`\tau`.

    Parameters
    ----------
    metric : str or callable, default="sqeuclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. The paper's
        is the squared Euclidean one.
    temperature : float or None, default=None
        Distances are divided by it. None: 1, the paper's, except for "cosine", where it is learned
        from 0.1 on.

    References
    ----------
    .. [1] Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import PrototypicalHead
    >>> support = torch.tensor([[0.0], [2.0], [10.0]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> PrototypicalHead()(torch.tensor([[1.0], [9.0]]), support, labels)
    tensor([[ -0., -81.],
            [-64.,  -1.]])
    """

    nearest_decides = True

    def __init__(self, metric: Metric = "sqeuclidean", temperature: float | None = None):
        super().__init__(metric, temperature)

    def enrol(self, support: Tensor, support_labels: Tensor) -> Tensor:
        """Return the prototypes (..., n_classes, d) of a support set as `forward` takes it."""
        return class_means(support, support_labels)

    def class_similarity(self, queries, state, *, alone=False):
        """Compare queries (..., n_queries, d) with prototypes (..., n_classes, d)."""
        return (self.similarity_alone if alone else self.similarity)(queries, state)

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the negative log-likelihood of labels (..., n_queries), the mean over queries."""
        return nn.functional.cross_entropy(scores.flatten(0, -2), y.flatten())

    def episode_scores(self, embeddings):
        """Return a function that scores many episodes at once, by inner products."""
        if not InnerProducts.rank(self.metric):
            return super().episode_scores(embeddings)
        products = InnerProducts(self.metric, embeddings)
        factors, lengths = products.queries(embeddings)  # (n_samples, d), (n_samples,)
        buffer = factors[:0]  # keeps its memory from step to step

        def score(support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
            examples = take_rows(embeddings, support)  # (n_episodes, n_way, n_shot, d)
            one = examples.shape[2] == 1
            prototypes = examples[:, :, 0] if one else _means(examples)
            rows, offsets, row_lengths = products.rows(prototypes)
            nonlocal buffer
            if len(buffer) < queries.numel():
                buffer = factors.new_empty(queries.numel(), factors.shape[1])
            left = buffer[: queries.numel()]
            torch.index_select(factors, 0, queries.flatten(), out=left)
            scores = torch.baddbmm(offsets.unsqueeze(-1), rows, left.unflatten(0, queries.shape).mT)
            return scores, products.error(lengths[queries], row_lengths.amax(-1, keepdim=True))

        return score


def _means(examples: Tensor) -> Tensor:
    """Mean over the third dimension."""
    return examples.to(wide_device(examples.device)).double().mean(2).to(examples)
