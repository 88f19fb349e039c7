"""Which images are in a folder of class folders, without opening them."""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass, field
from pathlib import Path

from sk_fewshot.datasets._image_decode import image_suffixes
from sk_fewshot.datasets._image_file import check_regular

N_NAMED = 10


@dataclass
class Scan:
    """What was found.

    Attributes
    ----------
    images : list of (str, str)
        Class and path of each image, sorted by class, then file name.
    unreadable : list of (str, str)
        Class and path of what has the name of an image and is no regular file, with the reason.
    unfollowed : str
        A sentence on the links that were not followed; empty if there were none.
    """

    images: list[tuple[str, str]]
    unreadable: list[tuple[str, str]]
    unfollowed: str


@dataclass
class Contents:
    """What is in one folder, hidden and other files left out."""

    folders: list[tuple[str, bool]] = field(default_factory=list)  # path, whether it is a link
    images: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def scan(top: str | os.PathLike, follow_links: bool) -> Scan:
    """Find the images of a folder of class folders.

    Each folder is read once, by whatever names it can be reached, its own name first: so a loop of
    links ends.

    Raises
    ------
    OSError
        If a folder cannot be read.
    ValueError
        If there are no class folders, one of them is empty, or an image lies outside of them.
    """
    found, links, empty = Scan([], [], ""), [], []
    seen: set[tuple[int, int]] = set()
    waiting = [(False, str(Path(top)))]  # folders reached by a link come last
    while waiting:
        by_link, folder = heapq.heappop(waiting)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            links.append(folder)
            continue
        is_top = not seen
        seen.add((status.st_dev, status.st_ino))
        contents = _read(folder, follow_links)
        if is_top and contents.images:
            raise ValueError(f"Images lie in no class folder: {listed(sorted(contents.images))}")
        if not (is_top or contents.images or contents.unreadable or contents.folders):
            empty.append(folder)
        name = Path(folder).relative_to(top).as_posix()
        found.images += [(name, image) for image in contents.images]
        found.unreadable += [(name, reason) for reason in contents.unreadable]
        links += contents.links
        for path, is_link in contents.folders:
            heapq.heappush(waiting, (by_link or is_link, path))
    found.images.sort()
    found.unreadable.sort()
    if links:
        found.unfollowed = f"{len(links)} links are not followed: {listed(sorted(links))} " + (
            "They lead to folders that are read under another name."
            if follow_links
            else "follow_links=True follows them, wherever they lead."
        )
    if empty:
        raise ValueError(
            f"Folders without images: {listed(sorted(empty))} {found.unfollowed}".strip()
        )
    if not found.images and not found.unreadable:
        raise ValueError(
            f"{top} has no class folders: one folder of images for each class. "
            f"{found.unfollowed}".strip()
        )
    return found


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f", and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more + "."


def _read(folder: str, follow_links: bool) -> Contents:
    contents, suffixes = Contents(), image_suffixes()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_link = entry.is_symlink()
            # os.path takes a link to itself for a broken one; the entry raises an OSError
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()
            if not is_folder and os.path.splitext(entry.name)[1].lower() not in suffixes:
                continue
            if is_link and not follow_links:
                contents.links.append(entry.path)
            elif is_folder:
                contents.folders.append((entry.path, is_link))
            elif os.path.isfile(entry.path) if is_link else entry.is_file():
                contents.images.append(entry.path)
            else:
                contents.unreadable.append(f"{entry.path} ({_why(entry.path)})")
    return contents


def _why(path: str) -> str:
    """Why a path is no regular file."""
    try:
        check_regular(os.stat(path))
    except OSError as error:
        return f"a broken link: {error.strerror}"
    except ValueError as error:
        return str(error)
    return "replaced while the folder was read"
