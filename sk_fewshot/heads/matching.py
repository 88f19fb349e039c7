"""The head of Matching Networks."""

from __future__ import annotations

from sklearn.utils._param_validation import HasMethods
from torch import Tensor, nn

from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.distances import Metric
from sk_fewshot.heads._classes import class_logsumexp
from sk_fewshot.heads._metric import MetricHead
from sk_fewshot.heads._pooling import in_fixed_order, pooled
from sk_fewshot.heads.full_context import FullContext


class MatchingHead(MetricHead):
    r"""Scores a query by its attention to each class's support examples.

    .. math:: P(y = k \mid x, S) = \sum_{i : y_i = k} a(x, x_i), \qquad
        a(x, x_i) = \mathrm{softmax}_i\left(-d(f(x), g(x_i)) / \tau\right)

    as in equation 1 of [1]_, where d is the cosine distance. Scores are log-probabilities. A class
    with more support examples has more terms, as the formula says.

    Parameters
    ----------
    metric : str or callable, default="cosine"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. The paper's
        is the cosine one.
    temperature : float or None, default=None
        Distances are divided by it. None: 1, except for "cosine", where it is learned from 0.1 on.
        The paper has none, and 1 caps the probability of one of five classes at 0.65.
    context : FullContext or None, default=None
        Full context embeddings. None: f and g are the embeddings given.

    References
    ----------
    .. [1] Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import MatchingHead
    >>> support, labels = torch.eye(3), torch.tensor([0, 0, 1])
    >>> MatchingHead(temperature=1.0)(torch.eye(3), support, labels).exp()
    tensor([[0.7881, 0.2119],
            [0.7881, 0.2119],
            [0.4239, 0.5761]])
    """

    def __init__(
        self,
        metric: Metric = "cosine",
        temperature: float | None = None,
        context: FullContext | None = None,
    ):
        super().__init__(metric, temperature)
        check_parameters(
            self, {"context": [HasMethods(["of_support", "of_queries"]), None]}, context=context
        )
        self.context = context

    def enrol(self, support: Tensor, support_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what queries are compared with: g(x_i) (..., n_support, d), and the labels."""
        if self.context is not None:
            support = self.context.of_support(support, support_labels)
        return support, support_labels

    def class_similarity(self, queries, state, *, alone=False):
        """Logarithms of each class's attention, before it is made to sum to one."""
        support, support_labels = state
        if self.context is not None:
            queries = self.context.of_queries(queries, support)
        if alone:
            return in_fixed_order(self.similarity_alone(queries, support), support_labels)
        return pooled(class_logsumexp, self.similarity, queries, support, support_labels)

    def scores_of(self, class_similarity):
        """Return log-probabilities, given similarities (..., n_classes)."""
        return class_similarity.log_softmax(-1)

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the negative log-likelihood of labels (..., n_queries), the mean over queries."""
        return nn.functional.nll_loss(scores.flatten(0, -2), y.flatten())
