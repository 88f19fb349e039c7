"""One picture to one array, by Pillow, an optional dependency."""

from __future__ import annotations

import struct
from typing import IO, Literal

import numpy as np

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ColorMode = Literal["grayscale", "rgb"]


def check_pillow(caller: str) -> None:
    """Raise an ImportError that says how to install Pillow, unless it is there."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs Pillow to read images: pip install 'sk-fewshot[images]'."
        ) from error


def image_suffixes() -> frozenset[str]:
    """File name endings, in lower case, of the image formats that are read."""
    from PIL import Image

    return frozenset(s for s, name in Image.registered_extensions().items() if name in FORMATS)


def read_image(
    source: IO[bytes],
    size: tuple[int, int],
    color_mode: ColorMode,
    resample: Literal["BOX", "BILINEAR"],
) -> np.ndarray:
    """Read, turn upright, convert and resize one image.

    Parameters
    ----------
    source : binary file
        An image in one of ``FORMATS``, of up to 8 bits a channel.
    size : (int, int)
        Height and width in pixels.
    color_mode : {"grayscale", "rgb"}
        Channels of the result.
    resample : {"BOX", "BILINEAR"}
        Pillow's filter; both average over all the pixels that a smaller pixel covers.

    Returns
    -------
    ndarray of shape (H, W) for "grayscale", (3, H, W) for "rgb", uint8
        What is transparent becomes white.

    Raises
    ------
    ValueError
        If the image is damaged, of another format, too large for Pillow, or has more than 8 bits a
        channel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source, formats=FORMATS) as file:
            if file.mode.startswith(("I", "F")):
                raise ValueError(f"mode {file.mode!r} has more than 8 bits a channel")
            image = ImageOps.exif_transpose(file)
    except UnidentifiedImageError as error:
        raise ValueError(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("L" if color_mode == "grayscale" else "RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling[resample])
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
