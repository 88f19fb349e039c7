"""People's own images: a folder for each class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from tqdm.auto import tqdm

from sk_fewshot.datasets._image_decode import MAX_PIXELS, check_pillow, max_bytes
from sk_fewshot.datasets._image_file import read_file
from sk_fewshot.datasets._image_pixels import height_width, read_pixels
from sk_fewshot.datasets._image_scan import Scan, listed, scan

FOLDER_PARAMETERS: dict[str, list] = {
    "path": [str, os.PathLike],
    "on_error": [StrOptions({"raise", "skip"})],
    "follow_links": ["boolean"],
    "max_pixels": [Interval(Integral, 1, None, closed="left")],
    "verbose": ["verbose"],
}


@validate_params(FOLDER_PARAMETERS, prefer_skip_nested_validation=True)
def list_images(
    path, *, on_error="raise", follow_links=False, max_pixels=MAX_PIXELS, verbose=False
):
    """List image files whose class is the name of the folder they are in, without reading them.

    ::

        faces/
            ada/    1.jpg  2.jpg
            grace/  a.png  b.png  c.png

    Folders may be nested: every folder that holds images is a class, named by its path from the
    top, such as "Greek/character03".

    It costs one pass over the entries of each folder, and the memory of the paths: no file is
    opened. ``on_error="skip"`` costs as much as decoding every image once.

    Parameters
    ----------
    path : str or path-like
        The folder of the class folders.
    on_error : {"raise", "skip"}, default="raise"
        "raise" does not look into the files: an image that cannot be read raises when it is read.
        "skip" decodes each image once and leaves out what cannot be read; a warning gives its
        number and names.
    follow_links : bool, default=False
        Whether symbolic links in the folder are followed, wherever they lead. By default none is: a
        warning names them. Either way each folder is read once, so that a loop ends.
    max_pixels : int, default=67108864
        Images with more pixels count as unreadable; for ``on_error="skip"`` alone.
    verbose : bool or int, default=False
        Show a progress bar; for ``on_error="skip"`` alone.

    Returns
    -------
    paths : ndarray of shape (n,), str
        Path of each image, sorted by class, then file name.
    y : ndarray of shape (n,), int64
        Class of each image, an index into ``names``.
    names : ndarray of shape (n_classes,), str
        Names of the classes, sorted.

    Raises
    ------
    OSError
        If a folder cannot be read.
    ValueError
        If there are no class folders, one of them is empty, an image lies outside of them, or
        what has the name of an image is no regular file but a pipe, a socket or a device.
    ImportError
        If Pillow is not installed.

    See Also
    --------
    ImageReader : Reads the files as they are needed.
    load_image_folder : Lists and reads at once.

    Notes
    -----
    Files with the endings of AVIF, BMP, GIF, HEIC, JPEG, PNG, PPM, TIFF and WebP images are listed,
    whether Pillow reads them here or needs a plug-in. Other files are left out, and so are files
    and folders whose name starts with a dot.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sk_fewshot.datasets import ImageReader, list_images
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("black", "white"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (40, 30), name).save(Path(folder, name, "1.png"))
    ...     paths, y, names = list_images(folder)
    ...     X = ImageReader(2, "grayscale")(paths)
    >>> [Path(path).name for path in paths], names[y].tolist(), X.shape
    (['1.png', '1.png'], ['black', 'white'], torch.Size([2, 1, 2, 2]))
    """
    check_pillow("list_images")
    found = _find(path, follow_links)

    def decode(file: str, _: int) -> None:
        if on_error == "skip":
            content = read_file(file, max_bytes(max_pixels))
            read_pixels(content, (1, 1), "grayscale", max_pixels=max_pixels)

    return _arrays(_read(found, decode, on_error, verbose))


@validate_params(
    {
        **FOLDER_PARAMETERS,
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple],
        "color_mode": [StrOptions({"grayscale", "rgb"})],
        "crop": [Interval(Real, 0, 1, closed="right"), None],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    path,
    *,
    image_size,
    color_mode="grayscale",
    crop=None,
    on_error="raise",
    follow_links=False,
    max_pixels=MAX_PIXELS,
    verbose=False,
):
    """Load images whose class is the name of the folder they are in.

    The folders are as for :func:`list_images`, which is the better choice for more images than fit
    in memory.

    Parameters
    ----------
    path : str or path-like
        The folder of the class folders.
    image_size : int or tuple of (int, int)
        Height and width in pixels that every image is resized to; an int for both. The filter is
        Pillow's antialiased ``BILINEAR``.
    color_mode : {"grayscale", "rgb"}, default="grayscale"
        Channels of the result. What is transparent becomes white.
    crop : float or None, default=None
        None squashes the whole image to ``image_size``. A number up to 1 keeps the aspect ratio and
        that share of the tighter side, around the middle, as in :class:`ImageReader`.
    on_error : {"raise", "skip"}, default="raise"
        "skip" leaves out images that cannot be read; a warning gives their number and names.
    follow_links : bool, default=False
        Whether symbolic links in the folder are followed, wherever they lead. By default none is: a
        warning names them. Either way each folder is read once, so that a loop ends.
    max_pixels : int, default=67108864
        Images with more pixels are refused before they are decoded, and so are files of more than 8
        bytes for each of these pixels and 16 MB. Reading an image takes up to 16 bytes a pixel.
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
        If a folder cannot be read.
    ValueError
        If there are no class folders, one of them is empty, an image lies outside of them, or
        images cannot be read: damaged, too large, or no regular files but pipes, sockets or
        devices. The files are named.
    ImportError
        If Pillow is not installed.

    See Also
    --------
    list_images : File names instead of pixels.
    ImageReader : Reads further files the same way, with ``crop=None``.

    Notes
    -----
    The formats are those of :class:`ImageReader`. Files with other endings are left out, and so are
    files and folders whose name starts with a dot.

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
    size = height_width(image_size, "load_image_folder")
    found = _find(path, follow_links)
    n_channels = 1 if color_mode == "grayscale" else 3
    images = np.empty((len(found.images), n_channels, *size), dtype=np.float32)

    def read(file: str, row: int) -> None:
        content = read_file(file, max_bytes(max_pixels))
        images[row] = read_pixels(content, size, color_mode, crop=crop, max_pixels=max_pixels)

    filenames, target, target_names = _arrays(_read(found, read, on_error, verbose))
    images = images[: len(filenames)]
    return Bunch(
        images=images[:, 0] if color_mode == "grayscale" else images,
        data=images.reshape(len(images), -1),
        target=target,
        target_names=target_names,
        filenames=filenames,
    )


