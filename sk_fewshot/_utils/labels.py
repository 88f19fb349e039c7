"""Class labels as arrays, with every integer kept exactly."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_labels(y: Any) -> Any:
    """Return labels with nullable and boxed integers as plain ones; others as they are.

    scikit-learn would make floating point numbers of them, which merge integers beyond 2**53.

    Raises
    ------
    ValueError
        If integers neither fit into int64 nor into uint64.
    """
    if hasattr(y, "dtype") and hasattr(y, "to_numpy"):  # a pandas or polars column
        dtype = getattr(y.dtype, "numpy_dtype", None)
        missing = getattr(y, "hasnans", False)
        if dtype is not None and np.dtype(dtype).kind in "iub" and not missing:
            return y.to_numpy(dtype=dtype)
        return y
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y
    labels = list(y) if isinstance(y, list | tuple | np.ndarray) else []
    if not labels or any(type(label) is not int and not _is_integer(label) for label in labels):
        return y
    least, most = min(labels), max(labels)
    if least >= -(2**63) and most < 2**63:
        return np.array(labels, dtype=np.int64)
    if least >= 0 and most < 2**64:
        return np.array(labels, dtype=np.uint64)
    raise ValueError(
        f"y must hold integers that fit into int64 or uint64, got {least} and {most}; pass strings."
    )


def _is_integer(label: object) -> bool:
    return isinstance(label, np.integer)
