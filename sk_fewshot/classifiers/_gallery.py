"""Nearest-neighbour search over what a classifier has enrolled."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import ClassVar

import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_fewshot._utils.device import as_tensor, on_device, resolve_device
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._support import SupportSetClassifier
from sk_fewshot.distances import METRICS, Metric, pairwise_distances
from sk_fewshot.gallery._approximate import approximate_index, check_index, nearest_by_index
from sk_fewshot.gallery._search import Similarity, log_sum_exp, nearest
from sk_fewshot.heads._metric import MetricHead

LARGE = 1024  # rows: from here on the nearest is searched without all scores, or by an index


class GalleryClassifier(BaseFewShotClassifier):
    """A classifier that compares queries with rows of a gallery, up to millions of them.

    A subclass says what the gallery is (`_gallery`); its head has a `metric` and a `similarity`.
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseFewShotClassifier._parameter_constraints,
        "metric": [StrOptions(set(METRICS)), callable],
        "temperature": [Interval(Real, 0, None, closed="neither"), None],
        "index": [StrOptions({"faiss"}), None],
    }

    head_: MetricHead

    def __init__(
        self,
        encoder,
        *,
        metric,
        temperature,
        index,
        reject_below,
        unknown_label,
        device,
        random_state,
    ):
        super().__init__(
            encoder,
            reject_below=reject_below,
            unknown_label=unknown_label,
            device=device,
            random_state=random_state,
        )
        self.metric = metric
        self.temperature = temperature
        self.index = index

    @property
    @abstractmethod
    def _gallery(self) -> NDArray:
        """The embeddings (n_rows, d) that queries are compared with."""

    def kneighbors(self, X, n_neighbors=5, return_distance=True):
        """Find the nearest enrolled embeddings.

        Exact unless `index` is given, and in memory that does not grow with n_queries times the
        number of embeddings.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)
        n_neighbors : int, default=5
        return_distance : bool, default=True

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors)
            By `metric`, the smallest first. Only if `return_distance`.
        indices : ndarray of shape (n_queries, n_neighbors)
            Of the embeddings; of two at the same distance the first comes first.

        Raises
        ------
        TypeError
            If `n_neighbors` is not an integer.
        ValueError
            If it is not between 1 and the number of embeddings.
        """
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        scores, indices = self._nearest(embeddings, n_neighbors, self._minus_distances)
        return (-scores, indices) if return_distance else indices

    def _best_scores(self, embeddings):
        return self._nearest(embeddings, 1, self._minus_distances)[0][:, 0]

    def _minus_distances(self, queries: Tensor, rows: Tensor) -> Tensor:
        return -pairwise_distances(queries, rows, self._metric)

    def _similarity(self, queries: Tensor, rows: Tensor) -> Tensor:
        """What the scores of the head are made of."""
        return self.head_.similarity(queries, rows)

    @property
    def _metric(self) -> Metric:
        """The distance by which queries are compared with the gallery."""
        return self.head_.metric

    def _nearest(
        self, embeddings: NDArray, n_neighbors: int, similarity: Similarity
    ) -> tuple[NDArray, NDArray]:
        """Scores and indices, both (n_queries, n_neighbors)."""
        n_rows = len(self._gallery)
        if not isinstance(n_neighbors, Integral):
            raise TypeError(
                f"n_neighbors does not take {type(n_neighbors)} value, enter integer value"
            )
        if not 1 <= n_neighbors <= n_rows:
            raise ValueError(
                f"Expected 1 <= n_neighbors <= {n_rows}, the number of embeddings enrolled, "
                f"but n_neighbors = {n_neighbors}."
            )
        queries, rows = self._on_device(embeddings)
        with torch.inference_mode():
            if self.index is not None and n_rows >= LARGE:
                index = approximate_index(self, self._gallery, self._metric)
                scores, indices = nearest_by_index(
                    queries, rows, n_neighbors, index=index, similarity=similarity
                )
            else:
                scores, indices = nearest(
                    queries, rows, n_neighbors, metric=self._metric, similarity=similarity
                )
        return scores.cpu().numpy(), indices.cpu().numpy()

    def _check_settings(self):
        super()._check_settings()
        if self.index is not None:
            check_index(self._metric)

    def _on_device(self, embeddings: NDArray) -> tuple[Tensor, Tensor]:
        device = resolve_device(self.device)
        self.head_.to(device)
        return on_device(embeddings, device), on_device(self._gallery, device)


class OneRowAClass(GalleryClassifier):
    """A gallery with one row for each class, so that the nearest row is the predicted class."""

    def predict_top_k(self, X, k=5):
        """Return the most probable classes and their probabilities.

        The k largest of each row of `predict_proba`, in memory that does not grow with n_queries
        times n_classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)
        k : int, default=5
            At most the number of classes.

        Returns
        -------
        labels : ndarray of shape (n_queries, k)
            The most probable first.
        probabilities : ndarray of shape (n_queries, k)
            Among all classes.

        Raises
        ------
        TypeError, ValueError
            As `kneighbors`.
        """
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        scores, indices = self._nearest(embeddings, k, self._similarity)
        with torch.inference_mode():
            log_total = log_sum_exp(*self._on_device(embeddings), self._similarity)
        probabilities = (as_tensor(scores) - log_total.cpu().unsqueeze(1)).exp().numpy()
        return self.classes_[indices], probabilities

    def _most_similar_class(self, embeddings):
        if len(self.classes_) < LARGE:
            return super()._most_similar_class(embeddings)
        return self._nearest(embeddings, 1, self._similarity)[1][:, 0]


class OneRowAnExample(GalleryClassifier, SupportSetClassifier):
    """A gallery of the support examples themselves.

    A large one is scored some examples at a time, so that memory grows with neither their number
    times that of the queries nor with their number times that of the classes. A subclass scores
    some (`_score_rows`) and says what makes one score of two (`_joined`).
    """

    @abstractmethod
    def _score_rows(self, queries: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """Scores (n, n_classes) of queries (n, d) by examples (m, d) labelled from 0 on."""

    @abstractmethod
    def _joined(self, scores: Tensor, others: Tensor) -> Tensor:
        """Scores by some examples and by others of the same class, as by all."""

    @property
    def _gallery(self):
        return self.support_embeddings_

    @property
    def _in_parts(self) -> bool:
        """Whether some examples are scored at a time."""
        return len(self._gallery) > LARGE

    def _score(self, queries):
        if not self._in_parts:
            return super()._score(queries)
        support, codes = (on_device(part, queries.device) for part in self._state)
        queries = queries.to(support.dtype)
        scores = queries.new_full((len(queries), len(self.classes_)), -torch.inf)
        for rows, labels in zip(support.split(LARGE), codes.split(LARGE), strict=True):
            first, last = int(labels[0]), int(labels[-1])  # sorted, and no class in between lacks
            of_these = self._score_rows(queries, rows, labels - first)
            scores[:, first : last + 1] = self._joined(scores[:, first : last + 1], of_these)
        return scores
