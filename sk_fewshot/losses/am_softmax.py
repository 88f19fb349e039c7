"""The additive margin softmax loss."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval
from torch import Tensor

from sk_fewshot.losses._directions import rows_of_length
from sk_fewshot.losses._margin_softmax import MarginSoftmaxLoss


class AMSoftmaxLoss(MarginSoftmaxLoss):
    """Cross-entropy over cosines, from which the target's gives up a margin (CosFace).

    The logit of the target is ``scale * (cos(theta) - margin)``, every other ``scale *
    cos(theta)``, with theta the angle between an embedding and the weight of a class; neither's
    length matters [1]_ [2]_. The mean is taken over the batch.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    embedding_dim : int
        Width of the embeddings.
    margin : float, default=0.35
        In units of the cosine. The papers' value.
    scale : float, default=30
        Of the logits. The value of [1]_; CosFace [2]_ uses 64.

    Attributes
    ----------
    weight : Parameter of shape (n_classes, embedding_dim)
        One direction per class; its length is ignored.

    Raises
    ------
    InvalidParameterError
        If an argument is outside of its range.

    References
    ----------
    .. [1] Wang, Cheng, Liu and Liu, "Additive Margin Softmax for Face Verification", 2018,
       equation 6.
    .. [2] Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018,
       equation 4.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import AMSoftmaxLoss
    >>> loss = AMSoftmaxLoss(n_classes=2, embedding_dim=2, margin=0.5, scale=2)
    >>> with torch.no_grad():
    ...     _ = loss.weight.copy_(torch.eye(2))
    >>> embeddings = torch.tensor([[3.0, 0.0]])
    >>> loss.logits(embeddings).detach()
    tensor([[2., 0.]])
    >>> loss(embeddings, torch.tensor([0])).detach()  # of the logits 2 * (1 - 0.5) and 0
    tensor(0.3133)
    """

    def __init__(
        self, n_classes: int, embedding_dim: int, margin: float = 0.35, scale: float = 30
    ) -> None:
        super().__init__(
            n_classes,
            embedding_dim,
            {
                "margin": [Interval(Real, 0, None, closed="left")],
                "scale": [Interval(Real, 0, None, closed="neither")],
            },
            margin=margin,
            scale=scale,
        )
        self.margin = margin
        self.scale = scale

    def _scaled(self, z: Tensor) -> Tensor:
        return rows_of_length(z, self.scale)

    def _length(self, z: Tensor) -> Tensor:
        return z.new_full((), self.scale)

    def _with_margin(self, cosine: Tensor) -> Tensor:
        return cosine - self.margin
