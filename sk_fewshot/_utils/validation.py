"""Checks of what callers hand in, in scikit-learn's words."""

from __future__ import annotations

import torch
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.multiclass import check_classification_targets


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


def check_given_pairs(x: torch.Tensor, y: torch.Tensor, same: torch.Tensor) -> None:
    """Check that a loss was given pairs: two tensors (n, d), and whether they are the same (n,).

    Raises
    ------
    TypeError
        If ``x`` or ``y`` is not a floating tensor, or ``same`` not one of booleans or integers.
    ValueError
        If the shapes are others.
    """
    check_floating("x", x)
    check_floating("y", y)
    check_integers("same", same)
    if x.ndim != 2 or y.shape != x.shape:
        raise ValueError(
            f"x and y must both have shape (n, d), got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    if same.shape != x.shape[:1]:
        raise ValueError(
            f"same must have shape ({len(x)},) to match x of shape {tuple(x.shape)}, got shape "
            f"{tuple(same.shape)}."
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


def _describe(value: object) -> str:
    return str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
