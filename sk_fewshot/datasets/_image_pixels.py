"""An image to an array of the size and the channels that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from sk_fewshot.datasets._image_decode import MAX_PIXELS, decode, errors_as_value_errors, upright

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.Image import Resampling

ColorMode = Literal["grayscale", "rgb"]
# A draft keeps this many times the pixels across that are needed, as Pillow's thumbnails do.
DRAFT_GAP = 2


def height_width(image_size: int | tuple, caller: str) -> tuple[int, int]:
    """Height and width, or a ValueError that names the parameter."""
    size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if len(size) != 2 or not all(isinstance(s, (int, np.integer)) and s >= 1 for s in size):
        raise ValueError(
            f"The 'image_size' parameter of {caller} must be an int or a tuple of two ints, "
            f"height and width, of at least 1. Got {image_size!r} instead."
        )
    return int(size[0]), int(size[1])


@errors_as_value_errors()
def read_pixels(
    source: bytes | PILImage,
    image_size: tuple[int, int],
    color_mode: ColorMode,
    *,
    crop: float | None = None,
    interpolation: Literal["box", "bilinear", "bicubic", "lanczos"] = "bilinear",
    draft: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode, turn upright, resize, crop and convert one image.

    Parameters
    ----------
    source : bytes or PIL.Image.Image
        An image file's content, or an image.
    image_size : (int, int)
        Height and width of the result.
    color_mode : {"grayscale", "rgb"}
        Channels of the result. What is transparent becomes white.
    crop : float or None
        The share of the tighter side that is kept, around the middle; None: all, squashed.
    interpolation : {"box", "bilinear", "bicubic", "lanczos"}
        Pillow's filter; all average over the pixels that a smaller pixel covers.
    draft : bool
        Whether a JPEG image is decoded no larger than needed.
    max_pixels : int
        The largest number of pixels.

    Returns
    -------
    ndarray of shape (C, H, W), float32
        From 0 (black) to 1 (white).

    Raises
    ------
    ValueError
        If the image cannot be read or is larger than allowed.
    """
    from PIL import Image

    height, width = image_size
    least = (width, height) if crop is None else (floor(width / crop), floor(height / crop))
    if isinstance(source, bytes):
        mode = "L" if color_mode == "grayscale" else "RGB"
        enough = (mode, (least[0] * DRAFT_GAP, least[1] * DRAFT_GAP))
        image, size = decode(source, max_pixels, enough if draft else None)
    else:
        image = upright(source, max_pixels)
        size = image.size
    resize = partial(
        _resize_and_crop,
        resized=least if crop is None else _covering(size, least),
        cropped=(width, height),
        resample=Image.Resampling[interpolation.upper()],
    )
    pixels = _flatten(image, color_mode, resize).astype(np.float32) / np.float32(255)
    if color_mode == "grayscale":
        return pixels[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _covering(size: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    """The smallest width and height in the ratio of an image that cover another's."""
    (width, height), (least_width, least_height) = size, least
    if least_width * height >= least_height * width:
        return least_width, least_width * height // width
    return least_height * width // height, least_height


def _resize_and_crop(
    image: PILImage, resized: tuple[int, int], cropped: tuple[int, int], resample: Resampling
) -> PILImage:
    left, upper = (round((full - side) / 2) for full, side in zip(resized, cropped))
    right, lower = left + cropped[0], upper + cropped[1]
    if resized[0] * resized[1] <= MAX_PIXELS:
        return image.resize(resized, resample).crop((left, upper, right, lower))
    # A line of pixels would become huge in between. In one step it is the same but for rounding.
    x, y = image.width / resized[0], image.height / resized[1]
    box = left * x, upper * y, min(right * x, image.width), min(lower * y, image.height)
    return image.resize(cropped, resample, box)


def _flatten(
    image: PILImage, color_mode: ColorMode, resize: Callable[[PILImage], PILImage]
) -> np.ndarray:
    """Resize an image, transparent parts on white, to values from 0 to 255: (H, W) or (H, W, 3)."""
    from PIL import Image

    mode = "L" if color_mode == "grayscale" else "RGB"
    if image.mode == "F":
        gray = np.asarray(resize(image)).clip(0, 255)
        return gray if mode == "L" else np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        # Colours weighted by their opacity, so that what is transparent does not colour its edges.
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        image = image.convert("RGBa")
        colors, opacity = np.split(np.asarray(resize(image)).astype(np.int16), [3], axis=2)
        image = Image.fromarray((colors + 255 - opacity).clip(max=255).astype(np.uint8))
        return np.asarray(image.convert(mode))
    if image.mode == "LAB":  # which becomes grey only by way of RGB
        image = image.convert("RGB")
    return np.asarray(resize(image.convert(mode)))
