"""File names to pixels, when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import IO, TYPE_CHECKING, ClassVar, Union

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.datasets._image_decode import MAX_PIXELS, check_pillow, max_bytes
from sk_fewshot.datasets._image_file import check_n_bytes, read_file
from sk_fewshot.datasets._image_pixels import height_width, read_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Source = Union[str, os.PathLike, bytes, IO[bytes], "Image"]


class ImageReader(BaseEstimator):
    """Read image files as a tensor: a function of a list of file names.

    ``reader(names)`` gives a float32 tensor of shape (n, C, H, W) on the CPU, for ``names`` a
    sequence of n file names; a list of one for one image. In their place may stand the content of
    files as bytes, files open in binary mode, and Pillow images. An image that cannot be read
    raises an error that names it.

    There is no ``fit``. ``get_params`` and ``set_params`` make the reader part of ``clone`` and of
    grid searches where it is a parameter of another estimator. It can be pickled and called from
    several threads and processes, and the same file always gives the same values.

    Parameters
    ----------
    image_size : int or tuple of (int, int), default=84
        Height and width of the result in pixels; an int for both.
    color_mode : {"rgb", "grayscale"}, default="rgb"
        Three channels or one. What is transparent becomes white.
    crop : float or None, default=1.0
        The share of the tighter side that is kept. An image is resized until it covers
        ``image_size / crop``, its aspect ratio kept, and its middle is cropped. 1.0 does what
        torchvision's ``Resize(size)`` and ``CenterCrop(size)`` do, 0.875 what ``Resize(256)`` and
        ``CenterCrop(224)`` do, and timm's ``crop_pct``. None squashes the whole image to
        ``image_size``, as :func:`load_image_folder` does by default.
    mean, std : float, sequence of one float for each channel, or None, default=None
        The result is ``(pixels - mean) / std`` with pixels from 0 (black) to 1 (white). None: 0
        and 1. ImageNet's, which most pretrained networks want, are ``(0.485, 0.456, 0.406)`` and
        ``(0.229, 0.224, 0.225)``.
    interpolation : {"bilinear", "bicubic", "lanczos", "box"}, default="bilinear"
        Pillow's filter, antialiased.
    draft : bool, default=True
        Decode JPEG images at a half, a quarter or an eighth of their size where that leaves at
        least twice the pixels across that are needed. It saves half of the time and more. False
        gives exactly the values of torchvision's transforms on Pillow images.
    max_pixels : int, default=67108864
        Images with more pixels are refused before they are decoded, and so are files of more than
        8 bytes for each of these pixels and 16 MB. Reading an image takes up to 16 bytes a pixel.

    See Also
    --------
    list_images : The file names, labels and class names of a folder.
    load_image_folder : All images of a folder at once.

    Notes
    -----
    AVIF, BMP, GIF, HEIC, JPEG, PNG, PPM, TIFF and WebP images are read; of several frames the first
    one. HEIC needs the plug-in pillow-heif, AVIF Pillow 11.3. Images are turned upright as their
    EXIF data say. Grey images of 16 bits are read in full, of colours the upper 8 bits of each
    channel.

    Any function from a list of file names to a tensor is a reader. So is any transform of
    torchvision or timm, in one line::

        def reader(names):
            return torch.stack([transform(Image.open(name).convert("RGB")) for name in names])

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sk_fewshot.datasets import ImageReader
    >>> reader = ImageReader(32, mean=0.5, std=0.5)
    >>> with TemporaryDirectory() as folder:
    ...     new = Path(folder, "new.jpg")
    ...     Image.new("RGB", (60, 40), "white").save(new)
    ...     X = reader([new])
    >>> X.shape, X.dtype, X.max()
    (torch.Size([1, 3, 32, 32]), torch.float32, tensor(1.))
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple],
        "color_mode": [StrOptions({"grayscale", "rgb"})],
        "crop": [Interval(Real, 0, 1, closed="right"), None],
        "mean": [Real, "array-like", None],
        "std": [Real, "array-like", None],
        "interpolation": [StrOptions({"bilinear", "bicubic", "lanczos", "box"})],
        "draft": ["boolean"],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        image_size=84,
        color_mode="rgb",
        *,
        crop=1.0,
        mean=None,
        std=None,
        interpolation="bilinear",
        draft=True,
        max_pixels=MAX_PIXELS,
    ):
        self.image_size = image_size
        self.color_mode = color_mode
        self.crop = crop
        self.mean = mean
        self.std = std
        self.interpolation = interpolation
        self.draft = draft
        self.max_pixels = max_pixels

    def __call__(self, images: Iterable[Source]) -> torch.Tensor:
        """Read images.

        Parameters
        ----------
        images : sequence of str, path-like, bytes, binary files or PIL images, of length n
            File names; or the content of files, as bytes or to be read from where the file
            stands; or images. A list of one for one image.

        Returns
        -------
        torch.Tensor of shape (n, 3, H, W) for "rgb", (n, 1, H, W) for "grayscale", float32
            On the CPU.

        Raises
        ------
        OSError
            If a file cannot be opened. It is named.
        ValueError
            If an image is damaged, too large, of another format, or no regular file. It is named.
        TypeError
            If ``images`` is a single image, or holds something else.
        ImportError
            If Pillow is not installed.
        """
        check_pillow("ImageReader")
        self._validate_params()
        size = height_width(self.image_size, "ImageReader")
        n_channels = 1 if self.color_mode == "grayscale" else 3
        mean = _per_channel("mean", self.mean, 0, n_channels)
        std = _per_channel("std", self.std, 1, n_channels)
        images = _as_list(images)
        pixels = np.empty((len(images), n_channels, *size), dtype=np.float32)
        for i, image in enumerate(images):
            is_path = isinstance(image, (str, os.PathLike))
            name = repr(os.fspath(image)) if is_path else f"images[{i}]"
            try:
                pixels[i] = read_pixels(
                    _content(image, max_bytes(self.max_pixels)),
                    size,
                    self.color_mode,
                    crop=self.crop,
                    interpolation=self.interpolation,
                    draft=self.draft,
                    max_pixels=self.max_pixels,
                )
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from error
            except ValueError as error:
                raise ValueError(f"{name} cannot be read as an image: {error}.") from error
            except OSError as error:
                if error.filename is None:
                    raise OSError(error.errno, error.strerror, name) from error
                raise
        pixels -= mean
        pixels /= std
        return as_tensor(pixels)


