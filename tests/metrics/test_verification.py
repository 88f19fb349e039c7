from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_fewshot.metrics import equal_error_rate, true_accept_rate


@st.composite
def scored_pairs(draw, tied=True):
    """Labels, both present, and scores, which tie often if asked to."""
    n = draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y_true = rng.permutation(np.arange(n) < draw(st.integers(1, n - 1))).astype(int)
    y_score = rng.integers(-4, 5, size=n) if tied else rng.permutation(n)
    return y_true, y_score.astype(float)


def brute_force_rates(y_true, y_score):
    """(false accept rate, false reject rate) of each threshold, the strictest first."""
    points = []
    for threshold in [np.inf, *sorted(set(y_score), reverse=True)]:
        accepted_different = sum(s >= threshold for s, t in zip(y_score, y_true) if t == 0)
        rejected_same = sum(s < threshold for s, t in zip(y_score, y_true) if t == 1)
        points.append((accepted_different / sum(y_true == 0), rejected_same / sum(y_true == 1)))
    return points


def brute_force_equal_error_rate(y_true, y_score):
    points = brute_force_rates(y_true, y_score)
    for (far, frr), (next_far, next_frr) in pairwise(points):
        if next_far >= next_frr:  # far + t (next_far - far) = frr + t (next_frr - frr)
            t = (frr - far) / ((next_far - far) + (frr - next_frr))
            return far + t * (next_far - far)
    raise AssertionError("the last threshold accepts all")


@given(scored_pairs())
def test_equal_error_rate_is_the_brute_force_crossing(pairs):
    assert equal_error_rate(*pairs) == pytest.approx(
        brute_force_equal_error_rate(*pairs), abs=1e-12
    )


@given(scored_pairs(), st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0]))
def test_true_accept_rate_is_the_brute_force_best(pairs, limit):
    expected = max(1 - frr for far, frr in brute_force_rates(*pairs) if far <= limit)
    assert true_accept_rate(*pairs, false_accept_rate=limit) == pytest.approx(expected, abs=1e-12)


@given(scored_pairs(), st.randoms(use_true_random=False))
def test_rates_depend_on_the_order_of_the_scores_only(pairs, random):
    y_true, y_score = pairs
    rows = random.sample(range(len(y_true)), len(y_true))
    for rate in (equal_error_rate, true_accept_rate):
        expected = rate(y_true, y_score)
        assert rate(y_true, np.exp(y_score / 2) - 7) == expected
        assert rate(y_true[rows], y_score[rows]) == expected


@given(scored_pairs())
def test_turning_the_scores_round_turns_the_equal_error_rate_round(pairs):
    y_true, y_score = pairs
    assert equal_error_rate(y_true, -y_score) == pytest.approx(
        1 - equal_error_rate(y_true, y_score)
    )
    assert equal_error_rate(1 - y_true, -y_score) == pytest.approx(
        equal_error_rate(y_true, y_score)
    )


@given(scored_pairs(), st.floats(0, 1), st.floats(0, 1))
def test_true_accept_rate_grows_with_the_false_accept_rate(pairs, a, b):
    low, high = (true_accept_rate(*pairs, false_accept_rate=limit) for limit in sorted([a, b]))
    assert 0 <= low <= high <= 1
    assert true_accept_rate(*pairs, false_accept_rate=1) == 1


def test_separated_constant_and_reversed_scores():
    y_true = np.array([0, 0, 0, 1, 1])
    assert equal_error_rate(y_true, y_true) == 0
    assert equal_error_rate(y_true, np.zeros(5)) == 0.5
    assert equal_error_rate(y_true, -y_true) == 1
    assert true_accept_rate(y_true, y_true, false_accept_rate=0) == 1
    assert true_accept_rate(y_true, np.zeros(5), false_accept_rate=0.99) == 0
    assert true_accept_rate(y_true, -y_true, false_accept_rate=0.99) == 0


def test_a_threshold_that_attains_the_limit_exactly_is_allowed():
    y_true = np.r_[np.ones(10, int), np.zeros(100, int)]
    y_score = np.r_[np.full(10, 0.5), 0.9, np.full(99, 0.1)]  # one different pair scores above
    assert true_accept_rate(y_true, y_score, false_accept_rate=0.01) == 1
    assert true_accept_rate(y_true, y_score, false_accept_rate=0.0099) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_scores_of_any_numeric_dtype_give_python_floats(dtype):
    scores = np.array([1, 3, 2, 4], dtype=dtype)
    assert type(equal_error_rate([0, 0, 1, 1], scores)) is float
    assert type(true_accept_rate([0, 0, 1, 1], scores)) is float


@pytest.mark.parametrize(
    ("y_true", "pos_label"),
    [(["no", "no", "yes", "yes"], "yes"), ([False, False, True, True], True), ([1, 1, 2, 2], 2)],
)
def test_pos_label_names_the_same_pairs(y_true, pos_label):
    scores = [0.1, 0.6, 0.5, 0.9]
    assert equal_error_rate(y_true, scores, pos_label=pos_label) == 0.5
    assert true_accept_rate(y_true, scores, pos_label=pos_label) == 0.5


@pytest.mark.parametrize("rate", [equal_error_rate, true_accept_rate])
@pytest.mark.parametrize(
    ("y_true", "y_score", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], r"two labels, one of them pos_label=1, got \[1\]"),
        ([0, 0, 0], [0.1, 0.2, 0.3], r"two labels, one of them pos_label=1, got \[0\]"),
        ([0, 2, 2], [0.1, 0.2, 0.3], r"two labels, one of them pos_label=1, got \[0 2\]"),
        ([0, 1, 2], [0.1, 0.2, 0.3], r"two labels, one of them pos_label=1, got \[0 1 2\]"),
        (["no", "yes"], [0.1, 0.2], r"two labels, one of them pos_label=1, got \['no' 'yes'\]"),
        ([0, np.nan, 1], [0.1, 0.2, 0.3], "y_true contains NaN"),
        ([0, 1, 1], [0.1, np.nan, 0.3], "y_score contains NaN"),
        ([0, 1, 1], [0.1, 0.3], "inconsistent numbers of samples"),
        ([0, 1], [[0.1, 0.2], [0.3, 0.4]], "1d array"),
        ([], [], "minimum of 1 is required"),
    ],
)
def test_bad_input_says_what_is_wrong(rate, y_true, y_score, message):
    with pytest.raises(ValueError, match=message):
        rate(y_true, y_score)


@pytest.mark.parametrize("limit", [-0.1, 1.1, "low"])
def test_bad_false_accept_rate_is_named(limit):
    with pytest.raises(ValueError, match="'false_accept_rate' parameter"):
        true_accept_rate([0, 1], [0.1, 0.2], false_accept_rate=limit)
