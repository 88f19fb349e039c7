"""A multi-layer perceptron for flat features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.validation import check_floating, check_parameters

__all__ = ["MLP"]

INITIAL_SHARE = 0.05


class MLP(nn.Module):
    """A rotation of the scaled input, plus what hidden layers learn.

    Features are centred at their mean and divided by their largest deviation in the training
    batches. A fixed random rotation of them keeps their distances, so that an untrained network
    compares as well as the raw features do. BatchNorm gives the learned part one size, which starts
    at a twentieth and is learned too (on a log scale; LayerScale [1]_ with a single number):
    training on a handful of classes does not undo what the raw features tell.

    Parameters
    ----------
    n_features : int
        Number of input features.
    embedding_dim : int, default=64
        Length of an embedding.
    hidden : sequence of int, default=(256,)
        Widths of the hidden layers, each followed by ReLU. Empty: the learned part is linear.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    References
    ----------
    .. [1] Touvron et al., "Going deeper with image transformers", ICCV 2021.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.encoders import MLP
    >>> MLP(20)(torch.zeros(5, 20)).shape
    torch.Size([5, 64])
    """

    def __init__(self, n_features: int, embedding_dim: int = 64, *, hidden: Sequence[int] = (256,)):
        super().__init__()
        positive = Interval(Integral, 1, None, closed="left")
        check_parameters(
            self,
            {"n_features": [positive], "embedding_dim": [positive], "hidden": ["array-like"]},
            n_features=n_features,
            embedding_dim=embedding_dim,
            hidden=hidden,
        )
        hidden = tuple(hidden)
        if any(not isinstance(width, Integral) or width < 1 for width in hidden):
            raise ValueError(f"hidden must hold positive integers, got {hidden!r}.")
        self.n_features = n_features
        self.embedding_dim = embedding_dim
        self.hidden = hidden
        self.scale = _MaxAbsScaler(n_features)
        self.rotation = nn.Linear(n_features, embedding_dim, bias=False).requires_grad_(False)
        nn.init.orthogonal_(self.rotation.weight)
        widths = (n_features, *hidden)
        self.learned = nn.Sequential(
            *(
                layer
                for n_in, n_out in pairwise(widths)
                for layer in (nn.Linear(n_in, n_out), nn.ReLU())
            ),
            nn.Linear(widths[-1], embedding_dim),
            nn.BatchNorm1d(embedding_dim, affine=False),
        )
        self.log_share = nn.Parameter(torch.tensor(log(INITIAL_SHARE)))

    def forward(self, features: Tensor) -> Tensor:
        """Embed flat features.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
            Floating point.

        Returns
        -------
        Tensor of shape (n, embedding_dim)

        Raises
        ------
        TypeError
            If the features are not a floating point tensor.
        ValueError
            If they do not have the shape (n, n_features).
        """
        check_floating("features", features)
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"features must have shape (n, {self.n_features}), got {tuple(features.shape)}."
            )
        features = self.scale(features)
        return self.rotation(features) + self.log_share.exp() * self.learned(features)


class _MaxAbsScaler(nn.Module):
    """Features centred at the mean and divided by the largest deviation of all training batches.

    A feature that never varied becomes 0: nothing is known about it.
    """

    minimum: Tensor
    maximum: Tensor
    mean: Tensor
    n_seen: Tensor

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("minimum", torch.full((n_features,), torch.inf))
        self.register_buffer("maximum", torch.full((n_features,), -torch.inf))
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("n_seen", torch.tensor(0))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self._update(features.detach())
        deviation = torch.maximum(self.maximum - self.mean, self.mean - self.minimum)
        varied = self.maximum > self.minimum
        factor = torch.where(varied, 1 / deviation, (self.n_seen == 0).to(deviation.dtype))
        return (features - self.mean) * factor

    @torch.no_grad()
    def _update(self, features: Tensor) -> None:
        self.n_seen += len(features)
        self.mean += (features - self.mean).sum(0) / self.n_seen
        self.minimum.copy_(torch.minimum(self.minimum, features.amin(0)))
        self.maximum.copy_(torch.maximum(self.maximum, features.amax(0)))
