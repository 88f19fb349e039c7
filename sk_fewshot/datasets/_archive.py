"""Published zip archives: found or downloaded, checked, and read without unpacking to disk."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import struct
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from sklearn.datasets import fetch_file, get_data_home

logger = logging.getLogger(__name__)

MAX_UNPACKED_BYTES = 2**26


@dataclass(frozen=True)
class Archive:
    """Where a zip archive is published and what identifies it.

    Parameters
    ----------
    filename : str
        Its name in the cache.
    url : str
        Where it is downloaded from.
    checksum : str
        ``"sha256:..."`` or ``"md5:..."``, in hexadecimal digits.
    """

    filename: str
    url: str
    checksum: str

    def check(self, path: Path, origin: str) -> None:
        """Raise an OSError that names the origin, unless the file has the published checksum."""
        algorithm, expected = self.checksum.split(":")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            raise OSError(
                f"{origin} is not the published {self.filename}: its {algorithm.upper()} checksum "
                f"is {found}, expected {expected}. The file ({path.stat().st_size} bytes) is "
                "damaged, a partial copy, or something else."
            )


def locate(
    archive: Archive,
    data_home: str | os.PathLike | None,
    folder: str,
    *,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
) -> Path:
    """Path of a checked copy of the archive, downloaded if there is none.

    The folder of that name in ``data_home`` (None: scikit-learn's) is searched first, then
    ``data_home`` itself. A download is written and checked in a temporary folder, and moved into
    the folder in one step once it is whole.

    Raises
    ------
    OSError
        If there is no intact local copy and ``download_if_missing`` is False, or the download
        fails or differs from the published archive.
    """
    home = Path(get_data_home(data_home))
    target = home / folder / archive.filename
    damaged = None
    for path in (target, home / archive.filename):
        if path.exists():
            try:
                archive.check(path, str(path))
                return path
            except OSError as error:
                damaged = error
    if not download_if_missing:
        raise damaged or OSError(
            f"{archive.filename} is neither in {target.parent} nor in {home}, and "
            "download_if_missing is False."
        )
    if damaged:
        warnings.warn(f"{damaged} Downloading it again.", stacklevel=3)
    logger.info("Downloading %s to %s", archive.url, target)
    with tempfile.TemporaryDirectory(prefix=f"{folder}-download-", dir=home) as temporary:
        try:
            partial = fetch_file(
                archive.url, temporary, archive.filename, n_retries=n_retries, delay=delay
            )
        except (OSError, HTTPException) as error:
            raise OSError(
                f"{archive.filename} could not be downloaded from {archive.url}: {error} "
                f"A copy of it in {target.parent} would be used without network."
            ) from error
        archive.check(partial, archive.url)
        target.parent.mkdir(exist_ok=True)
        os.replace(partial, target)
    return target


def read_members(path: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> dict[str, bytes]:
    """Every file in a zip archive, by name, in memory.

    Parameters
    ----------
    path : Path
        The archive.
    max_bytes : int
        Largest total size of the unpacked files.

    Returns
    -------
    dict of str to bytes
        File name in the archive to content, in sorted order.

    Raises
    ------
    OSError
        If the archive is damaged, unpacks to more than ``max_bytes``, or holds a link, a special
        file, or a name that is absolute, repeated, or leads out of the folder.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = sorted(file.infolist(), key=lambda member: member.filename)
            _check_members(path, members, max_bytes)
            # reading stops at the declared size, so the declared total bounds the memory
            return {m.filename: file.read(m) for m in members if not m.is_dir()}
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        raise OSError(f"{path} is a damaged zip archive: {error}") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise OSError(f"{path} unpacks to {total} bytes, more than the {max_bytes} allowed.")
    if len({member.filename for member in members}) < len(members):
        raise OSError(f"{path} holds several files of one name.")
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or set(member.filename) & set("\\:"):
            raise OSError(f"{path} holds a file outside its folder: {member.filename!r}.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise OSError(f"{path} holds a link or special file: {member.filename!r}.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OSError(f"{path} holds a file compressed in an unknown way: {member.filename!r}.")
