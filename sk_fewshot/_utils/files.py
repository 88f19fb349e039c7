"""Files that are whole at every moment."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from uuid import uuid4


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at every moment it holds all of its old content or all of the new.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes began to write in place of a file."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
