"""The expected calibration error against a loop over its bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_fewshot.metrics import expected_calibration_error


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    n_classes=st.integers(2, 5),
    n_bins=st.integers(1, 20),
)
def test_equals_a_loop_over_bins(seed, n, n_classes, n_bins):
    rng = np.random.default_rng(seed)
    y_proba = rng.dirichlet(np.ones(n_classes), size=n)
    y_true = rng.integers(n_classes, size=n)
    confidence, right = y_proba.max(1), y_proba.argmax(1) == y_true
    expected = 0.0
    for b in range(n_bins):
        within = np.minimum(np.floor(confidence * n_bins), n_bins - 1) == b
        if within.any():
            expected += within.mean() * abs(right[within].mean() - confidence[within].mean())
    found = expected_calibration_error(y_true, y_proba, labels=range(n_classes), n_bins=n_bins)
    assert found == pytest.approx(expected, abs=1e-9)


def test_is_zero_where_confidence_is_accuracy_and_one_where_it_is_never_right():
    sure = np.eye(2)[[0, 1, 1]]
    assert expected_calibration_error(["a", "b", "b"], sure) == 0
    assert expected_calibration_error(["b", "a", "a"], sure) == 1
    half = np.full((4, 2), 0.5)
    assert expected_calibration_error([0, 1, 0, 1], half) == 0


@pytest.mark.parametrize(
    ("y_true", "y_proba", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "inconsistent numbers of samples"),
        ([0, 0], [[0.5, 0.5], [0.5, 0.5]], "a column for each of the 1 labels, got 2"),
        ([0, 1], [[2.0, -1.0], [0.5, 0.5]], "probabilities from 0 to 1"),
        ([0, 1], [[np.nan, 1.0], [0.5, 0.5]], "NaN"),
    ],
)
def test_refuses_what_are_no_probabilities(y_true, y_proba, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y_true, y_proba)
