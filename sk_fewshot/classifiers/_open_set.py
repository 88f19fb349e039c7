"""Queries of no known class: rejected where they are like none of those enrolled."""

from __future__ import annotations

import copy
from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.classifiers._labels import kind_of

_RATE = [Interval(Real, 0, 1, closed="left")]
_UNKNOWN = {"numbers": -1, "strings": "unknown"}


class OpenSet:
    """Adds the parameters `reject_below` and `unknown_label`, and what is told of strangers."""

    _parameter_constraints: ClassVar[dict] = {
        "reject_below": [Interval(Real, None, None, closed="neither"), None],
        "unknown_label": [Real, str, None],
    }

    reject_below: float | None
    unknown_label: Any
    classes_: NDArray

    @abstractmethod
    def _embed(self, X, *, reset: bool) -> NDArray:
        """Embeddings (n, d) of examples."""

    @abstractmethod
    def remove_class(self, label) -> Self:
        """Forget a class."""

    @abstractmethod
    def _best_scores(self, embeddings: NDArray) -> NDArray:
        """How well queries go with what they go with best, (n_queries,), in absolute terms."""

    def score_samples(self, X) -> NDArray:
        """How much queries are like the enrolled example or class that they are most like.

        In absolute terms, not relative to other classes as probabilities are: a stranger gets a low
        score even where one class is much nearer than the others. `predict` rejects queries whose
        score is under `reject_below`.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)

        Returns
        -------
        ndarray of shape (n_queries,)
            The larger, the more alike: minus the first distance that `kneighbors` gives; for a
            RelationClassifier the largest relation score, as a logarithm. `temperature` does not
            change it.
        """
        check_is_fitted(self)
        return self._best_scores(self._embed(X, reset=False))

    def calibrate_rejection(self, X, y=None, *, false_accept_rate=0.01) -> Self:
        """Choose `reject_below` so that few strangers are taken for an enrolled class.

        Sets the parameter: clones and grid searches keep it, and `set_params` with
        ``reject_below=None`` takes it back. The scores of strangers rise with the number of classes
        enrolled, so calibrate again after enrolling many.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
            Examples, best of people (or things) that the encoder was not trained on.
        y : array-like of shape (n_samples,) or None, default=None
            Their classes. An example of an enrolled class is compared with the other classes only,
            as if its own had never been enrolled; so (X, y) may be the support set itself. None:
            all are strangers.
        false_accept_rate : float in [0, 1), default=0.01
            Share of strangers to accept at most. A stranger drawn as those in X were is accepted
            with no larger probability, if X has ``1 / false_accept_rate - 1`` examples or more;
            from fewer the rate cannot be told, and the threshold is above all of them. Ten
            photographs of one person tell less than those of ten people.

        Returns
        -------
        self : object
            The classifier, with `reject_below` just above the score of a stranger.

        Raises
        ------
        ValueError
            If `false_accept_rate` is not in [0, 1), or y has the only class enrolled.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sk_fewshot import PrototypicalClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> known, strangers = X[y < 5], X[y >= 5]
        >>> clf = PrototypicalClassifier("passthrough").fit(known[:100], y[y < 5][:100])
        >>> clf = clf.calibrate_rejection(strangers[:400], false_accept_rate=0.05)
        >>> clf.score(strangers[400:], [-1] * len(strangers[400:])) > 0.95
        True
        """
        check_is_fitted(self)
        check_parameters(self, {"false_accept_rate": _RATE}, false_accept_rate=false_accept_rate)
        self._unknown_label()
        embeddings = self._embed(X, reset=False)
        if not len(embeddings):
            raise ValueError("X must hold one example or more to calibrate on, got none.")
        scores = np.sort(self._stranger_scores(embeddings, y))[::-1]
        n_accepted = int(np.floor(np.round(false_accept_rate * (len(scores) + 1), 9)))
        highest = scores[max(n_accepted - 1, 0)]  # of the scores to reject
        self.reject_below = float(np.nextafter(highest, np.inf, dtype=scores.dtype))
        return self

    def _stranger_scores(self, embeddings: NDArray, y) -> NDArray:
        """`_best_scores` with the own class of each example left out."""
        if y is None:
            return self._best_scores(embeddings)
        y = column_or_1d(y, warn=True)
        check_consistent_length(embeddings, y)
        enrolled = np.isin(y, self.classes_)
        scores = [self._best_scores(embeddings[~enrolled])]
        for label in np.unique(y[enrolled]):
            others = copy.copy(self).remove_class(label)
            scores.append(others._best_scores(embeddings[y == label]))
        return np.concatenate(scores)

    def _with_unknown(self, predicted: NDArray, embeddings: NDArray) -> NDArray:
        """Labels (n_queries,) with those of strangers replaced."""
        unknown = self._unknown_label()
        return np.where(self._best_scores(embeddings) < self.reject_below, unknown, predicted)

    def _unknown_label(self) -> NDArray:
        """Return the label of rejected queries, as an array of shape ().

        Raises
        ------
        ValueError
            If it cannot stand in one array with the classes, or is one of them.
        """
        classes, kind = self.classes_, kind_of(self.classes_)
        label = _UNKNOWN.get(kind) if self.unknown_label is None else self.unknown_label
        unknown = np.asarray(label)
        fits = kind_of(unknown) == kind != "booleans" and not (
            classes.dtype.kind in "iu" and np.result_type(classes, unknown).kind == "f"
        )
        if not fits:
            raise ValueError(
                f"unknown_label={label!r} cannot stand in one array with the classes, which are "
                f"{kind} of dtype {classes.dtype}, such as {classes[0]!r}. Pass a label of the "
                "same kind, or reject_below=None."
            )
        if (classes == unknown).any():
            raise ValueError(
                f"unknown_label={label!r} is one of the classes enrolled; it must be none of them."
            )
        return unknown