def _as_list(images) -> list:
    from PIL import Image

    one = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image)
    if isinstance(images, one) or hasattr(images, "read") or not isinstance(images, Iterable):
        raise TypeError(
            f"ImageReader reads a list of images, got {type(images).__name__}. For a single image "
            "give a list of one."
        )
    return list(images)


def _content(image: Source, limit: int) -> bytes | Image:
    """The bytes of an image, or the image itself if it is Pillow's."""
    from PIL import Image

    if isinstance(image, (str, os.PathLike)):
        return read_file(image, limit)
    if isinstance(image, Image.Image):
        return image
    content = image.read(limit + 1) if hasattr(image, "read") else image
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(
            "an image must be a file name, bytes, a file open in binary mode or a PIL image, "
            f"got {type(image).__name__}"
        )
    content = bytes(content)
    check_n_bytes(len(content), limit)
    return content


def _per_channel(name: str, value, default: float, n_channels: int) -> np.ndarray:
    """A parameter as an array that broadcasts with pixels (n, C, H, W)."""
    try:
        numbers = np.asarray(default if value is None else value, dtype=np.float32)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    good = numbers.shape in ((), (n_channels,)) and np.isfinite(numbers).all()
    if not good or (name == "std" and (numbers <= 0).any()):
        raise ValueError(
            f"The '{name}' parameter of ImageReader must be a finite number or a sequence of "
            f"{n_channels}, one for each channel{', above 0' * (name == 'std')}. "
            f"Got {value!r} instead."
        )
    return numbers.reshape(-1, 1, 1)
