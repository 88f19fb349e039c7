"""Checks of what callers hand in, in scikit-learn's words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

_LARGEST_EXACT_INTEGER = 2**24  # in float32


def check_parameters(owner: object, constraints: dict, **values) -> None:
    """Check constructor arguments of a plain object as scikit-learn checks an estimator's.

    Parameters
    ----------
    owner : object
        The instance whose class name opens the error message.
    constraints : dict
        Argument name to a list of scikit-learn constraints (``Interval``, ``StrOptions``, types).
    **values
        The arguments.

    Raises
    ------
    InvalidParameterError
        A ValueError and TypeError that names the argument, what was given and what is allowed.
    """
    validate_parameter_constraints(constraints, values, caller_name=type(owner).__name__)


def check_batch(embeddings: torch.Tensor, y: torch.Tensor) -> None:
    """Check that a loss was given embeddings (n, d) and integer labels (n,).

    Raises
    ------
    TypeError
        If ``embeddings`` is not a floating tensor or ``y`` is not an integer tensor.
    ValueError
        If the shapes are not (n, d) and (n,).
    """
    check_floating("embeddings", embeddings)
    check_integers("y", y)
    if embeddings.ndim != 2:
        raise ValueError(
            f"embeddings must have shape (n, d), got shape {tuple(embeddings.shape)} instead."
        )
    if y.shape != embeddings.shape[:1]:
        raise ValueError(
            f"y must have shape ({len(embeddings)},) to match embeddings of shape "
            f"{tuple(embeddings.shape)}, got shape {tuple(y.shape)} instead."
        )


def check_floating(name: str, tensor: object) -> None:
    """Check that an argument is a tensor of floating point numbers.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating point tensor, got {_describe(tensor)} instead.")


def check_integers(name: str, tensor: object) -> None:
    """Check that an argument is a tensor of integers.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"{name} must be an integer tensor, got {_describe(tensor)} instead.")


def check_points(name: str, points: torch.Tensor) -> None:
    """Check that an argument is a tensor of rows (..., n, d), or a batch of such.

    Raises
    ------
    TypeError
        If it is not a floating point tensor.
    ValueError
        If it has fewer dimensions.
    """
    check_floating(name, points)
    if points.ndim < 2:
        raise ValueError(
            f"{name} must have shape (..., n, d), got shape {tuple(points.shape)} instead."
        )


def check_width(name: str, points: torch.Tensor, embedding_dim: int) -> None:
    """Check that points have the width that learned parameters have.

    Raises
    ------
    TypeError
        If they are not a floating point tensor.
    ValueError
        If they have another width.
    """
    check_points(name, points)
    if points.shape[-1] != embedding_dim:
        raise ValueError(
            f"{name} must have embedding_dim={embedding_dim} columns, got {points.shape[-1]}."
        )


def check_labels(y):
    """Return class labels as an array (n,).

    Raises
    ------
    ValueError
        If they are missing, not finite, not one a row, or no classes.
    """
    if y is None:
        raise ValueError("y must be given: it holds the classes, got y=None.")
    y = column_or_1d(y)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return y


def check_examples(
    estimator,
    X,
    y="no_validation",
    *,
    image_shape: tuple[int, int, int] | None,
    reset: bool,
):
    """Validate examples as flat float rows, whatever form they came in.

    Parameters
    ----------
    estimator : estimator
        Remembers ``n_features_in_`` and ``feature_names_in_``.
    X : array-like of shape (n, d), (n, H, W) or (n, C, H, W)
        Lists, DataFrames, tensors, arrays.
    y : array-like of shape (n,), default="no_validation"
        Labels.
    image_shape : tuple of (C, H, W) or None
        What an image must have; one of the three may be -1, whatever fits. None accepts any with
        `reset`, and none without.
    reset : bool
        True in `fit`.

    Returns
    -------
    X : ndarray of shape (n, n_features)
        float32 or float64 as given; other numbers become float32.
    y : ndarray of shape (n,)
        Only if `y` was passed.
    image_shape : tuple of (C, H, W) or None
        None if X is flat and no `image_shape` was given.

    Raises
    ------
    ValueError, TypeError
        As :func:`sklearn.utils.validation.validate_data`; or if images do not have `image_shape`,
        or values are too large for float32.
    """
    X = as_array(X)
    if n_dimensions(X) > 2:
        X = np.asarray(X)
        if X.ndim > 4:
            raise ValueError(
                "X must be flat (n, d) or images (n, H, W) or (n, C, H, W), "
                f"got an array of shape {X.shape}."
            )
        shape = X.shape[1:] if X.ndim == 4 else (1, *X.shape[1:])
        if image_shape is None and not reset:
            raise ValueError(
                f"X must be flat, as in fit, with shape (n, {estimator.n_features_in_}), "
                f"got shape {X.shape}."
            )
        if image_shape is not None and any(
            given not in (-1, side) for given, side in zip(image_shape, shape, strict=True)
        ):
            raise ValueError(f"X must hold images of shape {image_shape}, got {shape}.")
        image_shape = shape
        X = X.reshape(len(X), -1) if len(X) else X.reshape(0, int(np.prod(shape)))
    checked = validate_data(estimator, X, y, dtype=[np.float32, np.float64], reset=reset)
    X_checked = checked if isinstance(y, str) and y == "no_validation" else checked[0]
    if image_shape is not None:
        try:
            image_shape = X_checked[0].reshape(image_shape).shape
        except ValueError as error:
            raise ValueError(
                f"image_shape={image_shape} does not fit the {X_checked.shape[1]} features of X."
            ) from error
    _check_fits_float32(X, X_checked)
    return (*checked, image_shape) if isinstance(checked, tuple) else (checked, image_shape)


def as_array(X):
    """Return X, a tensor of any device as an array."""
    return X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else X


def n_dimensions(X) -> int:
    """Number of dimensions of an array or a table, or the depth of nested lists."""
    if hasattr(X, "shape"):
        return len(X.shape)
    return 1 + n_dimensions(X[0]) if isinstance(X, list | tuple) and X else 0


def _check_fits_float32(given, checked: NDArray) -> None:
    """Refuse numbers that a float32 network could not see as they are."""
    largest = max(-checked.min(), checked.max()) if checked.size else 0
    if largest > np.finfo(np.float32).max:
        raise ValueError(f"X holds values too large for float32: {largest}.")
    given = np.asarray(given) if isinstance(given, list | tuple) else given
    kind = getattr(getattr(given, "dtype", None), "kind", "O")
    if kind in "iu" and largest >= _LARGEST_EXACT_INTEGER:
        raise ValueError(
            f"X holds integers up to about {largest:.0f}, which float32 cannot tell apart from "
            f"{_LARGEST_EXACT_INTEGER} on; scale X and pass floats."
        )


def _describe(value: object) -> str:
    return str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
