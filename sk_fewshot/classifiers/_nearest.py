"""Classifiers that compare by a distance, and can tell which enrolled rows are the nearest."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.device import resolve_device
from sk_fewshot._utils.state import of_one_moment
from sk_fewshot.classifiers import _left_out
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.distances import METRICS
from sk_fewshot.gallery._approximate import check_index
from sk_fewshot.gallery._gallery import Neighbors
from sk_fewshot.heads._metric import MetricHead


class NearestClassifier(BaseFewShotClassifier):
    """A few-shot classifier whose head compares by a distance."""

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

    @of_one_moment
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
        ids : ndarray of shape (n_queries, n_neighbors)
            Keys of the examples; by default their numbers in the order of enrolment, so the rows of
            `fit`. For prototypes, indices into `classes_`. At equal distances the first class comes
            first, then the example that was enrolled first.

        Raises
        ------
        TypeError
            If `n_neighbors` is not an integer.
        ValueError
            If it is not between 1 and the number of embeddings.
        """
        check_is_fitted(self)
        found = self._neighbors(self._embed(X, reset=False), n_neighbors)
        return (found.distances, found.keys) if return_distance else found.keys

    def _neighbors(self, embeddings: NDArray, n_neighbors: int) -> Neighbors:
        """The nearest rows of the gallery."""
        if not isinstance(n_neighbors, Integral):
            raise TypeError(
                f"n_neighbors does not take {type(n_neighbors)} value, enter integer value"
            )
        device = resolve_device(self.device)
        self.head_.to(device)
        return self.gallery_.neighbors(
            embeddings,
            n_neighbors,
            self.head_.distance,
            device=device,
            approximate=self.index == "faiss",
        )

    def _best_labels(self, embeddings):
        if self.head_.nearest_decides and self.gallery_.is_large:
            return self._neighbors(embeddings, 1).labels[:, 0]
        return super()._best_labels(embeddings)

    def _best(self, embeddings):
        if self.head_.nearest_decides and self.gallery_.is_large:
            found = self._neighbors(embeddings, 1)
            return found.labels[:, 0], -found.distances[:, 0]
        return super()._best(embeddings)

    def _best_scores(self, embeddings):
        return -self._neighbors(embeddings, 1).distances[:, 0]

    _best_scores_without_class = _left_out.without_class_by_neighbors
    _best_scores_without_example = _left_out.without_example_by_neighbors

    def _check_settings(self):
        super()._check_settings()
        if self.index == "faiss":
            check_index(self.head_.distance)
