import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.neighbors import KNeighborsClassifier

from sk_fewshot.distances import METRICS
from sk_fewshot.metrics import map_at_r, precision_at_1, r_precision, recall_at_k

SCORES = [precision_at_1, r_precision, map_at_r]
SCIPY_METRICS = {
    "euclidean": lambda a, b: cdist(a, b, "euclidean"),
    "sqeuclidean": lambda a, b: cdist(a, b, "sqeuclidean"),
    "manhattan": lambda a, b: cdist(a, b, "cityblock"),
    "dot": lambda a, b: -a @ b.T,
    "cosine": lambda a, b: cdist(a, b, "cosine"),
}


@st.composite
def labelled(draw, whole_numbers=False):
    """Embeddings and labels with at least one class of two; whole numbers tie often."""
    n = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(1, 3))
    X = rng.integers(-2, 3, size=(n, d)).astype(float) if whole_numbers else rng.normal(size=(n, d))
    y = rng.integers(0, draw(st.integers(1, 5)), size=n)
    y[1] = y[0]
    return X, y


def brute_force(X, y, X_reference=None, y_reference=None, metric="euclidean"):
    """(precision at 1, R-precision, MAP@R) by the definitions, in loops."""
    leave_one_out = X_reference is None
    if leave_one_out:
        X_reference, y_reference = X, y
    distances = SCIPY_METRICS[metric](X, X_reference)
    scores = []
    for i in range(len(X)):
        others = [j for j in range(len(X_reference)) if not (leave_one_out and i == j)]
        # nearest first; of equal distances, those of another class first
        ranking = sorted(
            others, key=lambda j: (np.float32(distances[i, j]), y_reference[j] == y[i])
        )
        hits = [y_reference[j] == y[i] for j in ranking]
        R = sum(hits)
        if R == 0:
            continue
        average = sum(sum(hits[: k + 1]) / (k + 1) for k in range(R) if hits[k]) / R
        scores.append((float(hits[0]), sum(hits[:R]) / R, average))
    return np.mean(scores, axis=0)


def all_scores(*args, **kwargs):
    return [score(*args, **kwargs) for score in SCORES]


@given(
    labelled(whole_numbers=True), st.sampled_from(["sqeuclidean", "euclidean", "manhattan", "dot"])
)
def test_leave_one_out_scores_equal_the_brute_force_with_ties(data, metric):
    np.testing.assert_allclose(
        all_scores(*data, metric=metric), brute_force(*data, metric=metric), rtol=1e-12
    )


@given(labelled(), st.sampled_from(sorted(METRICS)))
def test_leave_one_out_scores_equal_the_brute_force_in_every_metric(data, metric):
    np.testing.assert_allclose(
        all_scores(*data, metric=metric), brute_force(*data, metric=metric), rtol=1e-12
    )


@given(labelled(whole_numbers=True), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_scores_against_a_reference_set_equal_the_brute_force(data, seed, n_reference):
    X, y = data
    rng = np.random.default_rng(seed)
    X_reference = rng.integers(-2, 3, size=(n_reference, X.shape[1])).astype(float)
    y_reference = rng.integers(0, 7, size=n_reference)
    y_reference[0] = y[0]
    np.testing.assert_allclose(
        all_scores(X, y, X_reference=X_reference, y_reference=y_reference),
        brute_force(X, y, X_reference, y_reference),
        rtol=1e-12,
    )


@given(labelled(whole_numbers=True))
def test_scores_are_ordered_and_bounded(data):
    r, mean_average = r_precision(*data), map_at_r(*data)
    assert 0 <= mean_average <= r <= 1
    assert 0 <= precision_at_1(*data) <= 1


@given(labelled(whole_numbers=True), st.randoms(use_true_random=False))
def test_scores_ignore_the_order_of_rows_and_the_names_of_classes(data, random):
    X, y = data
    rows = random.sample(range(len(y)), len(y))
    expected = pytest.approx(all_scores(X, y), rel=1e-12)
    assert all_scores(X[rows], y[rows]) == expected
    assert all_scores(X, np.array(["e", "b", "z", "a", "q"])[y]) == expected
    assert all_scores(X.tolist(), [-3 * label for label in y]) == expected


@given(labelled(whole_numbers=True))
def test_scores_ignore_monotone_changes_of_the_distance(data):
    X, y = data
    expected = all_scores(X, y, metric="sqeuclidean")
    assert all_scores(X, y, metric="euclidean") == expected
    assert all_scores(X * 8 + 3, y, metric="sqeuclidean") == expected
    assert all_scores(X.astype(np.float32), y, metric="sqeuclidean") == expected


def test_separated_classes_score_1_and_interleaved_ones_0():
    y = np.repeat([0, 1, 2], [2, 5, 9])  # R differs between the classes
    assert all_scores(y[:, None] + np.linspace(0, 0.1, 16)[:, None], y) == [1, 1, 1]
    assert all_scores([[0.0], [1.0], [10.0], [11.0]], ["a", "b", "a", "b"]) == [0, 0, 0]


def test_a_collapsed_encoder_scores_0_in_any_row_order():
    assert all_scores(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]) == [0, 0, 0]


