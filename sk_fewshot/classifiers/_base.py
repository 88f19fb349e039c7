"""What every few-shot classifier shares: the encoder, enrolment, prediction."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor, nn

from sk_fewshot._utils.chunks import apply_in_chunks
from sk_fewshot._utils.device import resolve_device
from sk_fewshot._utils.doc_link import LinksToDocs
from sk_fewshot._utils.examples import check_examples
from sk_fewshot._utils.state import all_or_nothing
from sk_fewshot.classifiers._encoder import (
    check_comparable,
    encode_examples,
    encoder_input,
    fresh_encoder,
    warn_if_fitted,
)
from sk_fewshot.classifiers._labels import index_of, merge
from sk_fewshot.classifiers._meta_fit import MetaFit
from sk_fewshot.classifiers._open_set import OpenSet

_CHUNK = 64  # queries scored at once
_ROUNDING = 1e-5  # of scores in float32 that are computed in another order

EpisodeScore = tuple[Tensor, Tensor]


class BaseFewShotClassifier(
    LinksToDocs, MetaFit, OpenSet, ClassifierMixin, BaseEstimator, metaclass=ABCMeta
):
    """A head over an encoder. Think twice before adding anything to this class.

    A subclass names its own transformer (`_default_encoder`) and says how support embeddings are
    kept (`_enrol`) and how queries are scored against them (`_score`).
    """

    _parameter_constraints: ClassVar[dict] = {
        "encoder": [None, StrOptions({"passthrough"}), HasMethods(["fit", "transform"])],
        **OpenSet._parameter_constraints,
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    classes_: NDArray
    image_shape_: tuple[int, int, int] | None

    def __init__(self, encoder, *, reject_below, unknown_label, device, random_state):
        self.encoder = encoder
        self.reject_below = reject_below
        self.unknown_label = unknown_label
        self.device = device
        self.random_state = random_state

    @abstractmethod
    def _make_head(self, embeddings: NDArray, codes: NDArray[np.intp]) -> nn.Module:
        """The head for the fitted `encoder_`; one that learns learns from these."""

    @abstractmethod
    def _enrol(
        self, embeddings: NDArray, codes: NDArray[np.intp], new: NDArray[np.intp] | None
    ) -> None:
        """Take in support embeddings with codes into `classes_`, without changing arrays in place.

        `new` holds the codes of the classes not enrolled before, sorted; None: start anew.
        """

    @abstractmethod
    def _forget(self, code: int) -> None:
        """Drop what is kept of a class, without changing arrays in place."""

    @abstractmethod
    def _score(self, queries: Tensor) -> Tensor:
        """Scores (n_queries, n_classes) of queries (n_queries, d), the larger the more alike."""

    def _learns_head(self, encoder) -> bool:
        """Whether `fit` learns the head from the support set, because this encoder brings none."""
        return False

    def _episode_scorer(self, embeddings: Tensor) -> Callable[[Tensor, Tensor], EpisodeScore]:
        """Return a function that scores many episodes at once, for the fitted `head_`.

        It takes rows of the embeddings (n_samples, d), those of the supports (n_episodes, n_way,
        n_shot) and those of the queries (n_episodes, n_queries), and returns scores (n_episodes,
        n_way, n_queries), up to a constant a query, and what these may differ by from `_score`
        (n_episodes, n_queries).
        """

        def score(support: Tensor, queries: Tensor) -> EpisodeScore:
            n_episodes, n_way, n_shot = support.shape
            labels = torch.arange(n_way, device=support.device).repeat_interleave(n_shot)
            scores = self.head_(
                take_rows(embeddings, queries),
                take_rows(embeddings, support.flatten(1)),
                labels.expand(n_episodes, -1),
            ).mT.contiguous()
            return scores, _ROUNDING * scores.abs().amax(1)

        return score

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y) -> Self:
        """Meet new classes through their support set.

        With a frozen encoder no gradient is computed.

        Parameters
        ----------
        X : array-like of shape (n_support, n_features), (n_support, H, W) or (n_support, C, H, W)
            Support examples, in any order and number a class.
        y : array-like of shape (n_support,)
            Their classes.

        Returns
        -------
        self : object
            The fitted classifier.
        """
        resolve_device(self.device)
        with all_or_nothing(self) as fitted:
            fitted.encoder_ = fitted._fit_encoder(X, y)
            embeddings, y = fitted._embed_labelled(X, y, reset=True)
            fitted.classes_, codes = np.unique(y, return_inverse=True)
            fitted.head_ = fitted._make_head(embeddings, codes)
            fitted._check_settings()
            fitted._enrol(embeddings, codes, None)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None) -> Self:
        """Enrol more examples of known classes, or of new ones.

        Equal to one `fit` on all examples, as the encoder stays as it is; the first call is a
        `fit`.

        Parameters
        ----------
        X : array-like of shape (n_support, n_features), (n_support, H, W) or (n_support, C, H, W)
            Support examples.
        y : array-like of shape (n_support,)
            Their classes.
        classes : array-like or None, default=None
            Not needed here, since classes may come at any time; if given, those that `y` may have.

        Returns
        -------
        self : object
            The fitted classifier.
        """
        if classes is not None and (unexpected := np.setdiff1d(y, classes)).size:
            raise ValueError(f"y has labels that are not in classes={classes!r}: {unexpected}.")
        if not hasattr(self, "classes_"):
            return self.fit(X, y)
        with all_or_nothing(self) as fitted:
            embeddings, y = fitted._embed_labelled(X, y, reset=False)
            labels, codes = np.unique(y, return_inverse=True)
            fitted.classes_, new = merge(fitted.classes_, labels)
            fitted._check_settings()
            fitted._enrol(embeddings, np.searchsorted(fitted.classes_, labels)[codes], new)
        return self

    def remove_class(self, label) -> Self:
        """Forget a class.

        Equal to one `fit` on the examples of the other classes, as the encoder stays as it is.
        Enrolling its examples again by `partial_fit` brings the class back as it was.

        Parameters
        ----------
        label : int, str or whatever the classes are
            One of `classes_`.

        Returns
        -------
        self : object
            The classifier without the class.

        Raises
        ------
        ValueError
            If `label` is none of the classes, or the only one.
        """
        check_is_fitted(self)
        code = index_of(label, self.classes_)
        if len(self.classes_) == 1:
            raise ValueError(
                f"label={label!r} is the only class enrolled, and a classifier cannot be without "
                "any; enrol another class first, or fit anew."
            )
        with all_or_nothing(self) as fitted:
            fitted._forget(code)
            fitted.classes_ = np.delete(fitted.classes_, code)
        return self

    def predict(self, X) -> NDArray:
        """Label queries.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)

        Returns
        -------
        ndarray of shape (n_queries,)
            The class of the highest score, or `unknown_label` where `score_samples` is under
            `reject_below`.
        """
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        predicted = self.classes_[self._most_similar_class(embeddings)]
        if self.reject_below is None:
            return predicted
        return self._with_unknown(predicted, embeddings)

    def predict_proba(self, X) -> NDArray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)

        Returns
        -------
        ndarray of shape (n_queries, n_classes)
            In the order of `classes_`.
        """
        return softmax(self._scores(X), axis=1)

    def decision_function(self, X) -> NDArray:
        """Scores of the classes, the larger the more alike.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)

        Returns
        -------
        ndarray of shape (n_queries, n_classes), or (n_queries,) for two classes
            For two classes, how much the second leads.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def _scores(self, X) -> NDArray:
        check_is_fitted(self)
        return self._score_embeddings(self._embed(X, reset=False))

    def _most_similar_class(self, embeddings: NDArray) -> NDArray[np.intp]:
        """Indices (n_queries,) into `classes_`."""
        return self._by_chunk(lambda queries: self._score(queries).argmax(1), embeddings)

    def _best_scores(self, embeddings):
        return self._by_chunk(lambda queries: self._score(queries).amax(1), embeddings)

    def _score_embeddings(self, embeddings: NDArray) -> NDArray:
        return self._by_chunk(self._score, embeddings)

    def _by_chunk(self, function: Callable[[Tensor], Tensor], embeddings: NDArray) -> NDArray:
        """Apply a row-wise function to queries, a chunk at a time, whatever their number."""
        device = resolve_device(self.device)
        self.head_.to(device)
        return apply_in_chunks(function, embeddings, chunk_size=_CHUNK, device=device)

    def _check_settings(self) -> None:
        """Check parameters against the classes and the head."""
        if self.reject_below is not None:
            self._unknown_label()

    def _embed(self, X, *, reset: bool) -> NDArray:
        if isinstance(self.encoder_, str):
            image_shape = None if reset else self.image_shape_
            X, self.image_shape_ = check_examples(self, X, image_shape=image_shape, reset=reset)
            return check_comparable(X)
        return check_comparable(encode_examples(self.encoder_, X))

    def _embed_labelled(self, X, y, *, reset: bool) -> tuple[NDArray, NDArray]:
        embeddings = self._embed(X, reset=reset)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(embeddings, y)
        check_classification_targets(np.tile(y, 2))  # warns where half the labels occur once
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.encoder_, name):
                setattr(self, name, getattr(self.encoder_, name))
            elif not isinstance(self.encoder_, str):
                self.__dict__.pop(name, None)
        return embeddings, y

    def _fit_encoder(self, X, y) -> BaseEstimator | str:
        if isinstance(self.encoder, str):
            return self.encoder
        if self._is_frozen():
            return self.encoder
        if self.encoder is not None:
            warn_if_fitted(self.encoder)
        encoder = self._unfitted_encoder()
        return fresh_encoder(encoder, self.random_state).fit(encoder_input(encoder, X), y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return ``table[rows]``, which torch gathers several times as slowly."""
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
