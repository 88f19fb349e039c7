"""Thresholds under which a query is rejected, for a rate that is to hold on people not yet met.

The unit is the person (the class): each counts once, however many examples there are of it. Let
w(s) be the sum over the n people of the share of a person's examples that score s or more. A
stranger's query of score s is accepted if w(s) <= kappa. The probability of that is

- (kappa + 1) / (n + 1) at most, if the n people are strangers too;
- (kappa + 2 + p) / (n + 1) at most, where p (p + 1) / 2 <= kappa, if they are enrolled and each was
  scored against the others: the stranger might have been the nearest of some.

Both are proven in docs/open_set.md, "Why the rates hold".
"""

from __future__ import annotations

from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sk_fewshot._utils.warn import warn_caller

_ROUNDING = 1e-9  # of sums of shares, relative


def people_needed(rate: float, *, residents: bool) -> float:
    """Return how few people can tell a false accept rate; infinity for a rate of 0."""
    least = 2 if residents else 1  # that are accepted of n + 1
    return ceil(least / rate * (1 - _ROUNDING)) - 1 if rate else inf


def false_accept_threshold(
    scores: NDArray, people: ArrayLike, rate: float, *, residents: bool
) -> float:
    """Choose the score below which queries are rejected, so that few strangers are accepted.

    Parameters
    ----------
    scores : ndarray of float of shape (n_examples,)
        How well each example goes with what it goes with best among the enrolled classes, its own
        left out.
    people : array-like of shape (n_examples,)
        The person (class) of each example.
    rate : float in [0, 1)
        Probability with which a stranger's query may be accepted.
    residents : bool
        Whether these people are enrolled. If False, none of them is.

    Returns
    -------
    float
        The least strict threshold that holds. Where there are too few people for any, a number
        above all their scores; for residents, whom that would not be enough for, the largest number
        of the dtype, which rejects every query.

    Warns
    -----
    UserWarning
        If there are too few people.
    """
    people = np.unique(people, return_inverse=True)[1].ravel()
    examples_of = np.bincount(people)  # (n_people,)
    n_people = len(examples_of)
    levels, above = _weights_above(scores, 1 / examples_of[people])
    accepted = _most_accepted(above, whole=examples_of.max() == 1) if residents else above + 1
    holds = accepted <= rate * (n_people + 1) * (1 + _ROUNDING)
    if holds.any():
        return _just_above(levels[holds][-1])
    needed = people_needed(rate, residents=residents)
    warn_caller(
        f"false_accept_rate={rate} cannot be told from {n_people} "
        f"{'enrolled people (classes)' if residents else 'strangers'}: {_told(needed)}. "
        + (
            "Every query is rejected."
            if residents
            else "The threshold is above all of them, and one more is accepted with a probability "
            f"of up to {1 / (n_people + 1):.2g}."
        )
    )
    return float(np.finfo(scores.dtype).max) if residents else _just_above(levels[0])


def false_rejection_threshold(scores: NDArray, people: ArrayLike, rate: float) -> float:
    """Choose the score below which queries are rejected, so that few known ones are.

    Parameters
    ----------
    scores : ndarray of float of shape (n_examples,)
        How well each example goes with what it goes with best among the enrolled classes, when it
        is not enrolled itself.
    people : array-like of shape (n_examples,)
        The person (class) of each example, all of them enrolled.
    rate : float in [0, 1)
        Share of the queries of enrolled people, each person weighing the same, to reject at most.

    Returns
    -------
    float
        The strictest threshold that holds for one more example, drawn as these were. Where there
        are too few examples, the lowest score of all.

    Warns
    -----
    UserWarning
        If there are too few examples.
    """
    people = np.unique(people, return_inverse=True)[1].ravel()
    examples_of = np.bincount(people)
    weights = 1 / (len(examples_of) * examples_of[people])  # sum to 1
    one_more = weights.max()
    levels, below = _weights_above(-scores, weights)
    holds = below + one_more <= rate * (1 + one_more) * (1 + _ROUNDING)
    if not holds.any():
        needed = people_needed(rate, residents=False)
        warn_caller(
            f"false_rejection_rate={rate} cannot be told from {len(scores)} examples of "
            f"{len(examples_of)} enrolled classes: {_told(needed)}. The threshold is the lowest of "
            "their scores."
        )
    return float(-levels[holds][-1] if holds.any() else -levels[0])


def _told(needed: float) -> str:
    return "no number suffices" if needed == inf else f"it takes {needed}"


def _weights_above(scores: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Different scores, the highest first, and how much the examples above each weigh."""
    levels, level = np.unique(-scores, return_inverse=True)
    weight = np.bincount(level, weights)
    return -levels, np.cumsum(weight) - weight


def _most_accepted(kappa: NDArray, *, whole: bool) -> NDArray:
    """Return kappa + 2 + p, and a part of a step for what is left unless examples weigh 1."""
    steps = np.floor((np.sqrt(8 * kappa + 1) - 1) / 2)
    rest = (kappa - steps * (steps + 1) / 2) / (steps + 1)
    return kappa + 2 + steps + (0 if whole else rest)


def _just_above(score: np.floating) -> float:
    return float(np.nextafter(score, np.inf, dtype=score.dtype))
