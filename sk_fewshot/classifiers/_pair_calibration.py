"""From the distance of two examples to the probability and the decision that they are the same."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.metrics import roc_curve

from sk_fewshot._utils.warn import warn_caller


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
        Of the logistic regression to Platt's targets, which keep it finite where the distances
        separate the pairs: (n_same + 1) / (n_same + 2) for same pairs, 1 / (n_different + 2) for
        different ones. Where same pairs lie farther apart than different ones, the best slope of 0
        or more is 0, and p the mean target.
    """
    from sklearn.linear_model import LogisticRegression  # a twentieth of the package's import
    from sklearn.preprocessing import StandardScaler

    n_same = np.count_nonzero(same)
    n_different = len(same) - n_same
    target = np.where(same, (n_same + 1) / (n_same + 2), 1 / (n_different + 2))  # (n_pairs,)
    scaler = StandardScaler().set_output(transform="default").fit(distances[:, None])
    nearness = -scaler.transform(distances[:, None])
    model = LogisticRegression(C=np.inf, tol=1e-6, max_iter=1000).fit(
        np.concatenate([nearness, nearness]),  # each pair is both, by the share that its target is
        np.repeat([True, False], len(same)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    steepness = model.coef_.item()
    if steepness <= 0:
        return 0.0, float(logit(target.mean()))
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
        Probability with which one more different pair may be accepted, so that of n of them
        ``false_accept_rate * (n + 1) - 1`` are. As many same pairs are accepted as that allows.
        None: most pairs are told right, and of equally good thresholds the lowest is taken.

    Returns
    -------
    float
        Midway between two neighbouring distances, where it accepts some pairs and not others.

    Warns
    -----
    UserWarning
        If there are too few different pairs. Then none of them is accepted.
    """
    false_accept, true_accept, scores = roc_curve(same, -distances, drop_intermediate=False)
    n_same = int(np.count_nonzero(same))
    n_different = len(same) - n_same
    n_accepted = (false_accept * n_different).round()  # (n_thresholds,) of the different pairs
    if false_accept_rate is None:
        best = (true_accept * n_same - n_accepted).round().argmax()
    else:
        allowed = floor(round(false_accept_rate * (n_different + 1), 9)) - 1
        if allowed < 0:
            _warn_of_too_few(false_accept_rate, n_different)
        best = np.searchsorted(n_accepted, max(allowed, 0), side="right") - 1
    accepted = -scores[1:]  # ascending; accepted[:best] are to be
    if best == 0:
        return float(accepted[0])
    if best == len(accepted):
        return float(np.nextafter(accepted[-1], np.inf))
    return float(accepted[best - 1 : best + 1].mean())


def _warn_of_too_few(false_accept_rate: float, n_different: int) -> None:
    needed = (
        f"needs {ceil(1 / false_accept_rate) - 1}" if false_accept_rate else "no number suffices"
    )
    warn_caller(
        f"false_accept_rate={false_accept_rate} cannot be told from {n_different} different pairs: "
        f"{needed}. None of them is taken for the same, and one more is with a probability of up "
        f"to {1 / (n_different + 1):.2g}."
    )
