"""Nearest-neighbour search among many classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sk_fewshot import MatchingClassifier, PrototypicalClassifier, SiameseClassifier

METRICS = {
    "sqeuclidean": "sqeuclidean",
    "euclidean": "euclidean",
    "cosine": "cosine",
    "manhattan": "cityblock",
    "dot": lambda x, y: -x @ y,
}
N_CLASSES = 2100  # several chunks, and more than predict scores one by one


def gallery(n_classes, d, *, seed=0, offset=0.0, dtype=np.float32, levels=None):
    """Classifier over one example a class, and queries."""
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(n_classes, d)) + offset, rng.normal(size=(70, d)) + offset
    if levels is not None:
        rows, queries = np.round(rows * levels), np.round(queries * levels)
    return rows.astype(dtype), queries.astype(dtype)


def fitted(rows, **params):
    return PrototypicalClassifier("passthrough", **params).fit(rows, np.arange(len(rows)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__kneighbors__equals_sorted_distances(metric, dtype):
    rows, queries = gallery(N_CLASSES, 6, dtype=dtype)
    distances, indices = fitted(rows, metric=metric).kneighbors(queries, n_neighbors=7)
    expected = cdist(queries.astype(float), rows.astype(float), METRICS[metric])
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :7])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :7], rtol=1e-5, atol=1e-6)
    assert distances.dtype == dtype


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.integers(1, 1500),
    d=st.integers(1, 5),
    levels=st.sampled_from([1, 2, 5]),
    k=st.integers(1, 20),
    metric=st.sampled_from(["sqeuclidean", "dot", "manhattan"]),
)
def test__kneighbors__of_equal_rows_takes_the_first(seed, n_classes, d, levels, k, metric):
    rows, queries = gallery(n_classes, d, seed=seed, levels=levels)  # whole numbers: many ties
    k = min(k, n_classes)
    indices = fitted(rows, metric=metric).kneighbors(queries, k, return_distance=False)
    expected = cdist(queries.astype(float), rows.astype(float), METRICS[metric])
    np.testing.assert_array_equal(indices, expected.argsort(axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("offset", [1e3, 1e-30])
def test__kneighbors__far_from_the_origin_and_tiny(offset):
    rows, queries = gallery(N_CLASSES, 8, dtype=np.float64)
    rows, queries = (
        (rows + offset, queries + offset) if offset > 1 else (rows * offset, queries * offset)
    )
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    indices = fitted(rows, metric="euclidean").kneighbors(queries, 3, return_distance=False)
    exact = cdist(queries.astype(float), rows.astype(float))
    np.testing.assert_array_equal(indices, exact.argsort(axis=1)[:, :3])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("levels", [None, 1])
def test__predict__is_the_argmax_of_all_scores(metric, levels):
    rows, queries = gallery(N_CLASSES, 4, levels=levels)
    clf = fitted(rows, metric=metric, temperature=0.7)
    np.testing.assert_array_equal(clf.predict(queries), clf.decision_function(queries).argmax(1))


def test__predict_top_k__is_the_top_of_predict_proba():
    rows, queries = gallery(N_CLASSES, 4)
    clf = fitted(rows, temperature=0.5)
    labels, probabilities = clf.predict_top_k(queries, k=3)
    every = clf.predict_proba(queries)
    np.testing.assert_array_equal(labels, every.argsort(axis=1)[:, ::-1][:, :3])
    np.testing.assert_allclose(probabilities, np.sort(every, axis=1)[:, ::-1][:, :3], rtol=1e-4)


def test__kneighbors__does_not_depend_on_the_other_queries():
    rows, queries = gallery(N_CLASSES, 5)
    clf = fitted(rows)
    together = clf.kneighbors(queries, 4)
    for alone, several in zip(clf.kneighbors(queries[:1], 4), together, strict=True):
        np.testing.assert_array_equal(alone, several[:1])


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (4, ValueError), (1.5, TypeError)])
def test__kneighbors__refuses_other_numbers(k, error):
    rows, queries = gallery(3, 2)
    with pytest.raises(error, match="n_neighbors"):
        fitted(rows).kneighbors(queries, k)


@pytest.mark.parametrize(
    "clf", [MatchingClassifier("passthrough"), SiameseClassifier("passthrough", metric="euclidean")]
)
def test__kneighbors__of_support_sets_are_their_examples(clf):
    rows, queries = gallery(1200, 4)
    clf.fit(rows, np.arange(1200) % 40)
    distances, indices = clf.kneighbors(queries, 6)
    expected = cdist(queries.astype(float), rows.astype(float), clf.metric)
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :6])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :6], rtol=1e-5, atol=1e-6)


def test__kneighbors__of_a_learned_comparator_is_what_siamese_predicts():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 12)
    X = (rng.normal(size=(4, 5))[y] * 4 + rng.normal(size=(48, 5))).astype(np.float32)
    clf = SiameseClassifier("passthrough", random_state=0).fit(X[::2], y[::2])
    distances, indices = clf.kneighbors(X[1::2], 1)
    np.testing.assert_array_equal(y[::2][indices[:, 0]], clf.predict(X[1::2]))
    best = clf.decision_function(X[1::2]).max(axis=1)
    np.testing.assert_allclose(-distances[:, 0], best, rtol=1e-5)


def test__kneighbors__of_rows_and_columns_in_reverse():
    rows, queries = gallery(N_CLASSES, 5)
    expected = fitted(rows).kneighbors(queries, 3)
    for given_rows, given_queries in ((rows, queries[::-1]), (rows[:, ::-1], queries[::-1, ::-1])):
        found = fitted(given_rows).kneighbors(given_queries, 3)
        np.testing.assert_array_equal(found[1][::-1], expected[1])
        np.testing.assert_allclose(found[0][::-1], expected[0], rtol=1e-6)
