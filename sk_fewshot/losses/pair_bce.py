"""Binary cross-entropy on pairs."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot._utils.device import labels_on
from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import (
    check_batch,
    check_given_pairs,
    check_parameters,
    check_width,
)
from sk_fewshot.distances import Metric, pairwise_distances
from sk_fewshot.losses._batch_distances import METRIC_CONSTRAINT
from sk_fewshot.losses._class_members import ClassMembers
from sk_fewshot.losses._rows import row_chunks, sum_over_rows


class PairBCELoss(nn.Module):
    """Learns the probability that two examples are of one class.

    ``p(same) = sigmoid(logit)``, where the logit of a pair x, y is

    - metric="manhattan": ``sum_j weight_j |x_j - y_j| + bias``, with a learned weight for each
      coordinate [1]_;
    - any other: ``scale * similarity + bias``, where the similarity is the cosine for "cosine" and
      minus the distance otherwise ("dot": the inner product), scale and bias learned.

    The loss is the binary cross-entropy with label 1 for same and 0 for different. The mean is
    taken over all pairs i < j of the batch, weighted so that the pairs of the same and of different
    classes carry half of the weight each, as if drawn half and half; a batch with one kind of
    pairs is the plain mean over that kind. A batch without a pair gives 0.

    Parameters
    ----------
    embedding_dim : int
        Width of the embeddings.
    metric : str or callable, default="manhattan"
        How two embeddings are compared: a name in :data:`~sk_fewshot.distances.METRICS`, or a
        callable. The paper's is "manhattan".

    Attributes
    ----------
    weight : Parameter of shape (embedding_dim,)
        For "manhattan", at first ``-30 / embedding_dim`` each: minus 30 times the mean
        difference. From a start near 0, a few classes teach it weights of both signs, by which
        two examples are the more alike the more some coordinates differ.
    scale : Parameter of shape ()
        For any other metric, at first 10 for "cosine" and 1 otherwise.
    bias : Parameter of shape ()
        At first 10 for "manhattan" (even odds at a mean difference of 1/3), -5 for "cosine" (at a
        cosine of one half), 0 for "dot" and 1 otherwise.

    Raises
    ------
    InvalidParameterError
        If `embedding_dim` is not a positive integer or `metric` is unknown.

    References
    ----------
    .. [1] Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition",
       2015, sections 3.1 and 3.2.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import PairBCELoss
    >>> loss = PairBCELoss(embedding_dim=2)
    >>> x = torch.tensor([[0.0, 0.0], [0.1, 0.9]])
    >>> loss.pair_logits(x, x).detach()  # 10 - 30 times the mean difference
    tensor([[10., -5.],
            [-5., 10.]])
    >>> loss(x, torch.tensor([0, 0])) > loss(x, torch.tensor([0, 1]))
    tensor(True)
    """

    needs_float64 = True

    def __init__(self, embedding_dim: int, metric: Metric = "manhattan") -> None:
        super().__init__()
        check_parameters(
            self,
            {
                "embedding_dim": [Interval(Integral, 1, None, closed="left")],
                "metric": METRIC_CONSTRAINT,
            },
            embedding_dim=embedding_dim,
            metric=metric,
        )
        self.embedding_dim = embedding_dim
        self.metric = metric
        starts = {"manhattan": (-30.0, 10.0), "cosine": (10.0, -5.0), "dot": (1.0, 0.0)}
        scale, bias = starts.get(metric if isinstance(metric, str) else "", (1.0, 1.0))
        if metric == "manhattan":
            self.weight = nn.Parameter(torch.full((embedding_dim,), scale / embedding_dim))
        else:
            self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))

    def pair_logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of "same" for every pair of a row of `x` and a row of `y`.

        Parameters
        ----------
        x : Tensor of shape (..., n, d)
            Floating point; half precision is computed in float32. Leading dimensions are batches:
            the pairs of the rows of two tensors (k, d) are ``pair_logits(x[:, None], y[:, None])``,
            (k, 1, 1).
        y : Tensor of shape (..., m, d)
            Of the same dtype and leading dimensions.

        Returns
        -------
        Tensor of shape (..., n, m)
            Their sigmoid is the probability that the two are of one class.

        Raises
        ------
        ValueError
            If the widths are not `embedding_dim`.
        """
        for name, points in (("x", x), ("y", y)):
            check_width(name, points, self.embedding_dim)
        with full_precision(x) as x_full, full_precision(y) as y_full:
            return self._logits(x_full, y_full, *self.parameters())

    def pair_distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus the logits of :meth:`pair_logits`: the smaller, the more probably the same.

        Parameters
        ----------
        x : Tensor of shape (..., n, d)
        y : Tensor of shape (..., m, d)

        Returns
        -------
        Tensor of shape (..., n, m)
        """
        return -self.pair_logits(x, y)

    def of_pairs(self, x: Tensor, y: Tensor, same: Tensor) -> Tensor:
        """Return the mean loss of given pairs.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Embeddings of the first member of each pair.
        y : Tensor of shape (n, d)
            Those of the second, of the same dtype.
        same : Tensor of bool or int of shape (n,)
            True or 1 where both are of one class.

        Returns
        -------
        Tensor
            A scalar, float32 or float64: the plain mean over the pairs, 0 if there are none.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others.
        """
        check_given_pairs(x, y, same)
        logits = self.pair_logits(x.unsqueeze(1), y.unsqueeze(1)).flatten()
        target = labels_on(same, logits.device).to(logits.dtype)
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return bce / max(len(logits), 1)

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Floating point; half precision is computed in float32.
        y : Tensor of int of shape (n,)
            Labels, any values.

        Returns
        -------
        Tensor
            A scalar, float32 or float64.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others, or the width is not `embedding_dim`.
        """
        check_batch(embeddings, y)
        check_width("embeddings", embeddings, self.embedding_dim)
        of_same, of_different = ClassMembers(y).pair_weights

        def terms(rows: slice, z: Tensor, *parameters: Tensor) -> tuple[Tensor, int]:
            logits = self._logits(z[rows], z[rows.start :], *parameters)  # (r, m): i < j only
            same = (y[rows, None] == y[rows.start :]).to(logits.dtype)
            weight = (of_different + (of_same - of_different) * same).triu_(1)
            bce = F.binary_cross_entropy_with_logits(logits, same, weight, reduction="sum")
            return bce, 1

        with full_precision(embeddings, with_float64=True) as z:
            n, d = z.shape
            y = labels_on(y, z.device)
            parameters = [parameter.to(z.device) for parameter in self.parameters()]
            row_elements = n * d if self.metric == "manhattan" else n
            chunks = [slice(0, n)] if callable(self.metric) else row_chunks(n, row_elements)
            loss = sum_over_rows(terms, chunks, z, *parameters)[0].to(z.dtype)
        return loss.to(embeddings.device)

    def _logits(self, x: Tensor, y: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        if self.metric == "manhattan":
            difference = x.unsqueeze(-2) - y.unsqueeze(-3)  # (..., n, m, d)
            size = difference.abs() if torch.is_grad_enabled() else difference.abs_()
            return size @ factor.to(x.dtype) + bias
        distances = pairwise_distances(x, y, self.metric)
        similarity = 1 - distances if self.metric == "cosine" else -distances
        return factor * similarity + bias
