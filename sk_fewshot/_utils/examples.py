"""Checks of the examples that callers hand in, in scikit-learn's words."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_array, check_X_y
from sklearn.utils.validation import validate_data

from sk_fewshot._utils.containers import LARGEST_EXACT_INTEGER, as_rows, refuse_integers
from sk_fewshot._utils.rows import Rows, as_floats, pieces, reshaped
from sk_fewshot._utils.warn import warn_caller


def check_examples(
    estimator,
    X,
    y="no_validation",
    *,
    image_shape: tuple[int, int, int] | None,
    reset: bool,
):
    """Validate examples as :func:`check_rows` does, and return them all as flat float rows.

    Returns
    -------
    X : ndarray of shape (n, n_features)
        float32 or float64 as given; other numbers become float32.
    y : ndarray of shape (n,)
        Only if `y` was passed.
    image_shape : tuple of (C, H, W) or None
        None if X is flat and no `image_shape` was given.
    """
    rows, *others = check_rows(estimator, X, y, image_shape=image_shape, reset=reset)
    return (as_floats(rows).reshape(len(rows), -1), *others)


def check_rows(
    estimator,
    X,
    y="no_validation",
    *,
    image_shape: tuple[int, ...] | None,
    reset: bool,
):
    """Validate examples, whatever form they came in, without a copy or a cast of all of them.

    Parameters
    ----------
    estimator : estimator
        Remembers ``n_features_in_`` and ``feature_names_in_``.
    X : array-like of shape (n, d), (n, H, W) or (n, C, H, W)
        Whatever :func:`sk_fewshot._utils.containers.as_rows` takes.
    y : array-like of shape (n,), default="no_validation"
        Labels.
    image_shape : tuple of (C, H, W) or None
        What an image must have; one of the three may be -1, whatever fits. None accepts any with
        `reset`, and none without.
    reset : bool
        True in `fit`.

    Returns
    -------
    X : ndarray or Rows of shape (n, n_features), or (n, C, H, W) with an `image_shape`
        With the type of number that was given.
    y : ndarray of shape (n,)
        Only if `y` was passed.
    image_shape : tuple of (C, H, W) or None
        None if X is flat and no `image_shape` was given.

    Raises
    ------
    ValueError, TypeError
        As :func:`sklearn.utils.validation.validate_data`; or if images do not have `image_shape`,
        or look like channels-last ones, or values are too large for float32.
    """
    rows = as_rows(X)
    given_shape = image_shape
    image_shape = _image_shape(estimator, rows.shape, image_shape, reset)
    n, n_features = len(rows), prod(rows.shape[1:])
    stand_in = np.broadcast_to(np.float32(0), (n, n_features))  # takes the memory of one number
    if not stand_in.size:
        check_array(stand_in, estimator=estimator)
    with_labels = not (isinstance(y, str) and y == "no_validation")
    table = X if rows.ndim == 2 and hasattr(X, "columns") else stand_in
    validate_data(estimator, table, y, skip_check_array=True, reset=reset)
    _check_numbers(estimator, rows)
    labels = check_X_y(stand_in[:, :1], y, estimator=estimator)[1:] if with_labels else ()
    if image_shape is not None:
        rows = reshaped(rows, _resolved(image_shape, n_features))
        image_shape = rows.shape[1:]
        if reset and given_shape is not None:
            _warn_of_channels_last(image_shape)
    return rows, *labels, image_shape


def n_dimensions(X) -> int:
    """Number of dimensions of an array or a table, or the depth of nested lists."""
    if hasattr(X, "shape"):
        return len(X.shape)
    return 1 + n_dimensions(X[0]) if isinstance(X, list | tuple) and X else 0


def _image_shape(
    estimator,
    shape: tuple[int, ...],
    image_shape: tuple[int, ...] | None,
    reset: bool,
) -> tuple[int, ...] | None:
    """Return the shape of an image in X of this shape, and None if X is to stay flat.

    Raises
    ------
    ValueError
        If X is neither flat nor images, holds images of another shape or with channels last, or is
        a single example.
    """
    alone = "for one example pass X[:1] instead of X[0]"
    if len(shape) < 2:
        got = f"1D array of shape {shape}" if shape else "scalar array"
        raise ValueError(
            f"Expected 2D array, got {got} instead. Reshape your data: X holds examples along its "
            f"first axis; {alone}."
        )
    if len(shape) == 2:
        if image_shape is not None and not reset and shape == image_shape[1:] != (1, shape[1]):
            raise ValueError(
                f"X must hold images of shape {image_shape}, got a single one of shape {shape}: "
                f"{alone}."
            )
        return image_shape
    if len(shape) > 4:
        raise ValueError(
            "X must be flat (n, d) or images (n, H, W) or (n, C, H, W), "
            f"got an array of shape {shape}."
        )
    image = shape[1:] if len(shape) == 4 else (1, *shape[1:])
    if image_shape is None:
        if not reset:
            raise ValueError(
                f"X must be flat, as in fit, with shape (n, {estimator.n_features_in_}), got shape "
                f"{shape}; {alone}."
            )
        check_channels(shape, may_say_so=hasattr(estimator, "image_shape"))
    elif any(known not in (-1, side) for known, side in zip(image_shape, image, strict=True)):
        channels_last = (*image_shape[1:], image_shape[0])
        if shape == image_shape:
            hint = f"; {alone}"
        elif shape == channels_last:
            hint = "; of one image with channels last pass np.moveaxis(X, -1, 0)[None]"
        elif image == channels_last:
            hint = "; of images with channels last pass np.moveaxis(X, -1, 1)"
        else:
            hint = ""
        raise ValueError(f"X must hold images of shape {image_shape}, got {image}{hint}.")
    return image


def check_channels(shape: tuple[int, ...], *, may_say_so: bool = False) -> None:
    """Check that images of this shape, (n, ..., C, H, W), do not look like (n, ..., H, W, C).

    Raises
    ------
    ValueError
        If they do. It tells of `image_shape` where that `may_say_so`.
    """
    image, axis = shape[-3:], len(shape) - 3
    if len(shape) > 3 and _looks_channels_last(image):
        meant = f", or image_shape={image} where there are {image[0]} channels"
        raise ValueError(
            f"X of shape {shape} looks like images with channels last, but images are (C, H, W): "
            f"pass np.moveaxis(X, -1, {axis}){meant if may_say_so else ''}."
        )


def _looks_channels_last(image_shape: tuple[int, ...]) -> bool:
    """Whether (C, H, W) is rather (H, W, C), as most libraries hand out images."""
    C, H, W = image_shape
    return W in (1, 3, 4) and C > 4 and H > 4


def _warn_of_channels_last(image_shape: tuple[int, ...]) -> None:
    """Warn of an `image_shape` that was asked for but is rather (H, W, C).

    Signals of one column, such as (22, 1000, 1), are common enough not to be.
    """
    C, H, W = image_shape
    if _looks_channels_last(image_shape) and (W > 1 or C == H):
        warn_caller(
            f"image_shape={image_shape} means {C} channels of {H} x {W}, but looks like (height, "
            "width, channels). Of images with channels last pass np.moveaxis(X, -1, 1)."
        )


def _resolved(image_shape: tuple[int, ...], n_features: int) -> tuple[int, ...]:
    """Return the shape of an image of so many numbers, with a side in place of -1."""
    try:
        return np.empty(n_features, bool).reshape(image_shape).shape
    except ValueError as error:
        raise ValueError(
            f"image_shape={image_shape} does not fit the {n_features} features of X."
        ) from error


def _check_numbers(estimator, rows: NDArray | Rows) -> None:
    """Refuse what is not finite, and what a float32 network could not see as it is."""
    name, kind = type(estimator).__name__, rows.dtype.kind
    may_exceed = rows.dtype.itemsize > (4 if kind == "f" else 2)
    largest: Any = 0
    for _, piece in pieces(rows):
        assert_all_finite(piece, estimator_name=name, input_name="X")
        if may_exceed:
            ends = piece.min(), piece.max()
            low, high = ends if kind == "f" else map(int, ends)
            largest = max(largest, -low, high)
    if largest > np.finfo(np.float32).max:
        raise ValueError(f"X holds values too large for float32: {largest}.")
    if kind in "iu" and largest >= LARGEST_EXACT_INTEGER:
        refuse_integers(largest)
