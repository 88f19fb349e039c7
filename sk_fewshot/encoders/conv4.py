"""The four-block convolutional network of the few-shot papers."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.validation import check_floating, check_parameters

__all__ = ["Conv4"]

N_BLOCKS = 4


class Conv4(nn.Module):
    """Four blocks of 3 x 3 convolution, BatchNorm, ReLU and 2 x 2 max-pooling.

    The embedding network of Matching Networks [1]_ (section 4.1.1) and Prototypical Networks [2]_
    (section 3.1). ReLU comes after the max-pooling here: both are monotone, so the values are equal
    and three quarters of ReLU's work is saved. Weights and activations are held channels-last.

    Parameters
    ----------
    image_shape : tuple of (channels, height, width)
        Shape of one image.
    embedding_dim : int or None, default=None
        Length of an embedding. None keeps the flattened feature maps, as the papers do (64 for
        28 x 28 images); an integer puts one linear layer on top.
    n_filters : int, default=64
        Filters of each convolution.
    n_poolings : int or None, default=None
        How many blocks end in a max-pooling. None: all four, or, for images with a side below 16
        pixels, as many as leave maps of 2 pixels a side (8 x 8: two). Where they are fewer than
        four, the first blocks pool, as in the embedding network of Relation Networks [3]_ (2); in
        images below 16 pixels the last ones, so that a small image keeps its detail for longer.

    Attributes
    ----------
    map_shape : tuple of (n_filters, height, width)
        Shape of the last block's feature maps, before they are flattened.
    embedding_dim : int
        Length of an embedding.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or the images are too small for ``n_poolings``.

    References
    ----------
    .. [1] Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016.
    .. [2] Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.
    .. [3] Sung et al., "Learning to compare: relation network for few-shot learning", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.encoders import Conv4
    >>> Conv4((1, 28, 28))(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 64])
    >>> Conv4((1, 28, 28), n_poolings=2).map_shape
    (64, 7, 7)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        embedding_dim: int | None = None,
        *,
        n_filters: int = 64,
        n_poolings: int | None = None,
    ):
        super().__init__()
        positive = Interval(Integral, 1, None, closed="left")
        check_parameters(
            self,
            {
                "image_shape": ["array-like"],
                "embedding_dim": [positive, None],
                "n_filters": [positive],
                "n_poolings": [Interval(Integral, 0, N_BLOCKS, closed="both"), None],
            },
            image_shape=image_shape,
            embedding_dim=embedding_dim,
            n_filters=n_filters,
            n_poolings=n_poolings,
        )
        self.image_shape = _checked_shape(image_shape)
        channels, height, width = self.image_shape
        possible = min(N_BLOCKS, int(math.log2(min(height, width))))
        is_small = possible < N_BLOCKS
        if n_poolings is None:
            n_poolings = max(possible - is_small, 0)
        elif n_poolings > possible:
            raise ValueError(
                f"n_poolings must be at most {possible} for images of {height} x {width} pixels, "
                f"got {n_poolings}."
            )
        self.n_filters = n_filters
        self.n_poolings = n_poolings
        first = N_BLOCKS - n_poolings if is_small else 0
        self.blocks = nn.Sequential(
            *(
                _block(
                    channels if i == 0 else n_filters,
                    n_filters,
                    pool=first <= i < first + n_poolings,
                )
                for i in range(N_BLOCKS)
            )
        )
        self.map_shape = (n_filters, height >> n_poolings, width >> n_poolings)
        n_maps = math.prod(self.map_shape)
        self._embedding_dim = embedding_dim  # None is not the length of an embedding
        self.embedding_dim = n_maps if embedding_dim is None else embedding_dim
        self.head = nn.Identity() if embedding_dim is None else nn.Linear(n_maps, embedding_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        images : Tensor of shape (n, channels, height, width)
            Floating point, in any memory format.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Flattened feature maps are in the order (n_filters, height, width).

        Raises
        ------
        TypeError
            If the images are not a floating point tensor.
        ValueError
            If they do not have the shape ``(n, *image_shape)``.
        """
        check_floating("images", images)
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"images must have shape (n, {', '.join(map(str, self.image_shape))}), "
                f"got {tuple(images.shape)}."
            )
        maps = self.blocks(images.to(memory_format=torch.channels_last))  # (n, *map_shape)
        return self.head(maps.flatten(1))


def _block(n_in: int, n_out: int, *, pool: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False),  # BatchNorm has the bias
        nn.BatchNorm2d(n_out),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.ReLU(inplace=True),
    )


def _checked_shape(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape as three positive ints."""
    sides = tuple(image_shape)
    if len(sides) != 3 or any(not isinstance(side, Integral) or side < 1 for side in sides):
        raise ValueError(
            "image_shape must be three positive integers (channels, height, width), "
            f"got {image_shape!r}."
        )
    channels, height, width = map(int, sides)
    return channels, height, width
