"""Classifiers that compare queries with the support examples themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import on_device, resolve_device, torch_dtype
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.gallery._growth import is_mapped

Arrays = NDArray | tuple[NDArray, ...]


class SupportSetClassifier(BaseFewShotClassifier):
    """Keeps the support embeddings, sorted, and what the head makes of them (`enrol`).

    Sorting makes everything after it bitwise independent of the order of the rows, and of whether
    they came at once or one by one. A memory map whose rows come class by class is kept as it is.
    """

    support_embeddings_: NDArray
    support_codes_: NDArray[np.intp]
    _state: Arrays
    head_: Any

    def _enrol(self, embeddings, codes, new):
        if new is not None:
            known = np.delete(np.arange(len(self.classes_)), new)  # codes of those before
            embeddings = np.concatenate([self.support_embeddings_, embeddings])
            codes = np.concatenate([known[self.support_codes_], codes])
        if not (is_mapped(embeddings) and (np.diff(codes) >= 0).all()):
            embeddings, codes = sorted_support(embeddings, codes)
        self._keep(embeddings, codes)

    def _forget(self, code):
        kept = self.support_codes_ != code
        codes = self.support_codes_[kept]
        self._keep(self.support_embeddings_[kept], codes - (codes > code))

    def _keep(self, embeddings: NDArray, codes: NDArray[np.intp]) -> None:
        self.support_embeddings_, self.support_codes_ = embeddings, codes
        device = resolve_device(self.device)
        with torch.inference_mode():
            support, labels = (on_device(array, device) for array in (embeddings, codes))
            state = self.head_.to(device).enrol(support, labels)
        if isinstance(state, Tensor):
            self._state = state.cpu().numpy()
        else:
            ours = {id(support): embeddings, id(labels): codes}
            self._state = tuple(
                ours[id(part)] if id(part) in ours else part.cpu().numpy() for part in state
            )

    def _score(self, queries):
        dtype = torch_dtype(self.support_embeddings_.dtype)
        state: Tensor | tuple[Tensor, ...]
        if isinstance(self._state, tuple):
            state = tuple(on_device(part, queries.device) for part in self._state)
        else:
            state = on_device(self._state, queries.device)
        return self.head_.score(queries.to(dtype), state)


def sorted_support(
    embeddings: NDArray, codes: NDArray[np.intp]
) -> tuple[NDArray, NDArray[np.intp]]:
    """Sort a support set by class, then by the bytes of the embeddings.

    Any order would do that the rows' own contents fix: rows that tie are the same.
    """
    embeddings = np.ascontiguousarray(embeddings + 0.0)  # -0.0 becomes 0.0
    order = byte_order(embeddings)
    order = order[codes[order].argsort(kind="stable")]
    return embeddings[order], codes[order]


def byte_order(embeddings: NDArray) -> NDArray[np.intp]:
    """Return the indices (n,) that sort embeddings (n, d), without -0.0, by their bytes."""
    rows = np.ascontiguousarray(embeddings)
    return rows.view(np.dtype((np.void, rows.strides[0])))[:, 0].argsort()


def check_two_examples_a_class(
    classifier: BaseFewShotClassifier, codes: NDArray[np.intp], transformer: str
) -> None:
    """Check that a comparator can be learned from a support set.

    Raises
    ------
    ValueError
        If a class has one example.
    """
    counts = np.bincount(codes)
    if counts.min() < 2:
        name = type(classifier).__name__
        raise ValueError(
            f"{name} has to learn its comparator from the support set, because the encoder is no "
            f"{transformer} that brings one. That takes two examples of each class or more, but "
            f"class {classifier.classes_[counts.argmin()]!r} has n_samples=1. Learn the comparator "
            f"from other classes by meta_fit, or pass a fitted {transformer} as the encoder."
        )
