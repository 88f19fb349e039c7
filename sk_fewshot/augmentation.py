"""Random changes of images, drawings freed of place and size, symmetries as further classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from torch import Tensor
from torch.nn import functional as F

from sk_fewshot._utils.containers import as_rows
from sk_fewshot._utils.device import as_tensor
from sk_fewshot._utils.validation import check_parameters

__all__ = ["RandomAffine", "normalize_moments", "symmetries_as_classes"]

_OVERSAMPLING = 3  # samples a pixel along each axis
_LEAST_SPREAD = 0.2  # of a direction, as a share of the drawing's
_CHUNK = 256


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
        are_numbers = all(isinstance(side, Real) for side in self.scale)
        if (
            len(self.scale) != 2
            or not are_numbers
            or not 0 < self.scale[0] <= self.scale[1] < math.inf
        ):
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
        is_tensor = isinstance(images, Tensor)
        if not is_tensor or images.ndim != 4 or not images.is_floating_point():
            got = f"{images.dtype} of shape {tuple(images.shape)}" if is_tensor else type(images)
            raise ValueError(
                "images must be a floating point tensor of shape (n, channels, height, width), "
                f"got {got}."
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


@validate_params(
    {
        "images": ["array-like"],
        "size": [Interval(Integral, 1, None, closed="left"), None],
        "strength": [Interval(Real, 0, 1, closed="both")],
        "extent": [Interval(Real, 0, None, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def normalize_moments(
    images: ArrayLike, *, size: int | None = None, strength: float = 0.5, extent: float = 4.2
) -> NDArray[np.float32]:
    r"""Redraw each image so that place, size and, in part, slant and proportions are all alike.

    With the brightness of a drawing as a mass, let :math:`\mu` be its centre, :math:`\Sigma` its
    covariance and :math:`\sigma^2 = \mathrm{tr}\,\Sigma / 2`. The new image shows at u, measured
    from its centre in units of its half side, what the old one has at

    .. math:: \mu + \frac{e \sigma}{2} \left(\frac{\Sigma}{\sigma^2}\right)^{a / 2} u,

    with the `extent` e and the `strength` a: the normalization by moments of character recognition
    [1]_, taken part of the way. An encoder need not learn what is gone from the images, which
    counts where there are few training classes. It commutes with quarter turns and mirroring, so
    that :func:`symmetries_as_classes` may follow.

    Parameters
    ----------
    images : array-like of shape (n, height, width) or (n, channels, height, width)
        Bright drawings on black: no negative values, of one mass over all channels. Large images
        keep detail that the result has room for.
    size : int or None, default=None
        Height and width of the result in pixels. None: the smaller side of the images.
    strength : float, default=0.5
        a: 0 moves and magnifies only, 1 gives all drawings the same covariance, a circle's.
        A direction counts as at least a fifth as wide as the drawing, so that a line stays a line.
    extent : float, default=4.2
        e: the side of the result in standard deviations of the drawing.

    Returns
    -------
    ndarray of shape (n, size, size) or (n, channels, size, size), float32
        Each pixel is the mean of nine bilinear samples. A blank image stays blank.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or the images have another number of dimensions or values
        that are negative or not finite.

    References
    ----------
    .. [1] Casey, "Moment normalization of handprinted characters", IBM Journal of Research and
       Development 14(5), 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.augmentation import normalize_moments
    >>> drawings = np.zeros((2, 30, 30))
    >>> drawings[0, 2:8, 3:9] = 1  # a small square in a corner
    >>> drawings[1, 6:24, 8:26] = 1  # a large one
    >>> small, large = normalize_moments(drawings, size=6)
    >>> np.allclose(small, large, atol=1e-5)
    True
    """
    X = np.asarray(as_rows(images, "images"))
    if X.ndim not in (3, 4):
        raise ValueError(
            "images must have shape (n, height, width) or (n, channels, height, width), "
            f"got {X.shape}."
        )
    if not np.isfinite(X).all() or (X < 0).any():
        raise ValueError("images must hold finite values of 0 or more, bright on black.")
    size = min(X.shape[-2:]) if size is None else size
    out = np.empty((*X.shape[:-2], size, size), dtype=np.float32)
    for start in range(0, len(X), _CHUNK):
        chunk = as_tensor(X[start : start + _CHUNK].astype(np.float32))
        drawings = chunk if X.ndim == 4 else chunk.unsqueeze(1)  # (n, channels, height, width)
        fine = [*drawings.shape[:2], size * _OVERSAMPLING, size * _OVERSAMPLING]
        grid = F.affine_grid(_moment_maps(drawings, strength, extent), fine, align_corners=False)
        sampled = F.grid_sample(drawings, grid, align_corners=False)
        pixels = F.avg_pool2d(sampled, _OVERSAMPLING)
        out[start : start + _CHUNK] = pixels.view(out[start : start + _CHUNK].shape).numpy()
    return out


def _moment_maps(images: Tensor, strength: float, extent: float) -> Tensor:
    """Maps (n, 2, 3) from new to old coordinates, each axis running from -1 to 1."""
    height, width = images.shape[2:]
    half = torch.tensor([width, height]) / 2
    mass = images.sum(1)  # (n, height, width)
    mass = mass / mass.sum((1, 2), keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    x = torch.arange(width) + 0.5 - half[0]
    y = torch.arange(height) + 0.5 - half[1]
    centre = torch.stack([mass.sum(1) @ x, mass.sum(2) @ y], dim=1)  # (n, 2), in pixels
    from_x, from_y = x - centre[:, :1], y - centre[:, 1:]  # (n, width), (n, height)
    pixel = 1 / 12  # variance of a pixel's own extent
    xx = (mass.sum(1) * from_x**2).sum(1) + pixel
    yy = (mass.sum(2) * from_y**2).sum(1) + pixel
    xy = torch.einsum("nhw,nh,nw->n", mass, from_y, from_x)
    variance = (xx + yy) / 2
    covariance = torch.stack([xx, xy, xy, yy], dim=1).view(-1, 2, 2) / variance.view(-1, 1, 1)
    values, axes = torch.linalg.eigh(covariance)
    powers = values.clamp(min=_LEAST_SPREAD**2) ** (strength / 2)
    maps = (axes * powers.unsqueeze(1)) @ axes.mT * (extent / 2 * variance.sqrt()).view(-1, 1, 1)
    return torch.cat([maps, centre.unsqueeze(2)], dim=2) / half.view(1, 2, 1)


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
    X = np.asarray(as_rows(X))
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
