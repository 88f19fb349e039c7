"""People's own images: a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from tqdm.auto import tqdm

from sk_fewshot.datasets._image import check_pillow, image_suffixes, read_image

N_NAMED = 10


@validate_params(
    {
        "path": [str, os.PathLike],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple],
        "color_mode": [StrOptions({"grayscale", "rgb"})],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(path, *, image_size, color_mode="grayscale", verbose=False):
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
        images cannot be read: damaged, or with more than 8 bits a channel. The files are named.
    ImportError
        If Pillow is not installed.

    Notes
    -----
    BMP, GIF (the first frame), JPEG, PNG, PPM, TIFF and WebP images are read. Files with other
    endings are skipped, and so are files and folders whose name starts with a dot.

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
    files = [(name, file) for name, files in _class_folders(Path(path)) for file in files]
    channels = () if color_mode == "grayscale" else (3,)
    images = np.empty((len(files), *channels, *size), dtype=np.float32)
    unreadable = []
    for (_, file), image in zip(tqdm(files, unit="image", disable=not verbose), images):
        try:
            with file.open("rb") as stream:
                image[:] = read_image(stream, size, color_mode, "BILINEAR")
        except (OSError, ValueError) as error:
            unreadable.append(f"{file} ({error})")
    if unreadable:
        raise ValueError(f"{len(unreadable)} images cannot be read: {_list(unreadable)}")
    images /= 255
    target_names, target = np.unique([name for name, _ in files], return_inverse=True)
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=target,
        target_names=target_names,
        filenames=np.array([str(file) for _, file in files]),
    )


def _height_width(image_size: int | tuple) -> tuple[int, int]:
    size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if len(size) != 2 or not all(isinstance(s, (int, np.integer)) and s >= 1 for s in size):
        raise ValueError(
            "The 'image_size' parameter of load_image_folder must be an int or a tuple of two "
            f"ints, height and width, of at least 1. Got {image_size!r} instead."
        )
    return int(size[0]), int(size[1])


def _class_folders(top: Path) -> list[tuple[str, list[Path]]]:
    """Name and image files of every class folder, sorted."""
    classes, empty = [], []
    for folder, has_folders, files in _walk(top):
        if folder == top:
            if files:
                raise ValueError(f"Images lie in no class folder: {_list(files)}")
        elif files:
            classes.append((folder.relative_to(top).as_posix(), files))
        elif not has_folders:
            empty.append(folder)
    if empty:
        raise ValueError(f"Folders without images: {_list(empty)}")
    if not classes:
        raise ValueError(f"{top} has no class folders: one folder of images for each class.")
    return sorted(classes)


def _walk(top: Path) -> Iterator[tuple[Path, bool, list[Path]]]:
    """Each visible folder, whether it has visible folders, and its image files."""
    suffixes = image_suffixes()
    for folder, folders, files in os.walk(top, onerror=_raise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield Path(folder), bool(folders), [p for p in paths if p.suffix.lower() in suffixes]


def _raise(error: OSError) -> None:
    raise error


def _list(names: list) -> str:
    """The first few names, and how many more there are."""
    more = f", and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(map(str, names[:N_NAMED])) + more + "."
