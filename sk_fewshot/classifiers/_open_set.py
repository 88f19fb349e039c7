"""Queries of no known class: rejected where they are like none of those enrolled."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.labels import as_labels
from sk_fewshot._utils.state import all_or_nothing, of_one_moment, snapshot
from sk_fewshot._utils.switches import restoring
from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.classifiers._rejection import (
    false_accept_threshold,
    false_rejection_threshold,
    people_needed,
)
from sk_fewshot.gallery._labels import check_kind, in_one_dtype, unknown_label

PARAMETER_CONSTRAINTS: dict[str, list] = {
    "reject_below": [Interval(Real, None, None, closed="neither"), None],
    "unknown_label": [Real, str, None],
}
_RATE = [Interval(Real, 0, 1, closed="left"), None]


@of_one_moment
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


@restoring
def calibrate_rejection(self, X, y=None, *, false_accept_rate=None, false_rejection_rate=None):
    """Choose `reject_below` so that few strangers are taken for an enrolled class.

    Or so that few queries of enrolled classes are rejected. Sets the parameter: clones and grid
    searches keep it, and `set_params` with ``reject_below=None`` takes it back. The scores of
    strangers rise with the number of classes enrolled, so calibrate again after enrolling many.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
        Examples, best of people (or things) that the encoder was not trained on.
    y : array-like of shape (n_samples,) or None, default=None
        Their classes. None: all are strangers, each a person of its own.
    false_accept_rate : float in [0, 1) or None, default=None
        A stranger drawn as the people in X were is accepted with no larger probability. The unit is
        the person (class): ten photographs of one count as one. It takes
        ``1 / false_accept_rate - 1`` strangers in X to tell. Are there fewer, those enrolled
        themselves tell it, each compared with the others as if its own class had never been
        enrolled, so that (X, y) may be the support set; but it takes
        ``2 / false_accept_rate - 1`` of them, as two who are alike are counted twice. Are there too
        few of either, a warning says how many it takes, and the threshold is above all strangers in
        X or, without any, so high that every query is rejected. None: 0.01, unless
        `false_rejection_rate` is given.
    false_rejection_rate : float in [0, 1) or None, default=None
        Share of the queries of enrolled classes to reject at most, each class weighing the same.
        All of y must be enrolled. Where X has enrolled examples themselves, each is scored as if it
        had not been, which takes two examples of a class or more; of prototypes X must have all
        examples of a class or none.

    Returns
    -------
    self : object
        The classifier, with `reject_below` set.

    Raises
    ------
    ValueError
        If a rate is not in [0, 1) or both are given, y has the only class enrolled, or there is no
        score to choose by.

    Warns
    -----
    UserWarning
        If X has too few people, or examples, for the rate.

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
    check_parameters(
        self,
        {"false_accept_rate": _RATE, "false_rejection_rate": _RATE},
        false_accept_rate=false_accept_rate,
        false_rejection_rate=false_rejection_rate,
    )
    if false_accept_rate is not None and false_rejection_rate is not None:
        raise ValueError(
            "false_accept_rate and false_rejection_rate cannot both be given: one threshold keeps "
            f"one of them, got {false_accept_rate} and {false_rejection_rate}."
        )
    unknown_label(self.unknown_label, self.classes_)
    with all_or_nothing(self) as calibrated:
        embeddings = calibrated._embed(X, reset=False)
        if not len(embeddings):
            raise ValueError("X must hold one example or more to calibrate on, got none.")
        reader = snapshot(calibrated)
        reader._read_gallery()
        people, codes = _people(reader, embeddings, y)
        if false_rejection_rate is not None:
            scores, usable = _known_scores(reader, embeddings, codes)
            threshold = false_rejection_threshold(scores, people[usable], false_rejection_rate)
        else:
            rate = 0.01 if false_accept_rate is None else false_accept_rate
            chosen, residents = _choose_people(people, codes >= 0, rate)
            scores = _stranger_scores(reader, embeddings[chosen], codes[chosen])
            threshold = false_accept_threshold(scores, people[chosen], rate, residents=residents)
        calibrated.reject_below = threshold
    return self


def with_unknown(
    predicted: NDArray, best_scores: NDArray, reject_below: float, unknown: NDArray
) -> NDArray:
    """Return labels (n_queries,) with those of strangers replaced.

    Whose score is not at least `reject_below` is a stranger, so that NaN accepts nobody.
    """
    predicted, unknown = in_one_dtype(predicted, unknown[None])
    return np.where(best_scores >= reject_below, predicted, unknown)


def _people(classifier: Any, embeddings: NDArray, y: Any) -> tuple[NDArray, NDArray[np.intp]]:
    """Return who is on each example, and the class enrolled, as an index, or -1."""
    if y is None:
        return np.arange(len(embeddings)), np.full(len(embeddings), -1)
    y = column_or_1d(as_labels(y), warn=True)
    assert_all_finite(y, input_name="y")
    check_consistent_length(embeddings, y)
    check_kind(y, classifier.classes_)
    classes, people = in_one_dtype(classifier.classes_, y)
    places = np.minimum(np.searchsorted(classes, people), len(classes) - 1)
    return people, np.where(classes[places] == people, places, -1)


def _choose_people(
    people: NDArray, enrolled: NDArray[np.bool_], rate: float
) -> tuple[NDArray[np.bool_], bool]:
    """Return which examples (n,) tell the rate, and whether they are of enrolled people.

    Strangers where they are enough, as they need no allowance; else residents where these are.
    """
    n_strangers, n_residents = (len(np.unique(people[who])) for who in (~enrolled, enrolled))
    residents = n_strangers < people_needed(rate, residents=False) and (
        n_residents >= people_needed(rate, residents=True) or n_strangers == 0
    )
    return enrolled == residents, residents


def _stranger_scores(classifier: Any, embeddings: NDArray, codes: NDArray[np.intp]) -> NDArray:
    """Scores of examples, with their own class left out where it is enrolled; all are, or none."""
    if codes[0] < 0:
        return classifier._best_scores(embeddings)
    if len(classifier.classes_) == 1:
        raise ValueError(
            f"y has {classifier.classes_[0]!r}, the only class enrolled, which cannot be compared "
            "with others; pass examples of strangers."
        )
    return classifier._best_scores_without_class(embeddings, codes)


def _known_scores(
    classifier: Any, embeddings: NDArray, codes: NDArray[np.intp]
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Scores of examples of enrolled classes, and of which examples (n,) they are."""
    if (codes < 0).any():
        raise ValueError(
            "y must hold classes that are enrolled, where false_rejection_rate is given, got "
            + ("y=None." if (codes < 0).all() else "others among them.")
        )
    scores, usable = classifier._best_scores_without_example(embeddings, codes)
    if not usable.any():
        raise ValueError(
            "X must hold examples that are not enrolled, or two or more of a class: the only "
            "example of a class cannot be compared with its own class."
        )
    return scores, usable
