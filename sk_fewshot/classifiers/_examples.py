"""What classifiers that keep their support examples show of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sk_fewshot.gallery import Examples


def support_embeddings(self) -> NDArray:
    """All support examples, embedded, sorted by class, (n_support, embedding_dim)."""
    return self.gallery_.in_memory().rows


def support_codes(self) -> NDArray[np.intp]:
    """Their classes, as indices into `classes_`, (n_support,)."""
    return self.gallery_.in_memory().codes


def support_ids(self) -> NDArray:
    """Their keys, (n_support,)."""
    return self.gallery_.in_memory().ids


def check_two_examples_per_class(gallery: Examples, classifier: str, transformer: str) -> None:
    """Check that a comparator can be learned from a support set.

    Raises
    ------
    ValueError
        If a class has one example.
    """
    counts = np.bincount(gallery.codes)
    if counts.min() < 2:
        raise ValueError(
            f"{classifier} has to learn its comparator from the support set, because the encoder "
            f"does not bring one, as a fitted {transformer} does. That takes two examples of each "
            f"class or more, but class {gallery.classes[counts.argmin()]!r} has n_samples=1. Learn "
            f"the comparator from other classes by meta_fit, or pass a fitted {transformer} as "
            "the encoder."
        )
