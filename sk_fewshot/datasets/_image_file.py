"""The bytes of an image file: regular files only, none waited for, none larger than a limit."""

from __future__ import annotations

import os
import stat

KINDS = {
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
# A pipe or a device that takes the file's place after the check is not waited for either.
FLAGS = os.O_RDONLY | sum(getattr(os, f"O_{name}", 0) for name in ("NONBLOCK", "NOCTTY", "BINARY"))


def read_file(path: str | os.PathLike, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is a device, a pipe, a socket or a folder, or larger than ``max_bytes``.
    """
    check_regular(os.stat(path))
    with open(path, "rb", opener=lambda name, _: os.open(name, FLAGS)) as file:
        status = os.fstat(file.fileno())
        check_regular(status)
        check_n_bytes(status.st_size, max_bytes)
        return file.read(status.st_size)


def check_regular(status: os.stat_result) -> None:
    """Raise a ValueError that says what the file is, unless it is a regular one."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(f"{KINDS.get(kind, 'a special file')}, not a regular file")


def check_n_bytes(n_bytes: int, max_bytes: int) -> None:
    """Raise a ValueError if a file is larger than the limit."""
    if n_bytes > max_bytes:
        raise ValueError(f"{n_bytes} bytes, more than the {max_bytes} that max_pixels allows for")
