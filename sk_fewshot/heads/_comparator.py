"""The comparator of Relation Networks, which never builds a concatenation."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot._utils.precision import limited

_MOMENTUM = 0.1


class Comparator(nn.Module):
    """Two convolution blocks and two linear layers on all pairs of a query and a class.

    A convolution over the concatenation of two maps is the sum of one over each, so each map is
    convolved once, not once a pair. Likewise the BatchNorm that follows needs no pass over the
    pairs: all queries meet all classes, so that its statistics follow from those of both sides.

    Parameters
    ----------
    map_shape : tuple of (channels, height, width)
        Shape of one embedding.
    n_filters : int
    n_hidden : int
    """

    def __init__(self, map_shape: tuple[int, int, int], n_filters: int, n_hidden: int):
        super().__init__()
        self.map_shape = map_shape
        channels, height, width = map_shape
        size = 1 if height == width == 1 else 3

        def convolution(n_in: int) -> nn.Conv2d:  # BatchNorm has the bias
            return nn.Conv2d(n_in, n_filters, size, padding=size // 2, bias=False)

        self.query_convolution = convolution(channels)
        self.class_convolution = convolution(channels)
        self.norm = nn.BatchNorm2d(n_filters, momentum=_MOMENTUM)
        pools = [min(height, width) >> i > 1 for i in range(2)]
        self.pool = nn.MaxPool2d(2) if pools[0] else nn.Identity()
        self.block = nn.Sequential(
            convolution(n_filters),
            nn.BatchNorm2d(n_filters),
            nn.MaxPool2d(2) if pools[1] else nn.Identity(),
            nn.ReLU(inplace=True),
        )
        n_poolings = sum(pools)
        n_flat = n_filters * (height >> n_poolings) * (width >> n_poolings)
        self.linear = nn.Sequential(
            nn.Linear(n_flat, n_hidden), nn.ReLU(inplace=True), nn.Linear(n_hidden, 1)
        )
        self._start_as_a_distance()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _start_as_a_distance(self) -> None:
        """Let the untrained comparator fall with the differences that random filters see.

        Started at random instead, its few hidden units often die in the first steps: nearly all
        pairs pull it the same way, to "different".
        """
        convolution, first, second = map(
            self.get_parameter, ("block.0.weight", "linear.0.weight", "linear.2.weight")
        )
        if convolution.is_meta:  # `load` fills what it has made without memory
            return
        with torch.no_grad():
            self.class_convolution.weight.copy_(-self.query_convolution.weight)
            nn.init.dirac_(convolution).add_(0.02 * torch.randn_like(convolution))
            first.abs_()
            second.copy_(-second.abs())

    def of_query(self, embeddings: Tensor) -> Tensor:
        """Query's side of the first convolution: (..., n, d) to (..., n, H, W, n_filters)."""
        return self._convolve(self.query_convolution, embeddings)

    def of_class(self, embeddings: Tensor) -> Tensor:
        """Class's side of the first convolution: (..., n, d) to (..., n, H, W, n_filters)."""
        return self._convolve(self.class_convolution, embeddings)

    def forward(self, queries: Tensor, classes: Tensor) -> Tensor:
        """Compare all pairs.

        Parameters
        ----------
        queries : Tensor of shape (..., n_queries, H, W, n_filters)
            From :meth:`of_query`.
        classes : Tensor of shape (..., n_classes, H, W, n_filters)
            From :meth:`of_class`.

        Returns
        -------
        Tensor of shape (..., n_queries, n_classes)
            Logits.
        """
        scale, shift = self._normalisation(queries, classes)
        pairs = (queries * scale).unsqueeze(-4) + (classes * scale + shift).unsqueeze(-5)
        maps = pairs.flatten(0, -4).permute(0, 3, 1, 2)  # (n_pairs, n_filters, H, W)
        maps = self.block(F.relu(self.pool(maps)))
        return self.linear(maps.flatten(1)).view(pairs.shape[:-3])

    def _convolve(self, convolution: nn.Conv2d, embeddings: Tensor) -> Tensor:
        n_numbers = prod(self.map_shape)
        if embeddings.shape[-1] != n_numbers:
            raise ValueError(
                f"embeddings must have {n_numbers} columns for embedding_shape={self.map_shape}, "
                f"got {embeddings.shape[-1]}."
            )
        maps = limited(embeddings, convolution.weight.dtype).reshape(-1, *self.map_shape)
        maps = convolution(maps.contiguous(memory_format=torch.channels_last))
        return maps.permute(0, 2, 3, 1).unflatten(0, embeddings.shape[:-1])

    def _normalisation(self, queries: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (n_filters,) of a BatchNorm over queries + classes, all pairs."""
        norm = self.norm
        running_mean, running_variance = map(norm.get_buffer, ("running_mean", "running_var"))
        if self.training:
            mean, variance = _moments_of_sums(queries, classes)
            n = queries.shape[:-1].numel() * classes.shape[-4]
            unbiased = variance * (n / max(n - 1, 1))
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), _MOMENTUM)
                running_variance.lerp_(unbiased.to(running_variance), _MOMENTUM)
                norm.get_buffer("num_batches_tracked").add_(1)
        else:
            mean, variance = running_mean, running_variance
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return scale, norm.bias - mean * scale


def _moments_of_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (c,) of x_i + y_j over all pairs i, j, pixels and leading dimensions.

    x is (..., n, H, W, c), y is (..., m, H, W, c).
    """
    mean_x, mean_y = x.flatten(0, -2).mean(0), y.flatten(0, -2).mean(0)
    x, y = x - mean_x, y - mean_y
    together = (x.mean(-4) * y.mean(-4)).flatten(0, -2).mean(0)
    variance = x.square().flatten(0, -2).mean(0) + y.square().flatten(0, -2).mean(0) + 2 * together
    return mean_x + mean_y, variance
