"""How many classes, and examples of each, a batch holds."""

from __future__ import annotations

import numpy as np


def classes_per_batch(name: str, given: int | None, most: int, counts: np.ndarray) -> int:
    """Classes per batch: as given, or up to `most`.

    Raises
    ------
    ValueError
        If more are given than there are.
    """
    if given is not None and given > len(counts):
        raise ValueError(f"{name}={given} must not be greater than n_classes={len(counts)}.")
    return min(most, len(counts)) if given is None else given


def examples_per_class(
    name: str, given: int | None, least: int, most: int, counts: np.ndarray
) -> int:
    """Examples per class in a batch: as given, or `least` to `most`, as the smallest class allows.

    Raises
    ------
    ValueError
        If the smallest class has fewer than are given, or than `least`.
    """
    needed = least if given is None else given
    if counts.min() < needed:
        raise ValueError(
            f"Training with {name} needs {needed} examples of each class, but the smallest class "
            f"has n_samples={counts.min()}. Learn to compare from classes with more examples; for "
            "the encoder of a classifier that is what meta_fit is for."
        )
    return min(most, counts.min()) if given is None else given
