"""The loss of the Triplet Network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_batch, check_parameters
from sk_fewshot.distances import Metric
from sk_fewshot.losses._batch_distances import METRIC_CONSTRAINT
from sk_fewshot.losses._triplets import mean_over_triplets


class TripletRatioLoss(nn.Module):
    """Compares the two distances of a triplet by a softmax, without a margin.

    With d_ap the distance from an anchor to an example of the same class and d_an the one to an
    example of another class, ``(p, n) = softmax(d_ap, d_an)`` is to be (0, 1). The loss is the
    squared length of the error [1]_, ``p^2 + (n - 1)^2 = 2 p^2``, between 0 and 2, and the mean is
    taken over all triplets of the batch, every example being an anchor. A batch without a triplet
    gives 0. Memory does not grow with the number of triplets.

    Parameters
    ----------
    metric : str or callable, default="euclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. The paper's
        is "euclidean", not squared.

    Raises
    ------
    InvalidParameterError
        If `metric` is unknown.

    References
    ----------
    .. [1] Hoffer and Ailon, "Deep metric learning using Triplet network", 2015, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import TripletRatioLoss
    >>> embeddings = torch.tensor([[0.0], [0.0], [0.0]])
    >>> TripletRatioLoss()(embeddings, torch.tensor([0, 0, 1]))  # undecided: p = n = 1/2
    tensor(0.5000)
    """

    needs_float64 = True

    def __init__(self, metric: Metric = "euclidean") -> None:
        super().__init__()
        check_parameters(self, {"metric": METRIC_CONSTRAINT}, metric=metric)
        self.metric = metric

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
            If the types or shapes are others.
        """
        check_batch(embeddings, y)
        with full_precision(embeddings, with_float64=True) as z:
            return mean_over_triplets(z, y, self.metric, _squared_error).to(embeddings.device)


def _squared_error(difference: Tensor) -> Tensor:
    return 2 * torch.sigmoid(difference).square()