def _find(path: str | os.PathLike, follow_links: bool) -> Scan:
    found = scan(path, follow_links)
    if found.unfollowed:
        warnings.warn(found.unfollowed, stacklevel=4)
    return found


def _read(
    found: Scan, read: Callable[[str, int], None], on_error: str, verbose: bool | int
) -> list[tuple[str, str]]:
    """Call ``read`` with the path and the row of every image; those for which it did not raise."""
    kept: list[tuple[str, str]] = []
    unreadable = list(found.unreadable)
    for name, file in tqdm(found.images, unit="image", disable=not verbose):
        try:
            read(file, len(kept))
            kept.append((name, file))
        except (OSError, ValueError) as error:
            unreadable.append((name, f"{file} ({error})"))
    if unreadable:
        message = f"{len(unreadable)} images cannot be read"
        reasons = listed([reason for _, reason in unreadable])
        if on_error == "raise" or not kept:
            raise ValueError(f"{message}: {reasons}")
        lost = sorted({name for name, _ in unreadable} - {name for name, _ in kept})
        no_more = f" Nothing is left of these classes: {listed(lost)}" if lost else ""
        warnings.warn(f"{message} and are left out: {reasons}{no_more}", stacklevel=4)
    return kept


def _arrays(images: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paths, labels and the names of the classes."""
    names, y = np.unique([name for name, _ in images], return_inverse=True)
    return np.array([path for _, path in images]), y, names
