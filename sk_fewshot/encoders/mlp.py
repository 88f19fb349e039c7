"""A multi-layer perceptron for flat features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._validation import check_parameters

__all__ = ["MLP"]


class MLP(nn.Module):
    """Standardised features, hidden layers with ReLU, and a linear path past them.

    The input is standardised by the running mean and variance of the training batches. The
    embedding is the sum of what the hidden layers give and of a linear map of the input, which
    starts as a rotation: an untrained network nearly keeps the distances of its input.

    Parameters
    ----------
    n_features : int
        Number of input features.
    embedding_dim : int, default=64
        Length of an embedding.
    hidden : sequence of int, default=(128,)
        Widths of the hidden layers; an empty one leaves the linear map.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.encoders import MLP
    >>> MLP(20)(torch.zeros(5, 20)).shape
    torch.Size([5, 64])
    """

    def __init__(self, n_features: int, embedding_dim: int = 64, *, hidden: Sequence[int] = (128,)):
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
        self.standardise = nn.BatchNorm1d(n_features, affine=False, momentum=None)
        self.linear = nn.Linear(n_features, embedding_dim, bias=False)
        nn.init.orthogonal_(self.linear.weight)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((n_features, *hidden)):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        if hidden:
            layers.append(nn.Linear(hidden[-1], embedding_dim))
        self.layers = nn.Sequential(*layers)

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
        ValueError
            If the features do not have the shape (n, n_features).
        """
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"features must have shape (n, {self.n_features}), got {tuple(features.shape)}."
            )
        features = self.standardise(features)
        embeddings = self.linear(features)
        return embeddings + self.layers(features) if len(self.layers) else embeddings
