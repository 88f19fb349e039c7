"""The additive angular margin loss."""

from __future__ import annotations

import math
from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from sk_fewshot.losses._directions import rows_of_length
from sk_fewshot.losses._margin_softmax import MarginSoftmaxLoss


class ArcFaceLoss(MarginSoftmaxLoss):
    """Cross-entropy over cosines, with the target's angle widened by a margin.

    The logit of the target is ``scale * cos(theta + margin)``, every other ``scale *
    cos(theta)``, with theta the angle between an embedding and the weight of a class; neither's
    length matters [1]_. Beyond ``theta = pi - margin``, where that cosine would rise again, the
    target's logit is ``scale * (cos(theta) - margin * sin(margin))``, as in the authors' code: it
    keeps falling, with a jump down at that angle. The mean is taken over the batch.

    Gradients are finite at every angle: at 0 and pi, where the sine has no slope in the cosine, its
    slope is taken as 0.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    embedding_dim : int
        Width of the embeddings.
    margin : float, default=0.5
        In radians, from 0 up to but not including pi. The paper's value.
    scale : float, default=64
        Of the logits. The paper's value, for large data; small embeddings train better with 16
        to 30.

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
    .. [1] Deng, Guo, Xue and Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
       Recognition", CVPR 2019, equation 3.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import ArcFaceLoss
    >>> loss = ArcFaceLoss(n_classes=2, embedding_dim=2, margin=torch.pi / 2, scale=1)
    >>> with torch.no_grad():
    ...     _ = loss.weight.copy_(torch.eye(2))
    >>> embeddings = torch.tensor([[3.0, 0.0]])
    >>> loss.logits(embeddings).detach()
    tensor([[1., 0.]])
    >>> loss(embeddings, torch.tensor([0])).detach()  # cos(0 + pi / 2), no larger than the other's
    tensor(0.6931)
    """

    def __init__(
        self, n_classes: int, embedding_dim: int, margin: float = 0.5, scale: float = 64
    ) -> None:
        super().__init__(
            n_classes,
            embedding_dim,
            {
                "margin": [Interval(Real, 0, math.pi, closed="left")],
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
        sine_squared = 1 - cosine.square()
        inside = sine_squared > 0
        sine = torch.where(inside, torch.where(inside, sine_squared, 1).sqrt(), 0)
        widened = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        fallback = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine >= math.cos(math.pi - self.margin), widened, fallback)
