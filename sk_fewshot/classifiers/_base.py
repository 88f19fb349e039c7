"""What every few-shot classifier is: an encoder, a gallery and a head."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sk_fewshot._utils.device import resolve_device
from sk_fewshot._utils.doc_link import LinksToDocs
from sk_fewshot._utils.examples import check_examples
from sk_fewshot._utils.labels import as_labels
from sk_fewshot._utils.portable import on_cpu
from sk_fewshot._utils.state import all_or_nothing, of_one_moment
from sk_fewshot._utils.switches import restoring, whatever_the_switches
from sk_fewshot.classifiers import _left_out, _open_set
from sk_fewshot.classifiers._encoder import (
    check_comparable,
    encode_examples,
    encoder_input,
    fitted_encoder,
    meta_fit,
)
from sk_fewshot.classifiers._scoring import (
    State,
    class_scores,
    enrolled_state,
    rounded,
    scoring_device,
)
from sk_fewshot.gallery import Gallery
from sk_fewshot.gallery._gallery import MemoryGallery
from sk_fewshot.gallery._labels import merge, unknown_label
from sk_fewshot.heads._head import Head

_SCORES_AT_ONCE = 2**20


class BaseFewShotClassifier(LinksToDocs, ClassifierMixin, BaseEstimator, metaclass=ABCMeta):
    """An encoder, a gallery and a head. Think twice before adding anything to this class.

    A subclass names its own transformer (`_default_encoder`), says which rows are kept
    (`_gallery_kind`) and makes the head that scores queries against them (`_make_head`).
    """

    _parameter_constraints: ClassVar[dict] = {
        "encoder": [None, StrOptions({"passthrough"}), HasMethods(["fit", "transform"])],
        **_open_set.PARAMETER_CONSTRAINTS,
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }
    _default_encoder: ClassVar[type[BaseEstimator]]
    _gallery_kind: ClassVar[type[MemoryGallery]]

    encoder_: BaseEstimator | str
    head_: Any
    gallery_: Any
    image_shape_: tuple[int, int, int] | None
    _state: State

    def __init__(self, encoder, *, reject_below, unknown_label, device, random_state):
        self.encoder = encoder
        self.reject_below = reject_below
        self.unknown_label = unknown_label
        self.device = device
        self.random_state = random_state

    @abstractmethod
    def _make_head(self, gallery: MemoryGallery | None) -> Head:
        """The head for the fitted `encoder_`; one that learns learns from this gallery."""

    def _learns_head(self, encoder) -> bool:
        """Whether `fit` learns the head from the support set, because this encoder brings none."""
        return False

    @property
    def classes_(self) -> NDArray:
        """The classes enrolled, sorted, (n_classes,)."""
        return self.gallery_.classes

    meta_fit = meta_fit
    score_samples = _open_set.score_samples
    calibrate_rejection = _open_set.calibrate_rejection

    @restoring
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, ids=None) -> Self:
        """Meet new classes through their support set.

        With a frozen encoder no gradient is computed.

        Parameters
        ----------
        X : array-like of shape (n_support, n_features), (n_support, H, W) or (n_support, C, H, W)
            Support examples, in any order, and any number per class.
        y : array-like of shape (n_support,)
            Their classes.
        ids : array-like of int or str of shape (n_support,) or None, default=None
            A key for each example, each once: what `kneighbors` returns and `remove` takes. None:
            numbers from 0, in the order of the rows. Not for prototypes, which are means.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or ids are not of these shapes, or ids has a key twice.
        """
        self._meet(X, y, ids, joins=False)
        return self

    @restoring
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None, ids=None) -> Self:
        """Enrol more examples of known classes, or of new ones.

        Equal to one `fit` on all examples, as the encoder stays as it is; the first call is a
        `fit`. Other threads may predict meanwhile: each call answers from what was enrolled when it
        began.

        Parameters
        ----------
        X : array-like of shape (n_support, n_features), (n_support, H, W) or (n_support, C, H, W)
            Support examples.
        y : array-like of shape (n_support,)
            Their classes.
        classes : array-like or None, default=None
            Not needed here, since classes may come at any time; if given, those that `y` may have.
        ids : array-like of int or str of shape (n_support,) or None, default=None
            As in `fit`; none that is enrolled. None: the numbers that follow.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            As `fit`; or if y has labels of another kind than those enrolled.
        """
        if classes is not None and (unexpected := np.setdiff1d(y, classes)).size:
            raise ValueError(f"y has labels that are not in classes={classes!r}: {unexpected}.")
        if not hasattr(self, "gallery_"):
            self._meet(X, y, ids, joins=True)
            return self
        with all_or_nothing(self) as fitted:
            embeddings, y = fitted._embed_labelled(X, y, reset=False)
            if self.reject_below is not None:
                unknown_label(self.unknown_label, merge(self.classes_, np.unique(y))[0])
            fitted._keep(fitted.gallery_.enrolled(embeddings, y, ids))
        return self

    @restoring
    def remove(self, ids) -> Self:
        """Take examples back.

        Equal to one `fit` on the other examples, as the encoder stays as it is. To move an example
        to another class, remove it and enrol it anew.

        Parameters
        ----------
        ids : array-like of int or str
            Keys of the examples, as `fit` and `partial_fit` were given or numbered them.

        Returns
        -------
        self : object
            The classifier without the examples. A class of which no example is left is forgotten.

        Raises
        ------
        ValueError
            If an id is not enrolled, or no example would be left.
        TypeError
            If the classifier keeps prototypes: they are means, of which single examples cannot be
            taken back exactly. `remove_class` can.
        """
        check_is_fitted(self)
        with all_or_nothing(self) as fitted:
            fitted._keep(fitted.gallery_.without(ids))
        return self

    @restoring
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
        with all_or_nothing(self) as fitted:
            if np.array_equal(fitted.classes_, [label]):
                raise ValueError(
                    f"label={label!r} is the only class enrolled, and a classifier cannot be "
                    "without any; enrol another class first, or fit anew."
                )
            fitted._keep(fitted.gallery_.without_class(label))
        return self

    @of_one_moment
    def predict(self, X) -> NDArray:
        """Label queries.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)

        Returns
        -------
        ndarray of shape (n_queries,)
            The class of the highest score, of equal ones the first of `classes_`; or
            `unknown_label` where `score_samples` is under `reject_below`.
        """
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        if self.reject_below is None:
            return self._best_labels(embeddings)
        return _open_set.with_unknown(
            *self._best(embeddings),
            self.reject_below,
            unknown_label(self.unknown_label, self.classes_),
        )

    @of_one_moment
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
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        scores = self._score_embeddings(embeddings)
        lags = scores - scores.max(axis=1, keepdims=True)
        return softmax(lags.astype(embeddings.dtype, copy=False), axis=1)

    @of_one_moment
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
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        scores = rounded(self._score_embeddings(embeddings), embeddings.dtype)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _best_labels(self, embeddings: NDArray) -> NDArray:
        """The classes (n_queries,) of the highest scores."""
        return self.classes_[self._of_scores(embeddings, lambda scores: scores.argmax(axis=1))]

    def _best(self, embeddings: NDArray) -> tuple[NDArray, NDArray]:
        """As `_best_labels` and `_best_scores`, of one moment."""
        return self._best_labels(embeddings), self._best_scores(embeddings)

    def _best_scores(self, embeddings: NDArray) -> NDArray:
        """How alike queries are to what they are most alike, (n_queries,), in absolute terms."""
        best = self._of_scores(embeddings, lambda scores: scores.max(axis=1))
        return best.astype(embeddings.dtype, copy=False)

    def _of_scores(self, embeddings: NDArray, reduced: Callable[[NDArray], NDArray]) -> NDArray:
        """Reduce the scores of each query; those of all queries are never held at once."""
        self._read_gallery()
        n_rows = max(1, _SCORES_AT_ONCE // len(self.classes_))
        starts = range(0, max(1, len(embeddings)), n_rows)
        batches = (embeddings[start : start + n_rows] for start in starts)
        return np.concatenate([reduced(self._score_embeddings(batch)) for batch in batches])

    _best_scores_without_class = _left_out.without_class
    _best_scores_without_example = _left_out.without_example

    def _score_embeddings(self, embeddings: NDArray) -> NDArray:
        self._read_gallery()
        device = scoring_device(self)
        return class_scores(self.head_, self._state, embeddings, device=device)

    def _meet(self, X, y, ids, *, joins: bool) -> None:
        """Fit the encoder and the head, and enrol the first examples.

        `joins`: beside those in a gallery that is there already, if any.
        """
        resolve_device(self.device)
        with all_or_nothing(self) as fitted:
            fitted.encoder_ = fitted_encoder(
                fitted, lambda fresh: fresh.fit(encoder_input(fresh, X), y), self.random_state
            )
            embeddings, y = fitted._embed_labelled(X, y, reset=True)
            gallery = self._gallery_kind.of(embeddings, y, ids)
            fitted.head_ = whatever_the_switches(fitted._make_head)(gallery)
            fitted._keep(gallery)
            fitted._store(embeddings, y, ids, joins=joins)

    def _store(self, embeddings: NDArray, y: NDArray, ids: Any, *, joins: bool) -> None:
        """Move the first examples to where the gallery is kept, as the last step of `fit`."""

    def _keep(self, gallery: Gallery) -> None:
        """Take over a gallery, and what the head makes of it."""
        self.gallery_ = gallery
        if isinstance(gallery, MemoryGallery):
            self._check_settings()
            self._state = enrolled_state(self.head_, gallery, scoring_device(self))

    def _read_gallery(self) -> None:
        """Take the gallery into memory, as it is at this moment; for a snapshot that is read."""
        in_memory = self.gallery_.in_memory()
        if in_memory is not self.gallery_:
            self._keep(in_memory)

    def _check_settings(self) -> None:
        """Check parameters against the classes and the head."""
        if self.reject_below is not None:
            unknown_label(self.unknown_label, self.classes_)

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
        y = column_or_1d(as_labels(y), warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(embeddings, y)
        check_classification_targets(np.tile(y, 2))  # warns where half the labels occur once
        self._take_names()
        return embeddings, y

    def _take_names(self) -> None:
        """Take over what the encoder knows of the features of an example."""
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.encoder_, name):
                setattr(self, name, getattr(self.encoder_, name))
            elif not isinstance(self.encoder_, str):
                self.__dict__.pop(name, None)

    def __getstate__(self):
        """Bring the head to the CPU."""
        state = super().__getstate__()
        if "head_" in state:
            state = {**state, "head_": on_cpu(state["head_"])}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
