"""Thresholds of rejection: the rates hold for whoever of a group turns out to be the stranger."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.classifiers._rejection import false_accept_threshold, false_rejection_threshold

RATES = st.sampled_from([0.0, 0.01, 0.1, 0.2, 1 / 3, 0.5, 0.7, 0.99])


@st.composite
def groups(draw):
    """People of one to three examples each, and how alike each example is to each person."""
    n_people = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(1, draw(st.integers(2, 4)), n_people)
    people = np.repeat(np.arange(n_people), sizes)
    if draw(st.booleans()):
        alike = rng.integers(0, draw(st.integers(1, 30)), (len(people), n_people))  # many ties
    else:
        alike = rng.random((len(people), n_people)) * rng.random(n_people) ** 3  # hubs
    return people, alike.astype(draw(st.sampled_from([np.float32, np.float64])))


def quietly(choose, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return choose(*args, **kwargs)


def best(alike, people, without):
    """Largest entry of each row, the own person and one other left out."""
    alike = alike.copy()
    alike[np.arange(len(people)), people] = -1
    alike[:, without] = -1
    return alike.max(axis=1)


@settings.get_profile("thorough")
@given(groups(), RATES)
def test__residents__a_stranger_drawn_as_they_were_is_accepted_at_the_rate(group, rate):
    people, alike = group
    accepted = []
    for stranger in np.unique(people):
        known = people != stranger
        residents = best(alike, people, without=stranger)[known]
        threshold = quietly(false_accept_threshold, residents, people[known], rate, residents=True)
        own = alike[~known]
        own[:, stranger] = -1
        accepted.append((own.max(axis=1) >= threshold).mean())
    assert np.mean(accepted) <= rate + 1e-9


@settings.get_profile("thorough")
@given(groups(), RATES)
def test__strangers__one_more_is_accepted_at_the_rate(group, rate):
    people, alike = group
    scores = alike[:, 0]
    accepted = []
    for stranger in np.unique(people):
        known = people != stranger
        threshold = quietly(
            false_accept_threshold, scores[known], people[known], rate, residents=False
        )
        accepted.append((scores[~known] >= threshold).mean())
    n = len(accepted)
    assert np.mean(accepted) <= max(rate, 1 / n) + 1e-9


@given(st.integers(1, 80), st.integers(0, 1000), RATES, st.booleans())
def test__strangers__the_threshold_is_the_least_strict_that_holds(n, seed, rate, tied):
    scores = np.random.default_rng(seed).normal(size=n).astype(np.float32)
    scores = np.round(scores) if tied else scores
    threshold = quietly(false_accept_threshold, scores, np.arange(n), rate, residents=False)
    allowed = max(1, int(np.floor(np.round(rate * (n + 1), 6))))
    highest_rejected = np.sort(scores)[::-1][allowed - 1]
    assert threshold == np.nextafter(highest_rejected, np.float32(np.inf))


def test__ten_photographs_of_one_stranger_count_as_one():
    rng = np.random.default_rng(0)
    scores, people = rng.normal(size=190), np.repeat(np.arange(19), 10)
    with pytest.warns(UserWarning, match=r"cannot be told from 19 strangers: it takes 99"):
        false_accept_threshold(scores, people, 0.01, residents=False)
    threshold = false_accept_threshold(scores, people, 0.1, residents=False)
    shares = (scores >= threshold).reshape(19, 10).mean(axis=1)
    assert shares.sum() + 1 == pytest.approx(0.1 * 20)


@pytest.mark.parametrize(
    ("n", "rate", "needed"),
    [(9, 0.1, "it takes 19"), (38, 0.05, "it takes 39"), (50, 0, "no number")],
)
def test__too_few_residents__reject_every_query_and_say_how_many_are_needed(n, rate, needed):
    scores = np.linspace(-3, 0, n, dtype=np.float32)
    with pytest.warns(UserWarning, match=rf"false_accept_rate={rate} .* {n} enrolled .*{needed}"):
        threshold = false_accept_threshold(scores, np.arange(n), rate, residents=True)
    assert threshold == np.finfo(np.float32).max


@pytest.mark.parametrize(("n", "rate"), [(19, 0.1), (39, 0.05), (199, 0.01)])
def test__just_enough_residents__the_threshold_is_above_all_of_them(n, rate):
    scores = np.linspace(-3, 0, n)
    threshold = false_accept_threshold(scores, np.arange(n), rate, residents=True)
    assert threshold == np.nextafter(0, 1)


@pytest.mark.parametrize(
    ("n", "rate", "needed"),
    [(8, 0.1, "it takes 9"), (98, 0.01, "it takes 99"), (5, 0, "no number")],
)
def test__too_few_strangers__the_threshold_is_above_all_of_them(n, rate, needed):
    scores = np.linspace(-3, 0, n)
    with pytest.warns(UserWarning, match=rf"false_accept_rate={rate} .* {n} strangers: {needed}"):
        threshold = false_accept_threshold(scores, np.arange(n), rate, residents=False)
    assert threshold == np.nextafter(0, 1)


@given(st.integers(1, 30), st.integers(0, 1000), RATES, st.booleans())
def test__false_rejections__one_more_example_is_rejected_at_the_rate(n, seed, rate, tied):
    scores = np.random.default_rng(seed).normal(size=n + 1)
    scores = np.round(scores) if tied else scores
    rejected = []
    for new in range(n + 1):
        others = np.delete(scores, new)
        threshold = quietly(false_rejection_threshold, others, np.zeros(n), rate)
        assert threshold in others
        rejected.append(scores[new] < threshold)
    assert np.mean(rejected) <= max(rate, 1 / (n + 1)) + 1e-9


def test__false_rejections__each_person_weighs_the_same():
    scores = np.r_[np.full(90, 5.0), np.arange(10.0)]  # the second person is unlike itself
    people = np.repeat(["a", "b"], [90, 10])
    threshold = false_rejection_threshold(scores, people, 0.25)
    shares = [np.mean(scores[people == person] < threshold) for person in "ab"]
    assert shares == [0, 0.4]  # 0.5 would leave no room for one more example


def test__too_few_examples__the_threshold_is_their_lowest_score():
    with pytest.warns(UserWarning, match=r"false_rejection_rate=0.1 .* from 8 .*: it takes 9"):
        threshold = false_rejection_threshold(np.arange(8.0), np.arange(8) // 2, 0.1)
    assert threshold == 0
