"""From the distance of two examples to the probability and the decision that they are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.metrics import roc_curve


def fit_probability(distances: NDArray, same: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit ``p(same) = sigmoid(intercept - slope * distance)``, with a slope of 0 or more.

    Parameters
    ----------
    distances : ndarray of shape (n_pairs,)
    same : ndarray of bool of shape (n_pairs,)
        True and False at least once each.

    Returns
    -------
    slope, intercept : float
        Of the logistic regression, which scikit-learn's default penalty on standardised distances
        keeps finite where the distances separate the pairs. Where same pairs lie farther apart than
        different ones, the best slope of 0 or more is 0, and p the share of same pairs.
    """
    from sklearn.linear_model import LogisticRegression  # a twentieth of the package's import
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(distances[:, None])
    model = LogisticRegression(tol=1e-6).fit(-scaler.transform(distances[:, None]), same)
    steepness = model.coef_.item()
    if steepness <= 0:
        return 0.0, float(logit(same.mean()))
    slope = steepness / scaler.scale_.item()
    return slope, model.intercept_.item() + slope * scaler.mean_.item()


def choose_threshold(
    distances: NDArray, same: NDArray[np.bool_], false_accept_rate: float | None
) -> float:
    """Choose the distance below which a pair is taken for the same.

    Parameters
    ----------
    distances : ndarray of float64 of shape (n_pairs,)
    same : ndarray of bool of shape (n_pairs,)
        True and False at least once each.
    false_accept_rate : float or None
        Largest share of the different pairs to accept, by which most same pairs are accepted. None:
        most pairs are told right, and of equally good thresholds the lowest is taken.

    Returns
    -------
    float
        Midway between two neighbouring distances, where it accepts some pairs and not others.
    """
    false_accept, true_accept, scores = roc_curve(same, -distances, drop_intermediate=False)
    if false_accept_rate is None:
        best = (true_accept * same.sum() - false_accept * (~same).sum()).round().argmax()
    else:
        best = np.searchsorted(false_accept, false_accept_rate, side="right") - 1
    accepted = -scores[1:]  # ascending; accepted[:best] are to be
    if best == 0:
        return float(accepted[0])
    if best == len(accepted):
        return float(np.nextafter(accepted[-1], np.inf))
    return float(accepted[best - 1 : best + 1].mean())
