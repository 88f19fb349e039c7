"""The triplet loss."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_batch, check_parameters
from sk_fewshot.distances import Metric
from sk_fewshot.losses._batch_distances import METRIC_CONSTRAINT
from sk_fewshot.losses._directions import rows_of_length
from sk_fewshot.losses._triplets import mean_over_hardest, mean_over_hinges, mean_over_triplets


class TripletLoss(nn.Module):
    """Wants every example nearer to its own class than to others, by a margin.

    With d_ap the distance from an anchor to a positive, an example of the same class, and d_an the
    one to a negative, of another class, a triplet costs ``max(0, d_ap - d_an + margin)`` [1]_ or,
    with `soft`, ``log(1 + exp(d_ap - d_an))`` [2]_. The mean is taken over

    - mining="all": all triplets with a positive loss; with `soft` every loss is positive.
    - mining="semihard": all triplets with ``d_ap < d_an < d_ap + margin``. FaceNet draws one such
      negative for each pair of anchor and positive; this is the mean over all that it may draw.
    - mining="hard": all anchors that have a positive and a negative, each with its farthest
      positive and its nearest negative ("batch hard"), also those without a loss.

    A batch without such a triplet gives 0. Every example is an anchor. No list of triplets is held
    in memory.

    Parameters
    ----------
    margin : float, default=0.2
        In units of the metric: of the squared distance for "sqeuclidean". With `soft` it only
        bounds what is semi-hard.
    mining : {"semihard", "hard", "all"}, default="semihard"
        Which triplets count.
    metric : str or callable, default="sqeuclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable. FaceNet's is
        "sqeuclidean", with `normalize`; batch hard was published with "euclidean", without.
    normalize : bool, default=True
        Put the embeddings on the unit sphere first.
    soft : bool, default=False
        Softplus instead of the hinge.

    Raises
    ------
    InvalidParameterError
        If an argument is not one of those above.

    References
    ----------
    .. [1] Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition
       and Clustering", CVPR 2015, equations 2 to 4.
    .. [2] Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
       2017, equation 5 (batch hard) and section 2, "soft margin".

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import TripletLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> TripletLoss(margin=0.2, mining="hard")(embeddings, y)
    tensor(0.6000)
    """

    needs_float64 = True

    def __init__(
        self,
        margin: float = 0.2,
        mining: str = "semihard",
        metric: Metric = "sqeuclidean",
        normalize: bool = True,
        soft: bool = False,
    ) -> None:
        super().__init__()
        check_parameters(
            self,
            {
                "margin": [Interval(Real, 0, None, closed="left")],
                "mining": [StrOptions({"all", "hard", "semihard"})],
                "metric": METRIC_CONSTRAINT,
                "normalize": ["boolean"],
                "soft": ["boolean"],
            },
            margin=margin,
            mining=mining,
            metric=metric,
            normalize=normalize,
            soft=soft,
        )
        self.margin = margin
        self.mining = mining
        self.metric = metric
        self.normalize = normalize
        self.soft = soft

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
            return self._mean(rows_of_length(z) if self.normalize else z, y).to(embeddings.device)

    def _mean(self, z: Tensor, y: Tensor) -> Tensor:
        if self.mining == "hard":
            return mean_over_hardest(z, y, self.metric, _softplus if self.soft else self._hinge)
        semihard = self.mining == "semihard"
        if not self.soft:
            return mean_over_hinges(z, y, self.metric, self.margin, semihard)
        chosen = self._semihard if semihard else None
        return mean_over_triplets(z, y, self.metric, _softplus, chosen)

    def _hinge(self, difference: Tensor) -> Tensor:
        return F.relu(difference + self.margin)

    def _semihard(self, difference: Tensor) -> Tensor:
        return (difference < 0) & (difference > -self.margin)


def _softplus(difference: Tensor) -> Tensor:
    return -F.logsigmoid(-difference)
