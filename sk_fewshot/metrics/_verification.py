"""Error rates of a verifier, which accepts a pair as "the same" when its score is high enough."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_curve
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, validate_params

from sk_fewshot.metrics._labels import as_labels


@validate_params(
    {
        "y_true": ["array-like"],
        "y_score": ["array-like"],
        "pos_label": [Real, str, "boolean"],
    },
    prefer_skip_nested_validation=True,
)
def equal_error_rate(
    y_true: ArrayLike, y_score: ArrayLike, *, pos_label: float | str | bool = 1
) -> float:
    """Error rate at the threshold where as many are falsely accepted as falsely rejected.

    A pair is accepted when its score is at least the threshold. Each distinct score, taken as
    threshold, gives one point (false accept rate, false reject rate); "accept nothing" gives
    (0, 1). Seldom do the two rates agree at one of these points. So neighbouring points are joined
    by straight lines, as in the receiver operating characteristic (ROC) curve, and the rate is read
    where this line crosses "false accept rate = false reject rate". A point on the line is what
    drawing at random between the two neighbouring thresholds gives.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; ``pos_label`` marks the pairs that are the same.
    y_score : array-like of shape (n_pairs,)
        The higher, the more probably the same: a probability, ``decision_function``, or a negative
        distance. Only the order matters.
    pos_label : int, float, str or bool, default=1
        The label of the pairs that are the same.

    Returns
    -------
    float
        Between 0 (the scores separate the two labels) and 1; 0.5 for scores without information.

    Raises
    ------
    ValueError
        If y_true does not hold two labels, one of them ``pos_label``, or a score is not finite.

    See Also
    --------
    true_accept_rate : Share of the same pairs accepted at a given false accept rate.
    sklearn.metrics.DetCurveDisplay : The curve of the two error rates.

    Examples
    --------
    >>> from sk_fewshot.metrics import equal_error_rate
    >>> y_true = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> equal_error_rate(y_true, [0.1, 0.2, 0.3, 0.8, 0.7, 0.9, 0.9, 1.0])
    0.25
    """
    false_accept, true_accept = _accept_rates(y_true, y_score, pos_label)
    false_reject = 1 - true_accept
    return float(np.interp(0.0, false_accept - false_reject, false_accept))


@validate_params(
    {
        "y_true": ["array-like"],
        "y_score": ["array-like"],
        "false_accept_rate": [Interval(Real, 0, 1, closed="both")],
        "pos_label": [Real, str, "boolean"],
    },
    prefer_skip_nested_validation=True,
)
def true_accept_rate(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    false_accept_rate: float = 0.01,
    pos_label: float | str | bool = 1,
) -> float:
    """Share of the same pairs that are accepted when few of the different ones may be.

    A pair is accepted when its score is at least the threshold. The thresholds tried are the
    distinct scores and "accept nothing". Of those whose false accept rate (accepted different
    pairs / all different pairs) is at most ``false_accept_rate``, the lowest accepts most, and its
    true accept rate (accepted same pairs / all same pairs) is returned. Nothing is interpolated:
    the rate is one that a threshold attains on these pairs. Below one different pair in
    ``1 / false_accept_rate`` no false accept is allowed at all.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; ``pos_label`` marks the pairs that are the same.
    y_score : array-like of shape (n_pairs,)
        The higher, the more probably the same: a probability, ``decision_function``, or a negative
        distance. Only the order matters.
    false_accept_rate : float in [0, 1], default=0.01
        Largest share of the different pairs that may be accepted.
    pos_label : int, float, str or bool, default=1
        The label of the pairs that are the same.

    Returns
    -------
    float
        Between 0 and 1, the higher the better.

    Raises
    ------
    ValueError
        As in :func:`equal_error_rate`, or if ``false_accept_rate`` is not in [0, 1].

    See Also
    --------
    equal_error_rate : The error rate where both kinds of error are equally frequent.
    sklearn.metrics.RocCurveDisplay : The curve of the two accept rates.

    Examples
    --------
    >>> from sk_fewshot.metrics import true_accept_rate
    >>> y_true = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> y_score = [0.1, 0.2, 0.3, 0.8, 0.7, 0.9, 0.9, 1.0]
    >>> true_accept_rate(y_true, y_score, false_accept_rate=0.01)
    0.75
    >>> true_accept_rate(y_true, y_score, false_accept_rate=0.25)
    1.0
    """
    false_accept, true_accept = _accept_rates(y_true, y_score, pos_label)
    return float(true_accept[false_accept <= false_accept_rate].max())


def _accept_rates(
    y_true: ArrayLike, y_score: ArrayLike, pos_label: float | str | bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true accept rate of every threshold, from "accept nothing" to "accept all"."""
    labels = as_labels(y_true, "y_true")
    scores = check_array(y_score, ensure_2d=False, input_name="y_score")
    found = np.unique(labels)
    if len(found) != 2 or pos_label not in found.tolist():
        raise ValueError(
            f"y_true must hold two labels, one of them pos_label={pos_label!r}, got {found}."
        )
    false_accept, true_accept, _ = roc_curve(
        labels, scores, pos_label=pos_label, drop_intermediate=False
    )
    return false_accept, true_accept
