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
_LARGEST_EXACT = 2**53  # integer in float64


def kind_of(labels: NDArray) -> str:
    """Return "numbers", "strings", "booleans", or the dtype of what is neither.

    Labels of one kind can stand in one array and keep their meaning.
    """
    return _KINDS.get(labels.dtype.kind, labels.dtype.name)


def check_kind(labels: NDArray, classes: NDArray) -> None:
    """Check that labels are of the kind of the classes enrolled.

    Raises
    ------
    ValueError
        If they are not.
    """
    if kind_of(classes) != kind_of(labels):
        raise ValueError(
            f"y must hold labels of the kind enrolled before, {kind_of(classes)} such as "
            f"{classes[0]!r}, got {kind_of(labels)} such as {labels[0]!r}."
        )


def in_one_dtype(classes: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    """Return both in one dtype, in which each keeps its exact value.

    Integers that floating point cannot hold stay integers, and whole numbers join them as such.

    Raises
    ------
    ValueError
        If no dtype holds them all.
    """
    dtypes = {classes.dtype.kind, labels.dtype.kind}
    whole = [part for part in (classes, labels) if part.dtype.kind in "iu"]
    if "f" in dtypes and any(_size(part) > _LARGEST_EXACT for part in whole):
        classes, labels = _whole(classes), _whole(labels)
        dtypes = {classes.dtype.kind, labels.dtype.kind}
    dtype = np.result_type(classes, labels)
    if dtypes == {"i", "u"} and dtype.kind == "f":  # int64 and uint64
        signed, unsigned = sorted((classes, labels), key=lambda x: x.dtype.kind)
        if unsigned.size == 0 or unsigned.max() <= np.iinfo(np.int64).max:
            dtype = np.dtype(np.int64)
        elif signed.size == 0 or signed.min() >= 0:
            dtype = np.dtype(np.uint64)
    exact = dtype.kind != "f" or all(
        part.dtype.kind == "f" or (_size(part) <= _LARGEST_EXACT) for part in (classes, labels)
    )
    if not exact:
        raise ValueError(
            f"y must hold labels that can stand in one array with those enrolled before, of dtype "
            f"{classes.dtype} such as {classes[0]!r}; {labels.dtype} such as {labels[0]!r} cannot "
            "without rounding. Pass integers of one type, or strings."
        )
    return classes.astype(dtype, copy=False), labels.astype(dtype, copy=False)


def merge(classes: NDArray, labels: NDArray) -> tuple[NDArray, NDArray[np.intp], NDArray[np.intp]]:
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
    place : ndarray of int of shape (n_labels,)
        Indices of the labels into the merged classes.
    new : ndarray of int of shape (n_new,)
        Those of them that were not there before.

    Raises
    ------
    ValueError
        If the two are not of one kind, or no dtype holds both exactly.
    """
    check_kind(labels, classes)
    classes, labels = in_one_dtype(classes, labels)
    place = np.searchsorted(classes, labels)
    is_new = classes[np.minimum(place, len(classes) - 1)] != labels
    merged = np.insert(classes, place[is_new], labels[is_new]) if is_new.any() else classes
    place = place + np.cumsum(is_new) - is_new
    return merged, place, place[is_new]


def index_of(label: Any, classes: NDArray) -> int:
    """Index of a class.

    Raises
    ------
    ValueError
        If it is none of the classes.
    """
    fits = np.ndim(label) == 0 and kind_of(np.asarray(label)) == kind_of(classes)
    found = np.flatnonzero(classes == label) if fits else np.empty(0)
    if len(found) != 1:
        raise ValueError(
            f"label must be one of the {len(classes)} classes enrolled, got {label!r}."
        )
    return int(found[0])


def unknown_label(given: int | float | str | None, classes: NDArray) -> NDArray:
    """Return the label of rejected queries, as an array of shape ().

    None stands for -1 among numbers and "unknown" among strings; where that is a class, for the
    number below the smallest class, or for "unknown" with underscores at its end.

    Raises
    ------
    ValueError
        If it cannot stand in one array with the classes, or is one of them.
    """
    kind = kind_of(classes)
    if given is None and kind in ("numbers", "strings"):
        return _free_label(classes)
    label = np.asarray(given)
    if kind_of(label) != kind or kind == "booleans" or not _fits(classes, label):
        raise ValueError(
            f"unknown_label={given!r} cannot stand in one array with the classes, which are "
            f"{kind} of dtype {classes.dtype}, such as {classes[0]!r}. Pass a label of the "
            "same kind, or reject_below=None."
        )
    if (classes == label).any():
        raise ValueError(
            f"unknown_label={given!r} is one of the classes enrolled; it must be none of them."
        )
    return label


def _free_label(classes: NDArray) -> NDArray:
    if kind_of(classes) == "strings":
        label = "unknown"
        while (classes == label).any():
            label += "_"
        return np.asarray(label)
    return np.asarray(-1 if not (classes == -1).any() else classes.min() - 1)


def _fits(classes: NDArray, label: NDArray) -> bool:
    if classes.dtype.kind in "iu" and label.dtype.kind == "f":
        return False
    try:
        in_one_dtype(classes, label[None])
    except ValueError:
        return False
    return True


def _whole(labels: NDArray) -> NDArray:
    """Return floating point labels as integers where all are whole and int64 holds them."""
    if labels.dtype.kind != "f" or (labels % 1 != 0).any() or _size(labels) >= 2**63:
        return labels
    return labels.astype(np.int64)


def _size(labels: NDArray) -> float:
    return max(abs(int(labels.min())), abs(int(labels.max()))) if labels.size else 0
