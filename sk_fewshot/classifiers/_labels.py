"""Labels of classes: which can stand in one array, and where a new one goes among the known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {
    "O": "strings",  # scikit-learn takes no other objects as labels
    "U": "strings",
    "b": "booleans",
    "f": "numbers",
    "i": "numbers",
    "u": "numbers",
}


def kind_of(labels: NDArray) -> str:
    """Return "numbers", "strings", "booleans", or the dtype of what is neither.

    Labels of one kind can stand in one array and keep their meaning.
    """
    return _KINDS.get(labels.dtype.kind, labels.dtype.name)


def merge(classes: NDArray, labels: NDArray) -> tuple[NDArray, NDArray[np.intp]]:
    """Put labels among classes.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted, each once.
    labels : ndarray of shape (n_labels,)
        Sorted, each once.

    Returns
    -------
    classes : ndarray of shape (n_merged,)
        Sorted, each once.
    new : ndarray of int of shape (n_new,)
        Indices, into the merged ones, of those that were not there before.

    Raises
    ------
    ValueError
        If the two are not of one kind.
    """
    if kind_of(classes) != kind_of(labels):
        raise ValueError(
            f"y must hold labels of the kind enrolled before, {kind_of(classes)} such as "
            f"{classes[0]!r}, got {kind_of(labels)} such as {labels[0]!r}."
        )
    place = np.searchsorted(classes, labels)
    is_new = classes[np.minimum(place, len(classes) - 1)] != labels
    dtype = np.result_type(classes, labels)
    place, labels = place[is_new], labels[is_new]
    merged = np.insert(classes.astype(dtype, copy=False), place, labels) if len(place) else classes
    return merged, place + np.arange(len(place))


def index_of(label: Any, classes: NDArray) -> int:
    """Index of a class.

    Raises
    ------
    ValueError
        If it is none of the classes.
    """
    found = np.flatnonzero(classes == label) if np.ndim(label) == 0 else np.empty(0)
    if len(found) != 1:
        raise ValueError(
            f"label must be one of the {len(classes)} classes enrolled, got {label!r}."
        )
    return int(found[0])
