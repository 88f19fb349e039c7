"""Class labels, exactly as they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, column_or_1d


def as_labels(y: ArrayLike, name: str) -> NDArray:
    """Return labels as an array (n,), none of them rounded.

    Parameters
    ----------
    y : array-like of shape (n,)
        Also nullable integers of pandas, which scikit-learn makes floating point numbers of.
    name : str
        What errors call it.

    Returns
    -------
    ndarray of shape (n,)
        Integers that no integer type holds stay Python's, in an array of objects.

    Raises
    ------
    ValueError
        If y is empty or not one-dimensional, a label is missing or not finite, or some are strings
        and others are not.
    """
    labels = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if labels.dtype.kind == "f" and not hasattr(y, "dtype"):
        listed = np.array(y, dtype=object)
        if all(isinstance(label, int | np.integer) for label in listed.flat):
            labels = listed  # below 0 and from 2**63 on, which numpy makes floats of
    if labels.dtype == object:
        for i, label in enumerate(labels.flat):
            if is_missing(label):
                raise ValueError(f"{name} must not have missing labels, got {label} at index {i}.")
        n_strings = sum(isinstance(label, str) for label in labels.flat)
        if 0 < n_strings < labels.size:
            raise ValueError(f"{name} must hold strings alone or numbers alone, got both.")
        if all(isinstance(label, int | np.integer) for label in labels.flat):
            integers = np.asarray(labels.tolist())
            labels = integers if integers.dtype.kind in "iub" else labels
    labels = column_or_1d(labels)
    if len(labels) == 0:
        raise ValueError(f"{name} has 0 samples, while a minimum of 1 is required.")
    assert_all_finite(labels, input_name=name)
    return labels


def as_codes(
    y: NDArray, y_reference: NDArray, name: str = "y"
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the labels of both as integers from 0, alike where the labels are equal.

    Numbers of different types are compared by value, without rounding either.

    Raises
    ------
    ValueError
        If one holds numbers and the other strings.
    """
    if _are_strings(y) != _are_strings(y_reference):
        raise ValueError(
            f"{name} and {name}_reference must be both numbers or both strings, got dtypes "
            f"{y.dtype} and {y_reference.dtype}."
        )
    parts = [np.unique(labels, return_inverse=True) for labels in (y, y_reference)]
    code_of: dict[Any, int] = {}
    for values, _ in parts:
        for value in values.tolist():
            code_of.setdefault(value, len(code_of))
    own, other = (
        np.array([code_of[value] for value in values.tolist()])[inverse]
        for values, inverse in parts
    )
    return own, other


def _are_strings(labels: NDArray) -> bool:
    return labels.dtype.kind in "SU" or isinstance(labels[0], str)


def is_missing(value: Any) -> bool:
    """Whether a value is None, not a number, or pandas.NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA
        return True
