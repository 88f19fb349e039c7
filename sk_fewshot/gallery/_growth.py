"""Arrays with a row for each class or example: how they grow, and whether they lie in a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPARE = 8  # a buffer has room for one further row in so many


def updated_rows(
    rows: NDArray, at: NDArray[np.intp], values: NDArray, replaced: NDArray[np.bool_]
) -> NDArray:
    """Insert rows and replace others, without changing the array given.

    Copies it, unless all rows go to the end and there is room for them: a result that ends in
    further rows leaves some in its buffer. Free room holds NaN, so that two arrays which share a
    buffer, as those of a shallow copy of an estimator do, never take the same.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)
    at : ndarray of int of shape (m,)
        Ascending indices into the result.
    values : ndarray of shape (m, ...)
        The rows there; finite.
    replaced : ndarray of bool of shape (m,)
        Which of them replace one; the others are inserted.

    Returns
    -------
    ndarray of shape (n + m - replaced.sum(), ...)
        Of the dtype of `rows`.
    """
    n, total = len(rows), len(rows) + len(at) - int(replaced.sum())
    if rows.dtype.kind == "f" and len(at) and at[0] >= n and not replaced.any():
        buffer = _buffer(rows)
        if buffer is None or len(buffer) < total or not np.isnan(buffer[n:total]).all():
            buffer = np.empty((total + total // _SPARE, *rows.shape[1:]), rows.dtype)
            buffer[:n] = rows
            buffer[total:] = np.nan
        buffer[n:total] = values
        return buffer[:total]
    inserted = at[~replaced] - np.arange(total - n)  # before these
    result = np.insert(rows, inserted, values[~replaced], axis=0)
    result[at[replaced]] = values[replaced]
    return result


def is_mapped(rows: NDArray) -> bool:
    """Whether rows lie in a file: they are a memory map or a view of one."""
    base: Any = rows
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)


def _buffer(rows: NDArray) -> NDArray | None:
    """The array that `rows` is the start of."""
    buffer = rows.base
    if (
        isinstance(buffer, np.ndarray)
        and buffer.flags.writeable
        and buffer.dtype == rows.dtype
        and buffer.shape[1:] == rows.shape[1:]
        and buffer.strides == rows.strides
        and buffer.ctypes.data == rows.ctypes.data
    ):
        return buffer
    return None
