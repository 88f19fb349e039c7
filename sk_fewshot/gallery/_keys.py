"""The caller's keys of enrolled examples: integers or strings, each kept exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d

from sk_fewshot._utils.labels import as_labels
from sk_fewshot.gallery._labels import kind_of

_LARGEST = np.iinfo(np.int64).max


def checked_ids(ids: ArrayLike, n: int | None, *, among: NDArray | None = None) -> NDArray:
    """Return keys as an array of int64 or of strings.

    Raises
    ------
    ValueError
        If they are others, not n, not each once, or enrolled already.
    """
    given = _as_array(ids)
    if not len(given) and n is None:
        raise ValueError("ids must hold one key or more, got none.")
    if n is not None and len(given) != n:
        raise ValueError(f"ids must hold one key per example, {n} in all, got {len(given)}.")
    kept, counts = np.unique(given, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"ids must be unique, got {kept[counts > 1][0]!r} more than once.")
    if among is not None:
        if kind_of(given) != kind_of(among):
            raise ValueError(
                f"ids must be of the kind enrolled before, such as {among[0]!r}, got {given[0]!r}."
            )
        if (known := np.isin(given, among)).any():
            raise ValueError(f"ids must be new, but {given[known][0]!r} is enrolled already.")
    return given


def numbered(next_id: int, n: int) -> NDArray[np.int64]:
    """Return the n numbers that come next.

    Raises
    ------
    ValueError
        If int64 does not hold them.
    """
    if next_id + n - 1 > _LARGEST:
        raise ValueError(
            f"ids must be given, as the numbers that follow those enrolled exceed {_LARGEST}, "
            "got ids=None."
        )
    return np.arange(next_id, next_id + n)


def after(ids: NDArray, next_id: int) -> int:
    """Return a number above all that have been keys."""
    return max(next_id, int(ids.max()) + 1) if ids.dtype.kind in "iu" and len(ids) else next_id


def _as_array(ids: ArrayLike) -> NDArray:
    if isinstance(ids, list | tuple):
        listed = np.empty(len(ids), dtype=object)
        listed[:] = ids
        ids = listed
    elif np.ndim(ids) == 0:
        ids = np.array([ids], dtype=object)
    given = np.asarray(as_labels(ids))
    if given.dtype == object and all(isinstance(key, str) for key in given.flat):
        if any(key.endswith("\0") for key in given.flat):
            raise ValueError("ids must be strings that do not end in '\\0', which numpy drops.")
        given = given.astype(str)
    if given.dtype.kind not in "iuU" and given.size:
        raise ValueError(
            f"ids must be integers or strings, all of one kind, got {given.dtype} such as "
            f"{given.flat[0]!r}."
        )
    if given.dtype.kind in "iu":
        if given.size and int(given.max()) > _LARGEST:
            raise ValueError(f"ids must be integers up to {_LARGEST}, got {given.max()}.")
        given = given.astype(np.int64)
    return column_or_1d(given)
