"""Omniglot (Lake, Salakhutdinov & Tenenbaum, 2015): handwritten characters of 50 alphabets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import PurePosixPath

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sk_fewshot.datasets._archive import Archive, locate, read_members
from sk_fewshot.datasets._image_decode import MAX_PIXELS, check_pillow
from sk_fewshot.datasets._image_pixels import read_pixels

REPOSITORY = "https://github.com/brendenlake/omniglot/raw/master/python"
SUBSETS = {  # archive, checksum, number of characters
    "small1": (
        "images_background_small1.zip",
        "sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        136,
    ),
    "small2": (
        "images_background_small2.zip",
        "sha256:3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        156,
    ),
    "background": (
        "images_background.zip",
        "sha256:ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        964,
    ),
    "evaluation": (
        "images_evaluation.zip",
        "sha256:1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        659,
    ),
}
N_DRAWERS = 20

DESCR = """\
Omniglot, a data set for one-shot learning

1,623 handwritten characters of 50 alphabets, each drawn once by 20 people on Amazon's Mechanical
Turk. The published images are 105 x 105 pixels of one bit, black ink on white; here ink is 1 and
paper 0. The background set (964 characters of 30 alphabets) is for learning, the evaluation set
(659 characters of 20 other alphabets) for the test. The two small background sets have five
alphabets each; Greek and Latin are in both.

MIT licence, copyright 2015 Brenden Lake. https://github.com/brendenlake/omniglot

Lake, B. M., Salakhutdinov, R., and Tenenbaum, J. B. (2015). Human-level concept learning through
probabilistic program induction. Science, 350(6266), 1332-1338.
"""

FETCH_PARAMETERS: dict[str, list] = {
    "image_size": [Interval(Integral, 1, 105, closed="both")],
    "data_home": [str, os.PathLike, None],
    "download_if_missing": ["boolean"],
    "n_retries": [Interval(Integral, 0, None, closed="left")],
    "delay": [Interval(Real, 0, None, closed="left")],
}


@validate_params(
    {"subset": [StrOptions(set(SUBSETS))], **FETCH_PARAMETERS, "return_X_y": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def fetch_omniglot(
    subset="small1",
    *,
    image_size=28,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    n_retries=3,
    delay=1.0,
):
    """Load the Omniglot handwritten characters, each drawn by 20 people.

    The archive is looked for in ``data_home/omniglot`` and in ``data_home``, downloaded from Lake's
    repository if it is in neither, and read in memory: nothing is unpacked to disk. An archive,
    found or downloaded, is used only if it has the published SHA-256 checksum [2]_; a partial or
    damaged download is never kept.

    ============  ==========  ==========  =======
    subset        alphabets   characters  images
    ============  ==========  ==========  =======
    "small1"      5           136         2,720
    "small2"      5           156         3,120
    "background"  30          964         19,280
    "evaluation"  20          659         13,180
    ============  ==========  ==========  =======

    Parameters
    ----------
    subset : {"small1", "small2", "background", "evaluation"}, default="small1"
        Which archive. The alphabets of "evaluation" are in none of the others. Those of "small1"
        and "small2" are from "background", and two of them, Greek and Latin (50 characters), are
        the same in both.
    image_size : int, default=28
        Height and width in pixels, up to the published 105. Smaller images are made with Pillow's
        ``BOX`` filter: the mean ink of the pixels covered.
    data_home : str or path-like, default=None
        Folder of the archives. By default scikit-learn's,
        :func:`sklearn.datasets.get_data_home`. It may be read-only if it holds the archive.
    download_if_missing : bool, default=True
        If False, raise an OSError if the archive is not there.
    return_X_y : bool, default=False
        If True, return ``(images, target)`` instead of the Bunch: X keeps the shape of images.
    n_retries : int, default=3
        How often a download is tried again after a network error.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n, image_size, image_size), float32
            Ink is 1, paper 0. Sorted by class, then drawer.
        data : ndarray of shape (n, image_size * image_size), float32
            The same, one image a row.
        target : ndarray of shape (n,), int64
            Class of each image, an index into ``target_names``.
        target_names : ndarray of shape (n_classes,), str
            Such as "Greek/character03", sorted.
        alphabet, character : ndarray of shape (n,), str
            The two parts of that name for each image.
        drawer : ndarray of shape (n,), int64
            1 to 20, as the files are numbered.
        DESCR : str
            Description and licence.

    (images, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    OSError
        If the archive is missing and may not be or cannot be downloaded, or is not the published
        one.
    ImportError
        If Pillow is not installed.

    See Also
    --------
    fetch_omniglot_one_shot : The official one-shot test.
    ClassSplit : Split by classes.

    References
    ----------
    .. [1] Lake, B. M., Salakhutdinov, R., and Tenenbaum, J. B. (2015). Human-level concept
       learning through probabilistic program induction. Science, 350(6266), 1332-1338.
    .. [2] As recorded in TensorFlow Datasets, ``url_checksums/omniglot.txt``; Lake's repository
       publishes none.

    Examples
    --------
    >>> from sk_fewshot.datasets import fetch_omniglot
    >>> base = fetch_omniglot("small1")  # doctest: +SKIP
    >>> base.images.shape, len(base.target_names)  # doctest: +SKIP
    ((2720, 28, 28), 136)

    The 106 characters that are only in "small2", to test what was learned from "small1":

    >>> import numpy as np
    >>> other = fetch_omniglot("small2")  # doctest: +SKIP
    >>> novel = ~np.isin(other.alphabet, base.alphabet)  # doctest: +SKIP
    >>> X_novel, y_novel = other.images[novel], other.target[novel]  # doctest: +SKIP
    >>> len(np.unique(y_novel))  # doctest: +SKIP
    106
    """
    check_pillow("fetch_omniglot")
    filename, checksum, n_characters = SUBSETS[subset]
    archive = Archive(filename, f"{REPOSITORY}/{filename}", checksum)
    path = locate(
        archive,
        data_home,
        "omniglot",
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    drawings = {n: png for n, png in read_members(path).items() if n.endswith(".png")}
    # .../alphabet/character03/0123_07.png
    parts = np.array([PurePosixPath(name).with_suffix("").parts[-3:] for name in drawings])
    alphabet, character = parts[:, 0], parts[:, 1]
    names = np.char.add(np.char.add(alphabet, "/"), character)
    target_names, target, counts = np.unique(names, return_inverse=True, return_counts=True)
    if len(target_names) != n_characters or np.any(counts != N_DRAWERS):
        raise OSError(
            f"{path} holds {len(names)} drawings of {len(target_names)} characters, expected "
            f"{N_DRAWERS} of each of {n_characters}."
        )
    images = decode(drawings.values(), image_size)
    if return_X_y:
        return images, target
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=target,
        target_names=target_names,
        alphabet=alphabet,
        character=character,
        drawer=np.array([int(stem.rpartition("_")[2]) for stem in parts[:, 2]]),
        DESCR=DESCR,
    )


def decode(drawings: Iterable[bytes], image_size: int) -> np.ndarray:
    """Drawings (n, image_size, image_size), float32, ink is 1."""
    size = (image_size, image_size)
    pixels = [
        read_pixels(png, size, "grayscale", interpolation="box", max_pixels=MAX_PIXELS)[0]
        for png in drawings
    ]
    return 1 - np.stack(pixels)
