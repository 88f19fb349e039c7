"""Files that are whole at every moment."""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

if _POSIX := os.name == "posix":
    import fcntl

_LONGEST_NAME = 100  # bytes; of longer ones a temporary file bears a digest
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Open a file for reading, but no pipe and no device, which may never end.

    Raises
    ------
    OSError
        If it cannot be read, or is none.
    """
    descriptor = os.open(path, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def write_atomically(path: str | os.PathLike, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file so that at every moment it holds all of its old content or all of the new.

    The file keeps its owner and mode, as far as the system lets this process give them, and is
    never open to more people in between; a new one follows the umask. A symbolic link is followed.
    What killed processes began to write in its place is removed.

    Parameters
    ----------
    path : str or path-like
    pieces : iterable of bytes or memoryview
        The content, piece after piece.

    Raises
    ------
    OSError
        If it cannot be written, with `path` as its `filename`; what was there before stays.
    """
    try:
        _write_atomically(Path(os.path.realpath(path)), pieces)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes began to write in place of a file, where that is allowed."""
    with suppress(OSError):
        for temporary in path.parent.glob(f"{glob.escape(_prefix(path))}????????.tmp"):
            with suppress(OSError):
                _remove_abandoned(temporary)


def _write_atomically(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    before = _status(path)
    remove_leftovers(path)
    temporary, descriptor = _new_temporary(path, before)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if before is not None and _POSIX:
                _give(descriptor, before)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
            if _POSIX:
                os.replace(temporary, path)  # under the lock, so that nobody removes it
        if not _POSIX:
            os.replace(temporary, path)  # an open file could not be moved
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if _POSIX:  # elsewhere a folder cannot be opened
        _sync_folder(path.parent)


def _status(path: Path) -> os.stat_result | None:
    """What is known of the file to be replaced."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    _check_regular(status, path)
    return status


def _check_regular(status: os.stat_result, path: str | os.PathLike) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


def _prefix(path: Path) -> str:
    """How the names of temporary files begin; short enough for every file system."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST_NAME:
        return f".{path.name}."
    return f".{hashlib.sha256(name).hexdigest()[:32]}."


def _new_temporary(path: Path, before: os.stat_result | None) -> tuple[Path, int]:
    """Open a file beside another, locked for as long as it is open."""
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o600
    while True:
        temporary = path.with_name(f"{_prefix(path)}{uuid4().hex[:8]}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
        if _POSIX:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # taken for abandoned, and removed, before it was locked


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file that nobody has open."""
    if not _POSIX:
        temporary.unlink()  # refused by the system while it is open
        return
    descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    finally:
        os.close(descriptor)


def _give(descriptor: int, before: os.stat_result) -> None:
    """Give a file owner, group and mode of another, or narrower ones where that is not allowed."""
    mode = stat.S_IMODE(before.st_mode) & 0o777
    for uid in (before.st_uid, -1):
        try:
            os.fchown(descriptor, uid, before.st_gid)
            break
        except OSError:  # only a privileged process gives files away
            continue
    else:  # whoever was of the group is now one of the others
        mode &= 0o700 | (mode >> 3 & 0o007)
    os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not listed
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
