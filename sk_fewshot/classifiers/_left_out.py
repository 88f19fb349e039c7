"""Scores of enrolled examples as if their class, or they alone, had never been enrolled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from sk_fewshot._utils.device import as_tensor
from sk_fewshot._utils.state import snapshot
from sk_fewshot.distances import paired_distances
from sk_fewshot.gallery import ClassMeans, Examples
from sk_fewshot.gallery._gallery import MemoryGallery

if TYPE_CHECKING:
    from sk_fewshot.classifiers._base import BaseFewShotClassifier
    from sk_fewshot.classifiers._nearest import NearestClassifier

_MOST_NEIGHBORS = 65  # beyond which another gallery is made
_BATCH = 1024  # examples scored against all classes at once
_ROUNDING = 1e-5  # of a mean, relative


def without_class(
    self: BaseFewShotClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> NDArray:
    """Scores (n,) as if the class of each example, an index into `classes_`, were not enrolled."""
    scores = _room_for_scores(self, embeddings)
    for code in np.unique(codes):
        own = codes == code
        others = self.gallery_.without_class(self.classes_[code])
        scores[own] = _with_gallery(self, others)._best_scores(embeddings[own])
    return scores


def without_class_by_scores(
    self: BaseFewShotClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> NDArray:
    """`without_class` where the score of a class does not depend on the others."""
    scores = _room_for_scores(self, embeddings)
    for batch in gen_batches(len(codes), _BATCH):
        of_classes = self._score_embeddings(embeddings[batch])
        np.put_along_axis(of_classes, codes[batch, None], -np.inf, axis=1)
        scores[batch] = of_classes.max(axis=1)
    return scores


def without_class_by_neighbors(
    self: NearestClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> NDArray:
    """`without_class` from the nearest rows of other classes."""
    n_own = np.bincount(self.gallery_.codes)[codes]
    few = n_own < _MOST_NEIGHBORS
    scores = _room_for_scores(self, embeddings)
    scores[~few] = without_class(self, embeddings[~few], codes[~few])
    if few.any():
        found = self._neighbors(embeddings[few], int(n_own[few].max()) + 1)
        scores[few] = -_first(found.distances, found.labels != self.classes_[codes[few, None]])
    return scores


def without_example(
    self: BaseFewShotClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Scores as if each example that is enrolled were not, and for which examples there are any.

    There are none for the only example of a class. An example that is not enrolled, though its
    class is, is scored as any query.
    """

    def alone(embeddings: NDArray, rows: NDArray[np.intp]) -> NDArray:
        return np.concatenate(
            [
                _with_gallery(self, self.gallery_.without(self.gallery_.keys[[row]]))._best_scores(
                    embeddings[[i]]
                )
                for i, row in enumerate(rows)
            ]
        )

    return _left_out(self, embeddings, codes, alone)


def without_example_by_neighbors(
    self: NearestClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> tuple[NDArray, NDArray[np.bool_]]:
    """`without_example` from the two nearest rows."""

    def alone(embeddings: NDArray, rows: NDArray[np.intp]) -> NDArray:
        found = self._neighbors(embeddings, 2)
        return -_first(found.distances, found.keys != self.gallery_.keys[rows[:, None]])

    return _left_out(self, embeddings, codes, alone)


def without_example_of_means(
    self: NearestClassifier, embeddings: NDArray, codes: NDArray[np.intp]
) -> tuple[NDArray, NDArray[np.bool_]]:
    """`without_example` for prototypes: all examples of a class are enrolled, or none of them.

    They are where they are as many as the class has, and have its mean.
    """
    gallery = self.gallery_
    assert isinstance(gallery, ClassMeans)
    given = np.bincount(codes, minlength=len(gallery.classes))
    sums = np.zeros(gallery.rows.shape)
    np.add.at(sums, codes, embeddings)
    apart = np.abs(sums / np.maximum(given, 1)[:, None] - gallery.rows).max(axis=1)
    size = np.abs(gallery.rows).max(axis=1)
    enrolled = ((given == gallery.counts) & (apart <= _ROUNDING * size))[codes]
    usable = ~enrolled | (gallery.counts[codes] > 1)
    scores = self._best_scores(embeddings)
    left_out = np.flatnonzero(enrolled & usable)
    if len(left_out):
        own, x = codes[left_out], embeddings[left_out].astype(np.float64)
        rest = (sums[own] - x) / (gallery.counts[own] - 1)[:, None]
        with torch.inference_mode():
            distances = paired_distances(as_tensor(x), as_tensor(rest), self.head_.distance)
        scores[left_out] = -distances.numpy()
        if len(gallery.classes) > 1:
            elsewhere = without_class_by_neighbors(self, embeddings[left_out], own)
            scores[left_out] = np.maximum(scores[left_out], elsewhere)
    return scores[usable], usable


def _left_out(
    self: BaseFewShotClassifier,
    embeddings: NDArray,
    codes: NDArray[np.intp],
    alone: Callable[[NDArray, NDArray[np.intp]], NDArray],
) -> tuple[NDArray, NDArray[np.bool_]]:
    assert isinstance(self.gallery_, Examples)
    rows = self.gallery_.find(embeddings, codes)
    counts = np.bincount(self.gallery_.codes)
    usable = (rows < 0) | (counts[codes] > 1)
    scores = self._best_scores(embeddings)
    enrolled = np.flatnonzero((rows >= 0) & usable)
    if len(enrolled):
        scores[enrolled] = alone(embeddings[enrolled], rows[enrolled])
    return scores[usable], usable


def _room_for_scores(self: BaseFewShotClassifier, embeddings: NDArray) -> NDArray:
    return np.empty(len(embeddings), dtype=self._best_scores(embeddings[:1]).dtype)


def _first(values: NDArray, where: NDArray[np.bool_]) -> NDArray:
    """Return the first value of each row (n, k) where it is true."""
    return np.take_along_axis(values, where.argmax(axis=1)[:, None], axis=1)[:, 0]


def _with_gallery(self: BaseFewShotClassifier, gallery: MemoryGallery) -> BaseFewShotClassifier:
    other = snapshot(self)
    other._keep(gallery)
    return other
