"""Queries of no known class: rejected where they are like none of those enrolled."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.labels import as_labels
from sk_fewshot._utils.state import all_or_nothing, of_one_moment, snapshot
from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.gallery._labels import check_kind, in_one_dtype, unknown_label

PARAMETER_CONSTRAINTS: dict[str, list] = {
    "reject_below": [Interval(Real, None, None, closed="neither"), None],
    "unknown_label": [Real, str, None],
}
_RATE = [Interval(Real, 0, 1, closed="left")]


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


def calibrate_rejection(self, X, y=None, *, false_accept_rate=0.01):
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
    unknown_label(self.unknown_label, self.classes_)
    with all_or_nothing(self) as calibrated:
        embeddings = calibrated._embed(X, reset=False)
        if not len(embeddings):
            raise ValueError("X must hold one example or more to calibrate on, got none.")
        scores = np.sort(_stranger_scores(calibrated, embeddings, y))[::-1]
        n_accepted = int(np.floor(np.round(false_accept_rate * (len(scores) + 1), 9)))
        highest = scores[max(n_accepted - 1, 0)]  # of the scores to reject
        calibrated.reject_below = float(np.nextafter(highest, np.inf, dtype=scores.dtype))
    return self


def with_unknown(
    predicted: NDArray, best_scores: NDArray, reject_below: float, unknown: NDArray
) -> NDArray:
    """Return labels (n_queries,) with those of strangers replaced.

    Whose score is not at least `reject_below` is a stranger, so that NaN accepts nobody.
    """
    predicted, unknown = in_one_dtype(predicted, unknown[None])
    return np.where(best_scores >= reject_below, predicted, unknown)


def _stranger_scores(classifier: Any, embeddings: NDArray, y: Any) -> NDArray:
    """Scores of examples (n, d), each with its own class left out."""
    if y is None:
        return classifier._best_scores(embeddings)
    y = column_or_1d(as_labels(y), warn=True)
    check_consistent_length(embeddings, y)
    check_kind(y, classifier.classes_)
    enrolled = np.isin(y, classifier.classes_)
    scores = [classifier._best_scores(embeddings[~enrolled])]
    for label in np.unique(y[enrolled]):
        others = snapshot(classifier).remove_class(label)
        scores.append(others._best_scores(embeddings[y == label]))
    return np.concatenate(scores)
