"""Classifiers that compare by a distance, and can tell which enrolled rows are the nearest."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.device import resolve_device
from sk_fewshot._utils.state import all_or_nothing, of_one_moment
from sk_fewshot.classifiers import _left_out
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._encoder import encoder_digest
from sk_fewshot.classifiers._scoring import scoring_device
from sk_fewshot.distances import METRICS
from sk_fewshot.gallery._approximate import check_index
from sk_fewshot.gallery._gallery import Neighbors
from sk_fewshot.gallery._stored import GalleryEngine, StoredGallery
from sk_fewshot.heads._metric import MetricHead


class NearestClassifier(BaseFewShotClassifier):
    """A few-shot classifier whose head compares by a distance."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseFewShotClassifier._parameter_constraints,
        "metric": [StrOptions(set(METRICS)), callable],
        "temperature": [Interval(Real, 0, None, closed="neither"), None],
        "index": [StrOptions({"faiss"}), GalleryEngine, None],
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

    def join(self) -> Self:
        """Take part in a gallery that others have enrolled, instead of `fit`.

        `index` says where it is. The encoder must be frozen, or "passthrough", and the one that
        the gallery was enrolled with.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If `index` is no :class:`~sk_fewshot.gallery.PostgresGallery`, there is no gallery yet,
            or it has another metric or encoder.
        """
        self._validate_params()
        if not isinstance(self.index, GalleryEngine):
            raise ValueError(
                f"join needs a gallery that is shared, index=PostgresGallery(...), got "
                f"index={self.index!r}."
            )
        if not isinstance(self.encoder, str | FrozenEstimator) or self._learns_head(self.encoder):
            raise ValueError(
                "join learns nothing, so that it needs a fitted encoder, frozen, with all that it "
                f"compares by: encoder=FrozenEstimator(fitted). Got encoder={self.encoder!r}."
            )
        resolve_device(self.device)
        with all_or_nothing(self) as fitted:
            fitted.encoder_ = self.encoder
            head: Any = fitted._make_head(None)
            fitted.head_ = head
            fitted.gallery_ = fitted._stored_gallery().opened()
            fitted.image_shape_, fitted.n_features_in_ = None, fitted.gallery_.dimension
            fitted._take_names()
        return self

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
        if not isinstance(n_neighbors, Integral) or isinstance(n_neighbors, bool):
            raise TypeError(
                f"n_neighbors does not take {type(n_neighbors)} value, enter integer value"
            )
        device = scoring_device(self)
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

    def _store(self, embeddings, y, ids, *, joins):
        if isinstance(self.index, GalleryEngine):
            self._keep(self._stored_gallery().begun(embeddings, y, ids, joins=joins))

    def _stored_gallery(self) -> StoredGallery:
        return self.index.gallery(
            self._gallery_kind,
            metric=self.head_.distance,
            encoder=encoder_digest(self.encoder_),
        )

    def _check_settings(self):
        super()._check_settings()
        if self.index == "faiss":
            check_index(self.head_.distance)
