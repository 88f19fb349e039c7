"""Lake's official one-shot test on Omniglot."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import validate_params

from sk_fewshot.datasets._archive import Archive, locate, read_members
from sk_fewshot.datasets._image_decode import check_pillow
from sk_fewshot.datasets._omniglot import DESCR, FETCH_PARAMETERS, REPOSITORY, decode

ONE_SHOT = ("all_runs.zip", "md5:e8996daecdf12afeeb4a53a179f06b19")
N_RUNS, N_WAY = 20, 20


@validate_params(FETCH_PARAMETERS, prefer_skip_nested_validation=True)
def fetch_omniglot_one_shot(
    *, image_size=28, data_home=None, download_if_missing=True, n_retries=3, delay=1.0
):
    """Load Lake's official one-shot test on Omniglot: 20 runs of 20 ways, one shot.

    Each run takes 20 characters of one alphabet of the evaluation set; one person's drawing of each
    is the support set and another person's the query. People's error is 4.5% [1]_.

    The archive is found, downloaded and checked as by :func:`fetch_omniglot`, but by its MD5
    checksum, the only one we know of and one that only third parties recorded. MD5 guards against
    accidents, not against somebody who forges an archive on purpose; the archive is read in memory
    and its structure checked.

    Parameters
    ----------
    image_size : int, default=28
        Height and width in pixels, as for :func:`fetch_omniglot`.
    data_home : str or path-like, default=None
        Folder of the archive ``all_runs.zip``, which may also be in its folder ``omniglot``. By
        default scikit-learn's.
    download_if_missing : bool, default=True
        If False, raise an OSError if the archive is not there.
    n_retries : int, default=3
        How often a download is tried again after a network error.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        support, query : ndarray of shape (20, 20, image_size, image_size), float32
            Runs x images. Ink is 1, paper 0.
        support_target, query_target : ndarray of shape (20, 20), int64
            Classes 0 to 19 within each run.
        DESCR : str
            Description and licence.

    Raises
    ------
    OSError
        If the archive is missing and may not be or cannot be downloaded, or is not the published
        one.
    ImportError
        If Pillow is not installed.

    References
    ----------
    .. [1] Lake, B. M., Salakhutdinov, R., and Tenenbaum, J. B. (2015). Human-level concept
       learning through probabilistic program induction. Science, 350(6266), 1332-1338.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sk_fewshot.datasets import fetch_omniglot_one_shot
    >>> runs = fetch_omniglot_one_shot()  # doctest: +SKIP
    >>> raw_pixels = [  # doctest: +SKIP
    ...     KNeighborsClassifier(1)
    ...     .fit(runs.support[run].reshape(20, -1), runs.support_target[run])
    ...     .score(runs.query[run].reshape(20, -1), runs.query_target[run])
    ...     for run in range(20)
    ... ]
    """
    check_pillow("fetch_omniglot_one_shot")
    filename, checksum = ONE_SHOT
    archive = Archive(filename, f"{REPOSITORY}/one-shot-classification/{filename}", checksum)
    path = locate(
        archive,
        data_home,
        "omniglot",
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    members = read_members(path)
    files = {m[0]: data for name, data in members.items() if (m := re.search(r"run\d\d/.+", name))}
    try:
        support = [
            files[f"run{run:02}/training/class{way:02}.png"]
            for run in range(1, N_RUNS + 1)
            for way in range(1, N_WAY + 1)
        ]
        query, query_target = [], []
        for run in range(1, N_RUNS + 1):
            answers = _answers(files, run)
            for item in range(1, N_WAY + 1):
                query.append(files[f"run{run:02}/test/item{item:02}.png"])
                query_target.append(answers[f"item{item:02}"])
    except (KeyError, ValueError) as error:
        raise OSError(f"{path} lacks a part of the official runs: {error}.") from error
    shape = (N_RUNS, N_WAY, image_size, image_size)
    return Bunch(
        support=decode(support, image_size).reshape(shape),
        support_target=np.tile(np.arange(N_WAY), (N_RUNS, 1)),
        query=decode(query, image_size).reshape(shape),
        query_target=np.reshape(query_target, (N_RUNS, N_WAY)),
        DESCR=DESCR,
    )


def _answers(files: dict[str, bytes], run: int) -> dict[str, int]:
    """Class of each test item, from lines "run01/test/item01.png run01/training/class08.png"."""
    lines = files[f"run{run:02}/class_labels.txt"].decode().splitlines()
    pairs = [line.split() for line in lines]
    return {PurePosixPath(i).stem: int(PurePosixPath(c).stem[-2:]) - 1 for i, c in pairs}
