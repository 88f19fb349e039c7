"""The bytes of an image to an upright Pillow image, within limits on what they may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
JPEG = ("JPEG", "MPO")
# How an ISO media file begins, and what Pillow needs to read it.
BRANDS = {
    **dict.fromkeys((b"ftypavif", b"ftypavis"), ".avif"),
    **dict.fromkeys((b"ftyphei" + kind for kind in (b"c", b"x", b"m", b"s")), ".heic"),
    **dict.fromkeys((b"ftyphevc", b"ftyphevx", b"ftypmif1", b"ftypmsf1"), ".heic"),
}
PLUGINS = {
    ".avif": "an AVIF image, which Pillow reads from version 11.3 on: pip install -U pillow",
    ".heic": "a HEIC image, which Pillow reads by a plug-in: pip install 'sk-fewshot[heic]'",
}
PLUGIN_SUFFIXES = {".avif", ".heic", ".heif", ".hif"}

MAX_PIXELS = 2**26
MAX_SIDE = 2**16 - 1
MAX_PASSES = 100
# The most a pixel takes uncompressed (four channels of 16 bits), and what else a file may hold.
BYTES_PER_PIXEL, OTHER_BYTES = 8, 2**24

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, TILE_WIDTH, TILE_LENGTH = 258, 262, 274, 322, 323
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA


def check_pillow(caller: str) -> None:
    """Raise an ImportError that says how to install Pillow, unless it is there."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs Pillow to read images: pip install 'sk-fewshot[images]'."
        ) from error


@cache
def formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that Pillow knows here, also by its plug-ins for HEIC and AVIF."""
    from PIL import Image

    Image.init()
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
    if "AVIF" not in Image.OPEN and find_spec("pillow_avif"):
        import_module("pillow_avif")
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def image_suffixes() -> frozenset[str]:
    """File name endings, in lower case, of all ``FORMATS``."""
    from PIL import Image

    known = Image.registered_extensions().items()
    return frozenset({suffix for suffix, name in known if name in FORMATS} | PLUGIN_SUFFIXES)


def max_bytes(max_pixels: int) -> int:
    """Size of the largest file that is read."""
    return max_pixels * BYTES_PER_PIXEL + OTHER_BYTES


def decode(
    content: bytes, max_pixels: int, draft: tuple[str, tuple[int, int]] | None = None
) -> tuple[PILImage, tuple[int, int]]:
    """Decode the first frame of an image and turn it upright.

    Parameters
    ----------
    content : bytes
        An image in one of ``FORMATS``.
    max_pixels : int
        The largest number of pixels. It is compared with the header, before decoding.
    draft : (mode, (width, height)) or None
        A JPEG image may be decoded at 1/2, 1/4 or 1/8 of its size, but no smaller than this, and
        without its colours if the mode is "L".

    Returns
    -------
    image : PIL.Image.Image
        As from :func:`upright`.
    size : (int, int)
        Width and height of the image upright, before the draft.

    Raises
    ------
    ValueError
        If it is damaged, of another format or kind, or asks for too much.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(BytesIO(content), formats=formats())
    except UnidentifiedImageError as error:
        raise ValueError(_unidentified(content)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"more pixels than max_pixels={max_pixels} or Pillow's own limit: {error}"
        ) from error
    _check_size(image.size, max_pixels)
    _check_work(image, content, max_pixels)
    size = None
    if draft is not None and image.format in JPEG:
        (mode, (width, height)), size = draft, image.size
        if _orientation(image) > 4:  # it is turned by a quarter
            width, height, size = height, width, size[::-1]
        image.draft(mode, (width, height))
    turned = upright(image, max_pixels)
    return turned, size or turned.size


@contextmanager
def errors_as_value_errors() -> Iterator[None]:
    """Over a damaged image Pillow raises errors of any kind; here they become ValueErrors."""
    try:
        yield
    except (MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error


def upright(image: PILImage, max_pixels: int) -> PILImage:
    """Turn an image as its EXIF orientation says, and reduce more than 8 bits a channel.

    Returns
    -------
    PIL.Image.Image
        In one of Pillow's modes of 8 bits a channel, or in mode "F", grey from 0 to 255.

    Raises
    ------
    ValueError
        If it has more than ``max_pixels``, or a mode without a fixed range of values.
    """
    from PIL import Image

    _check_size(image.size, max_pixels)
    image.load()  # which turns a TIFF image
    orientation = _orientation(image)
    image = _reduce_depth(image)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ValueError(
            f"{width} x {height} is {width * height} pixels, more than max_pixels={max_pixels}"
        )
    if max(size) > MAX_SIDE:
        raise ValueError(f"{width} x {height} has a side of more than {MAX_SIDE} pixels")


def _check_work(image: PILImage, content: bytes, max_pixels: int) -> None:
    """Refuse what takes much more memory or time than the size of the image tells."""
    tags = getattr(image, "tag_v2", {})
    _check_size((tags.get(TILE_WIDTH, 1), tags.get(TILE_LENGTH, 1)), max_pixels)
    parts = [part[1] for part in getattr(image, "tile", [])]
    area = sum((right - left) * (lower - upper) for left, upper, right, lower in parts)
    n_passes = area // (image.width * image.height)
    if image.format in JPEG:
        n_passes = _n_scans(content)
    if n_passes > MAX_PASSES:
        raise ValueError(f"its pixels are written in {n_passes} passes, more than {MAX_PASSES}")


def _n_scans(content: bytes) -> int:
    """Number of scans of a progressive JPEG, each a pass over all its pixels."""
    if content.count(bytes((0xFF, START_OF_SCAN))) <= MAX_PASSES:
        return 1
    n_scans, position = 0, 2
    while marker := JPEG_MARKER.search(content, position):
        code, position = marker[1][0], marker.end()
        if code == END_OF_IMAGE:
            break
        n_scans += code == START_OF_SCAN
        position += int.from_bytes(content[position : position + 2])  # over the segment
    return n_scans


def _orientation(image: PILImage) -> int:
    """1 to 8 as EXIF counts; 1, upright, if there is none, or none that makes sense."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        return int(orientation) if orientation in range(1, 9) else 1
    except MemoryError:
        raise
    except Exception:  # of any kind; damaged EXIF data do not damage the image
        return 1


def _reduce_depth(image: PILImage) -> PILImage:
    """More than 8 bits a channel become mode "F", from 0 (black) to 255 (white)."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    sixteen_bits = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if not sixteen_bits:
        raise ValueError(
            f"mode {image.mode!r} has no fixed range of values: save it with 8 or 16 bits a channel"
        )
    tags = getattr(image, "tag_v2", {})
    white = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    values = np.asarray(image).astype(np.float32)  # (H, W)
    if tags.get(PHOTOMETRIC) == 0:  # white is 0
        np.subtract(white, values, out=values)
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = white
    values *= 255 / white
    return Image.fromarray(values)


def _unidentified(content: bytes) -> str:
    """What is to be said of an image that is not identified."""
    from PIL import Image

    suffix = BRANDS.get(content[4:12])
    if suffix and suffix not in Image.registered_extensions():
        return PLUGINS[suffix]
    return f"damaged, or not an image in one of the formats {', '.join(formats())}"
