"""Random changes of image batches, and symmetries of images as further classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.nn import functional as F

from sk_fewshot._validation import check_parameters

__all__ = ["RandomAffine", "symmetries_as_classes"]


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, shear, scale, shift and mirror each image of a batch at random.

    Every image has its own draw, uniform in each range, from torch's global CPU generator
    whatever the device of the images. Pixels are interpolated bilinearly.

    Parameters
    ----------
    degrees : float, default=10
        Rotation about the centre, within +-degrees.
    translate : float, default=0.1
        Shift along each axis, within +-this share of the image's width and height.
    scale : tuple of (float, float), default=(0.9, 1.1)
        Range of the magnification of the drawing.
    shear : float, default=5
        Slant along the horizontal axis, within +-shear degrees.
    padding_mode : {"zeros", "border", "reflection"}, default="zeros"
        What comes in from outside the image: "zeros" suits bright ink on black, "border" (the
        nearest pixel) suits other backgrounds and photographs.
    flip : float, default=0.0
        Probability that left and right are exchanged: 0.5 suits faces, 0 characters.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.augmentation import RandomAffine
    >>> RandomAffine(degrees=15)(torch.rand(4, 1, 28, 28)).shape
    torch.Size([4, 1, 28, 28])
    """

    degrees: float = 10.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 5.0
    padding_mode: str = "zeros"
    flip: float = 0.0

    def __post_init__(self) -> None:
        check_parameters(
            self,
            {
                "degrees": [Interval(Real, 0, 180, closed="both")],
                "translate": [Interval(Real, 0, 1, closed="both")],
                "scale": [tuple],
                "shear": [Interval(Real, 0, 90, closed="left")],
                "padding_mode": [StrOptions({"zeros", "border", "reflection"})],
                "flip": [Interval(Real, 0, 1, closed="both")],
            },
            **vars(self),
        )
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale must be (low, high) with 0 < low <= high, got {self.scale!r}.")

    def __call__(self, images: Tensor) -> Tensor:
        """Change a batch.

        Parameters
        ----------
        images : Tensor of shape (n, channels, height, width)
            Floating point, on any device.

        Returns
        -------
        Tensor of the same shape, dtype and device

        Raises
        ------
        ValueError
            If the images have another type or number of dimensions.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                "images must be a floating point tensor of shape (n, channels, height, width), "
                f"got {images.dtype} of shape {tuple(images.shape)}."
            )
        height, width = images.shape[2:]
        grid = F.affine_grid(
            self._draw(len(images), width / height).to(images),  # (n, 2, 3)
            list(images.shape),
            align_corners=False,
        )  # (n, height, width, 2)
        return F.grid_sample(images, grid, padding_mode=self.padding_mode, align_corners=False)

    def _draw(self, n: int, aspect: float) -> Tensor:
        """Maps from new to old coordinates, each axis running from -1 to 1."""
        draws = 2 * torch.rand(5, n) - 1  # (5, n), each in [-1, 1)
        angle, slant = math.radians(self.degrees) * draws[0], math.radians(self.shear) * draws[1]
        low, high = self.scale
        zoom = (low + high + (high - low) * draws[2]) / 2
        shift = 2 * self.translate * draws[3:]  # (2, n)
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        rows = [cos, (sin + cos * slant.tan()) / aspect, shift[0]]
        rows += [-sin * aspect, cos - sin * slant.tan(), shift[1]]
        maps = torch.stack(rows, dim=1).unflatten(1, (2, 3))  # (n, 2, 3)
        if self.flip:
            maps[torch.rand(n) < self.flip, :, 0] *= -1
        return maps


def symmetries_as_classes(
    X: ArrayLike, y: ArrayLike, *, kind: str = "rotations"
) -> tuple[NDArray, NDArray[np.int64]]:
    """Add turned images as examples of further classes.

    A character turned by 90 degrees is another character: the papers [1]_ (section 4.1.1), [2]_
    (section 3.1) get four times the classes from it. A class that looks the same when turned (a
    circle) appears as several classes.

    Parameters
    ----------
    X : array-like of shape (n, height, width) or (n, channels, height, width)
        Square images.
    y : array-like of shape (n,)
        Labels of any type.
    kind : {"rotations", "dihedral"}, default="rotations"
        The four rotations by multiples of 90 degrees, or the eight symmetries of the square, which
        add the mirror images.

    Returns
    -------
    X_all : ndarray of shape (k * n, ...)
        k = 4 or 8 copies, the unchanged images first and in their order. Same dtype as ``X``.
    y_all : ndarray of shape (k * n,), int64
        ``symmetry * n_classes + c``, where c counts the sorted labels of ``y``: below n_classes for
        the unchanged images.

    Raises
    ------
    ValueError
        If ``kind`` is unknown, the images are not square, or the lengths of X and y differ.

    References
    ----------
    .. [1] Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016.
    .. [2] Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.augmentation import symmetries_as_classes
    >>> X_all, y_all = symmetries_as_classes(np.zeros((2, 8, 8)), ["a", "b"])
    >>> X_all.shape, y_all
    ((8, 8, 8), array([0, 1, 2, 3, 4, 5, 6, 7]))
    """
    if kind not in ("rotations", "dihedral"):
        raise ValueError(f"kind must be 'rotations' or 'dihedral', got {kind!r}.")
    X = np.asarray(X)
    if X.ndim not in (3, 4) or X.shape[-1] != X.shape[-2]:
        raise ValueError(
            "X must hold square images, shape (n, side, side) or (n, channels, side, side), "
            f"got {X.shape}."
        )
    check_consistent_length(X, y)
    encoder = LabelEncoder().fit(y)
    originals = [X] if kind == "rotations" else [X, X[..., ::-1]]
    turned = [np.rot90(images, k, axes=(-2, -1)) for images in originals for k in range(4)]
    symmetry = np.arange(len(turned)).repeat(len(X))
    codes = np.tile(encoder.transform(y), len(turned))
    return np.concatenate(turned), symmetry * len(encoder.classes_) + codes
