"""The head of Relation Networks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.heads._classes import class_means, class_sums, memberships
from sk_fewshot.heads._comparator import Comparator
from sk_fewshot.heads._head import Head

PAIRS = 512  # of a query and a class, compared at once in evaluation: they stay in the cache


class RelationHead(Head):
    r"""Scores a query by a learned comparator of its embedding with that of each class.

    .. math:: r_k = g(f(x), c_k), \qquad c_k = \sum_{i : y_i = k} f(x_i)

    as in section 3.2 of [1]_. The comparator g is two blocks of 3 x 3 convolution, BatchNorm, ReLU
    and 2 x 2 max-pooling (as long as a side is two pixels or more) on the feature maps of both, and
    two linear layers. Vectors are maps of one pixel, so that g is a multi-layer perceptron on the
    two vectors. Its initial weights make it a rough distance, of little use untrained.

    Parameters
    ----------
    embedding_shape : tuple of (channels, height, width), tuple of (d,), or int
        Shape of one embedding. Embeddings are always given flat, (channels * height * width).
    n_filters : int, default=64
        Filters of each convolution.
    n_hidden : int, default=8
        Width between the two linear layers.
    pooling : {"mean", "sum"}, default="mean"
        How support examples become :math:`c_k`. The sum is the paper's. When all classes have the
        number of examples of the training, the mean is the same up to a constant that the first
        convolution learns; but it keeps its size when they have other numbers of examples.
    loss : {"mse", "softmax"}, default="mse"
        "mse", the paper's: :math:`r_k` is the sigmoid of g and is drawn to 1 for the query's class
        and to 0 for the others. "softmax": g are the logits of a cross-entropy.

    References
    ----------
    .. [1] Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import RelationHead
    >>> head = RelationHead((64, 5, 5)).eval()
    >>> support, labels = torch.zeros(3, 1600), torch.tensor([0, 1, 1])
    >>> head(torch.zeros(7, 1600), support, labels).shape
    torch.Size([7, 2])
    """

    def __init__(
        self,
        embedding_shape: Sequence[int] | int,
        *,
        n_filters: int = 64,
        n_hidden: int = 8,
        pooling: str = "mean",
        loss: str = "mse",
    ):
        super().__init__()
        positive = [Interval(Integral, 1, None, closed="left")]
        check_parameters(
            self,
            {
                "embedding_shape": [tuple, list, *positive],
                "n_filters": positive,
                "n_hidden": positive,
                "pooling": [StrOptions({"mean", "sum"})],
                "loss": [StrOptions({"mse", "softmax"})],
            },
            embedding_shape=embedding_shape,
            n_filters=n_filters,
            n_hidden=n_hidden,
            pooling=pooling,
            loss=loss,
        )
        self.embedding_shape = _as_map_shape(embedding_shape)
        self.n_filters = n_filters
        self.n_hidden = n_hidden
        self.pooling = pooling
        self._loss = loss  # `loss` is the method of every head
        self.comparator = Comparator(self.embedding_shape, n_filters, n_hidden)

    def enrol(self, support: Tensor, support_labels: Tensor) -> Tensor:
        """Return each class's side of the first convolution, (..., n_classes, H, W, n_filters)."""
        if self.pooling == "mean":
            classes = class_means(support, support_labels)
        else:
            classes, _ = class_sums(support, support_labels)
        return self.comparator.of_class(classes)

    def score(self, queries: Tensor, state: Tensor) -> Tensor:
        """Score queries (..., n_queries, d) against what `enrol` returned."""
        of_query = self.comparator.of_query(queries)  # (..., n_queries, H, W, n_filters)
        if self.training:  # BatchNorm needs all pairs at once
            logits = self.comparator(of_query, state)
        else:
            n_pairs_a_query = state.shape[:-3].numel()
            chunks = of_query.split(max(1, PAIRS // n_pairs_a_query), dim=-4)
            logits = torch.cat([self.comparator(chunk, state) for chunk in chunks], dim=-2)
        return nn.functional.logsigmoid(logits) if self._loss == "mse" else logits

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the loss for labels (..., n_queries).

        For "mse" the mean squared error over all pairs of a query and a class, for "softmax" the
        mean negative log-likelihood over all queries.
        """
        scores, y = scores.flatten(0, -2), y.flatten()
        if self._loss == "softmax":
            return nn.functional.cross_entropy(scores, y)
        same = memberships(y, scores.shape[-1]).to(scores.dtype)
        return nn.functional.mse_loss(scores.exp(), same)


def _as_map_shape(embedding_shape: Sequence[int] | int) -> tuple[int, int, int]:
    """A vector is a map of one pixel."""
    given = tuple(embedding_shape) if isinstance(embedding_shape, Sequence) else (embedding_shape,)
    sides = (*given, 1, 1) if len(given) == 1 else given
    if len(sides) != 3 or any(not isinstance(side, Integral) or side < 1 for side in sides):
        raise ValueError(
            "embedding_shape must be (channels, height, width), (d,) or an int, all positive, "
            f"got {embedding_shape!r}."
        )
    channels, height, width = map(int, sides)
    return channels, height, width
