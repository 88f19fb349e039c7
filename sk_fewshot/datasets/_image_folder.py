"""People's own images: a folder for each class."""

from __future__ import annotations

import os
import warnings
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from tqdm.auto import tqdm

from sk_fewshot.datasets._image_decode import MAX_PIXELS, check_pillow, max_bytes
from sk_fewshot.datasets._image_file import read_file
from sk_fewshot.datasets._image_pixels import read_pixels
from sk_fewshot.datasets._image_scan import listed, scan


@validate_params(
    {
        "path": [str, os.PathLike],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple],
        "color_mode": [StrOptions({"grayscale", "rgb"})],
        "follow_links": ["boolean"],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    path,
    *,
    image_size,
    color_mode="grayscale",
    follow_links=False,
    max_pixels=MAX_PIXELS,
    verbose=False,
):
    """Load images whose class is the name of the folder they are in.

    ::

        faces/
            ada/    1.jpg  2.jpg
            grace/  a.png  b.png  c.png

    Folders may be nested: every folder that holds images is a class, named by its path from the
    top, such as "Greek/character03".

    Parameters
    ----------
    path : str or path-like
        The folder of the class folders.
    image_size : int or tuple of (int, int)
        Height and width in pixels that every image is resized to; an int for both. The aspect ratio
        is not kept. The filter is Pillow's antialiased ``BILINEAR``.
    color_mode : {"grayscale", "rgb"}, default="grayscale"
        Channels of the result. What is transparent becomes white.
    follow_links : bool, default=False
        Whether symbolic links in the folder are followed, wherever they lead. By default none is: a
        warning names them. Either way each folder is read once, so that a loop ends.
    max_pixels : int, default=67108864
        Images with more pixels are refused before they are decoded, and so are files of more than 8
        bytes for each of these pixels and 16 MB. Reading an image takes up to 12 bytes a pixel.
    verbose : bool or int, default=False
        Show a progress bar.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n, H, W), or (n, 3, H, W) for "rgb", float32
            From 0 (black) to 1 (white), upright as their EXIF data say. Sorted by class, then file
            name.
        data : ndarray of shape (n, H * W) or (n, 3 * H * W), float32
            The same, one image a row.
        target : ndarray of shape (n,), int64
            Class of each image, an index into ``target_names``.
        target_names : ndarray of shape (n_classes,), str
            Names of the classes, sorted.
        filenames : ndarray of shape (n,), str
            Path of each image.

    Raises
    ------
    OSError
        If ``path`` is not a folder that can be read.
    ValueError
        If there are no class folders, one of them is empty, an image lies outside of them, or
        images cannot be read: damaged, too large, or no regular files but pipes, sockets or
        devices. The files are named.
    ImportError
        If Pillow is not installed.

    Notes
    -----
    AVIF, BMP, GIF, HEIC, JPEG, PNG, PPM, TIFF and WebP images are read; of several frames the first
    one. HEIC needs the plug-in pillow-heif, AVIF Pillow 11.3. Files with other endings are skipped,
    and so are files and folders whose name starts with a dot.

    Grey images of 16 bits are read in full, of colours the upper 8 bits of each channel. EXIF data
    that make no sense are ignored. Pillow's own limit, ``PIL.Image.MAX_IMAGE_PIXELS``, holds as
    well as ``max_pixels``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sk_fewshot.datasets import load_image_folder
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("black", "white"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (40, 30), name).save(Path(folder, name, "1.png"))
    ...     cards = load_image_folder(folder, image_size=2)
    >>> cards.images.shape, cards.target_names[cards.target]
    ((2, 2, 2), array(['black', 'white'], dtype='<U5'))
    """
    check_pillow("load_image_folder")
    size = _height_width(image_size)
    found = scan(path, follow_links)
    if found.unfollowed:
        warnings.warn(found.unfollowed, stacklevel=3)
    channels = () if color_mode == "grayscale" else (3,)
    images = np.empty((len(found.images), *channels, *size), dtype=np.float32)
    unreadable = found.unreadable
    for (_, file), image in zip(tqdm(found.images, unit="image", disable=not verbose), images):
        try:
            content = read_file(file, max_bytes(max_pixels))
            image[:] = read_pixels(content, size, color_mode, max_pixels=max_pixels)
        except (OSError, ValueError) as error:
            unreadable.append(f"{file} ({error})")
    if unreadable:
        raise ValueError(f"{len(unreadable)} images cannot be read: {listed(unreadable)}")
    target_names, target = np.unique([name for name, _ in found.images], return_inverse=True)
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=target,
        target_names=target_names,
        filenames=np.array([file for _, file in found.images]),
    )


def _height_width(image_size: int | tuple) -> tuple[int, int]:
    size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if len(size) != 2 or not all(isinstance(s, (int, np.integer)) and s >= 1 for s in size):
        raise ValueError(
            "The 'image_size' parameter of load_image_folder must be an int or a tuple of two "
            f"ints, height and width, of at least 1. Got {image_size!r} instead."
        )
    return int(size[0]), int(size[1])
