"""The head of Prototypical Networks."""

from __future__ import annotations

from torch import Tensor, nn

from sk_fewshot.distances import Metric
from sk_fewshot.heads._classes import check_episode, class_means
from sk_fewshot.heads._metric import MetricHead


class PrototypicalHead(MetricHead):
    r"""Scores a query by its distance to each class's mean support embedding.

    .. math:: p(k \mid x) = \mathrm{softmax}_k\left(-d(f(x), c_k) / \tau\right), \qquad
        c_k = \frac{1}{|S_k|} \sum_{x_i \in S_k} f(x_i)

    as in equations 1 and 2 of [1]_, with a temperature :math:`\tau`.

    Parameters
    ----------
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable, \
            default="sqeuclidean"
        The distance d; the paper's is the squared Euclidean one.
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

    def __init__(self, metric: Metric = "sqeuclidean", temperature: float | None = None):
        super().__init__(metric, temperature)

    def forward(self, queries: Tensor, support: Tensor, support_labels: Tensor) -> Tensor:
        """Score queries against a support set.

        Parameters
        ----------
        queries : Tensor of shape (..., n_queries, d)
        support : Tensor of shape (..., n_support, d)
        support_labels : Tensor of int of shape (..., n_support)
            0 .. n_classes - 1, each at least once.

        Returns
        -------
        Tensor of shape (..., n_queries, n_classes)
            Logits.

        Raises
        ------
        TypeError, ValueError
            If the types, shapes or labels are others.
        """
        check_episode(queries, support, support_labels)
        return self.score(queries, self.enrol(support, support_labels))

    def enrol(self, support: Tensor, support_labels: Tensor) -> Tensor:
        """Return the prototypes (..., n_classes, d) of a support set as `forward` takes it."""
        return class_means(support, support_labels)

    def score(self, queries: Tensor, prototypes: Tensor) -> Tensor:
        """Score queries (..., n_queries, d) against prototypes (..., n_classes, d)."""
        return self.similarity(queries, prototypes)

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the negative log-likelihood of labels (..., n_queries), the mean over queries."""
        return nn.functional.cross_entropy(scores.flatten(0, -2), y.flatten())