def test_ties_with_another_class_count_against_the_score():
    X, y = [[0.0], [1.0], [-1.0]], ["a", "a", "b"]  # both others are 1 away from the first
    assert precision_at_1(X, y) == 0.5
    assert precision_at_1(X, y) == precision_at_1(X[::-1], y[::-1])


def test_queries_without_a_match_are_left_out():
    X, y = [[0.0], [1.0], [5.0], [0.5]], ["a", "a", "lonely", "lonely too"]
    assert all_scores(X[:3], y[:3]) == [1, 1, 1]
    assert precision_at_1(X, y) == 0  # but they stand in the way of others
    reference = {"X_reference": [[0.0], [9.0]], "y_reference": ["a", "c"]}
    assert all_scores([[1.0], [9.0]], ["a", "b"], **reference) == [1, 1, 1]


def test_a_query_is_excluded_from_its_own_ranking_but_its_duplicates_are_not():
    X, y = np.array([[0.0], [0.0], [1.0], [3.0]]), [0, 0, 1, 1]
    assert precision_at_1(X, y) == 0.75
    assert precision_at_1(X, y, X_reference=X, y_reference=y) == 1


def test_precision_at_1_is_the_accuracy_of_the_nearest_neighbour():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    knn = KNeighborsClassifier(1).fit(X[:150], y[:150])
    expected = knn.score(X[150:], y[150:])
    assert precision_at_1(X[150:], y[150:], X_reference=X[:150], y_reference=y[:150]) == expected


def test_scores_do_not_depend_on_the_working_memory():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, size=(300, 5)).astype(np.float32), rng.integers(0, 9, 300)
    expected = all_scores(X, y)
    with config_context(working_memory=1):  # MiB: a few dozen rows
        assert all_scores(X, y) == pytest.approx(expected, rel=1e-12)


def test_distances_of_a_chunk_fit_the_working_memory():
    rows = []

    def counting(a, b):
        rows.append(len(a))
        return torch.cdist(a, b)

    rng = np.random.default_rng(0)
    with config_context(working_memory=1):
        precision_at_1(rng.normal(size=(1000, 2)), rng.integers(0, 9, 1000), metric=counting)
    assert sum(rows) == 1000
    assert max(rows) * 1000 * 8 <= 2**20


def test_a_callable_metric_gets_tensors_of_the_dtype_of_X():
    seen = []

    def chebyshev(a, b):
        seen.append((a.dtype, b.dtype))
        return torch.cdist(a, b, p=torch.inf)

    X = np.array([[0, 0], [3, 3], [7, 3], [7, 2]], dtype=np.float32)
    assert precision_at_1(X, [0, 0, 1, 1], metric=chebyshev) == 1
    assert precision_at_1(X, [0, 0, 1, 1], metric="manhattan") == 0.75
    assert seen == [(torch.float32, torch.float32)]


def test_the_inputs_are_left_alone():
    X, y = np.arange(8.0).reshape(4, 2), np.array([0, 0, 1, 1])
    X.flags.writeable = y.flags.writeable = False
    assert all_scores(X, y) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("score", [*SCORES, recall_at_k])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0, 1, 2]}, "No query has a match: .* a second example"),
        (
            {"X_reference": [[1.0, 1.0]], "y_reference": [5]},
            "No query has a match: .* an example in y_reference",
        ),
        ({"X_reference": [[1.0, 1.0]]}, "X_reference and y_reference must be given together"),
        ({"y_reference": [1]}, "X_reference and y_reference must be given together"),
        ({"X_reference": [[1.0]], "y_reference": [0]}, "same number of columns, got 2 and 1"),
        ({"X_reference": [[1.0, 1.0]], "y_reference": ["0"]}, "both numbers or both strings"),
        ({"X_reference": [[1.0, 1.0]], "y_reference": [0, 1]}, "inconsistent numbers of samples"),
        ({"X_reference": [[np.inf, 1.0]], "y_reference": [0]}, "X_reference contains infinity"),
        ({"X": [[0.0, np.nan], [1.0, 1.0], [2.0, 2.0]]}, "Input X contains NaN"),
        ({"y": [0, np.nan, 1]}, "Input y contains NaN"),
        ({"X": [1.0, 2.0, 3.0]}, "Expected 2D array"),
        ({"y": [0, 0]}, "inconsistent numbers of samples"),
        ({"metric": "chebyshev"}, "'metric' parameter"),
        (
            {"metric": lambda a, b: torch.full((len(a), len(b)), torch.nan)},
            "metric must not return NaN",
        ),
        ({"metric": lambda a, b: torch.zeros(len(a))}, "metric must return a tensor of shape"),
    ],
)
def test_bad_input_says_what_is_wrong(score, arguments, message):
    good = {"X": [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], "y": [0, 0, 1]}
    with pytest.raises(ValueError, match=message):
        score(**(good | arguments))


@pytest.mark.parametrize("score", SCORES)
def test_rows_and_columns_in_reverse(score):
    X, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
    expected = score(X, y)
    assert score(X[::-1, ::-1], y[::-1]) == pytest.approx(expected)
    assert score(X[:, ::-1], y, X_reference=X[::-1, ::-1], y_reference=y[::-1]) == pytest.approx(
        score(X, y, X_reference=X, y_reference=y)
    )
