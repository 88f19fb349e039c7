"""The angular softmax loss."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from sk_fewshot.losses._directions import lengths
from sk_fewshot.losses._margin_softmax import MarginSoftmaxLoss

LAMBDA_START, LAMBDA_DECAY, LAMBDA_MIN = 1000, 0.12, 5  # of the authors' code


class SphereFaceLoss(MarginSoftmaxLoss):
    """Cross-entropy in which the target's angle counts several times (A-Softmax).

    With theta the angle between an embedding z and the weight of a class, whose length is ignored,
    the logit of the target is ``|z| psi(theta)``, every other ``|z| cos(theta)``, where
    ``psi(theta) = (-1)^k cos(margin * theta) - 2k`` with ``k = floor(margin * theta / pi)`` [1]_.
    The mean is taken over the batch.

    With `annealing`, psi gives way to ``(lambda cos(theta) + psi(theta)) / (1 + lambda)``, where
    ``lambda = max(5, 1000 / (1 + 0.12 t))`` and t is the number of batches seen in training mode
    [1]_: nearly a plain softmax at first.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    embedding_dim : int
        Width of the embeddings.
    margin : int, default=4
        Factor of the angle, without a unit; 1 is no margin. The paper's value.
    annealing : bool, default=True
        Start without the margin. False is psi alone, which hardly trains from scratch.

    Attributes
    ----------
    weight : Parameter of shape (n_classes, embedding_dim)
        One direction per class; its length is ignored.
    step : Tensor
        The t of the annealing, a buffer: saved with the weights, so that a resumed training
        continues it.

    Raises
    ------
    InvalidParameterError
        If an argument is outside of its range.

    References
    ----------
    .. [1] Liu, Wen, Yu, Li, Raj and Song, "SphereFace: Deep Hypersphere Embedding for Face
       Recognition", CVPR 2017, equations 6 and 7; the annealing is in the authors' code and in
       Liu et al., "Large-Margin Softmax Loss", ICML 2016, section 5.1.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import SphereFaceLoss
    >>> loss = SphereFaceLoss(n_classes=2, embedding_dim=2, margin=2, annealing=False)
    >>> with torch.no_grad():
    ...     _ = loss.weight.copy_(torch.eye(2))
    >>> embeddings = torch.tensor([[1.0, 1.0]])
    >>> loss.logits(embeddings).detach()
    tensor([[1., 1.]])
    >>> loss(embeddings, torch.tensor([0])).detach()  # the target's is |z| cos(90 degrees)
    tensor(1.3133)
    """

    step: Tensor

    def __init__(
        self, n_classes: int, embedding_dim: int, margin: int = 4, annealing: bool = True
    ) -> None:
        super().__init__(
            n_classes,
            embedding_dim,
            {"margin": [Interval(Integral, 1, None, closed="left")], "annealing": ["boolean"]},
            margin=margin,
            annealing=annealing,
        )
        self.margin = margin
        self.annealing = annealing
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        loss = super().forward(embeddings, y)
        if self.training:
            self.step += 1
        return loss

    forward.__doc__ = MarginSoftmaxLoss.forward.__doc__

    def _scaled(self, z: Tensor) -> Tensor:
        return z

    def _length(self, z: Tensor) -> Tensor:
        return lengths(z)

    def _with_margin(self, cosine: Tensor) -> Tensor:
        with torch.no_grad():
            k = torch.floor(self.margin * torch.arccos(cosine) / math.pi)
            sign = 1 - 2 * k.remainder(2)
        psi = sign * _cos_of_multiple(cosine, self.margin) - 2 * k
        if not self.annealing:
            return psi
        step = self.step.to(cosine.dtype)
        weight = (LAMBDA_START / (1 + LAMBDA_DECAY * step)).clamp(min=LAMBDA_MIN)
        return (weight * cosine + psi) / (1 + weight)


def _cos_of_multiple(cosine: Tensor, multiple: int) -> Tensor:
    """Chebyshev polynomial: cos(multiple * theta) from cos(theta), smooth at every angle."""
    previous, current = torch.ones_like(cosine), cosine
    for _ in range(multiple - 1):
        previous, current = current, 2 * cosine * current - previous
    return current
