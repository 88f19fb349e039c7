"""Recall at k and the CMC, and every score where the search takes the place of a full ranking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sk_fewshot.metrics import map_at_r, precision_at_1, r_precision, recall_at_k


def ranked_hits(X, y, X_reference=None, y_reference=None, cameras=None, cameras_reference=None):
    """Of each query with a match, whether each of its neighbours is one; nearest first."""
    alone = X_reference is None
    if alone:
        X_reference, y_reference, cameras_reference = X, y, cameras
    distances = cdist(X, X_reference).astype(np.float32)
    for i in range(len(X)):
        left_out = np.zeros(len(X_reference), bool)
        if cameras is not None:
            left_out = (y_reference == y[i]) & (cameras_reference == cameras[i])
        elif alone:
            left_out[i] = True
        match = (y_reference == y[i]) & ~left_out
        order = np.lexsort([match, distances[i]])  # of equal distances, other classes first
        if match.any():
            yield match[order[~left_out[order]]]


def recall(hits, k):
    return np.mean([h[:k].any() for h in hits])


@st.composite
def seen_by_cameras(draw):
    n, n_reference = draw(st.integers(2, 20)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = draw(st.booleans())

    def some(n):
        X = rng.integers(-2, 3, (n, 2)).astype(float) if whole else rng.normal(size=(n, 2))
        return X, rng.integers(0, 3, n), rng.integers(0, 3, n)

    X, y, cameras = some(n)
    X_reference, y_reference, cameras_reference = some(n_reference)
    y[1], cameras[1] = y[0], cameras[0] + 1
    y_reference[0], cameras_reference[0] = y[0], cameras[0] + 1
    return (X, y, cameras), (X_reference, y_reference, cameras_reference)


@given(seen_by_cameras(), st.booleans(), st.booleans())
def test_recall_is_that_of_the_brute_force(data, with_cameras, with_reference):
    (X, y, cameras), (X_reference, y_reference, cameras_reference) = data
    arguments = {}
    if with_cameras:
        arguments["cameras"] = cameras
    if with_reference:
        arguments |= {"X_reference": X_reference, "y_reference": y_reference}
        if with_cameras:
            arguments["cameras_reference"] = cameras_reference
    hits = list(ranked_hits(X, y, **arguments))
    ks = [1, 2, 5, 40]
    curve = recall_at_k(X, y, k=ks, **arguments)
    np.testing.assert_allclose(curve, [recall(hits, k) for k in ks], rtol=1e-12)
    assert [recall_at_k(X, y, k=k, **arguments) for k in ks] == curve.tolist()
    assert (np.diff(curve) >= 0).all()
    if not with_cameras:
        assert curve[0] == precision_at_1(X, y, **arguments)


def test_another_picture_by_the_same_camera_is_left_out_but_other_people_stay():
    X, y = np.array([[0.0], [0.1], [0.25], [1.0]]), np.array(["ada", "ada", "bob", "ada"])
    cameras = ["door", "door", "door", "yard"]
    assert recall_at_k(X, y, k=[1, 2]).tolist() == [2 / 3, 1]
    assert recall_at_k(X, y, k=[1, 2], cameras=cameras).tolist() == [0, 1]
    reference = {"X_reference": X[1:], "y_reference": y[1:]}
    assert recall_at_k(X[:1], y[:1], **reference) == 1
    of_reference = {**reference, "cameras_reference": cameras[1:]}
    assert recall_at_k(X[:1], y[:1], cameras=["door"], **of_reference) == 0
    assert recall_at_k(X[:1], y[:1], cameras=["lift"], **of_reference) == 1


def test_queries_that_one_camera_alone_has_seen_are_left_out():
    X, y = [[0.0], [0.5], [2.0], [9.0]], [0, 0, 1, 1]
    assert recall_at_k(X, y, cameras=[1, 2, 1, 1]) == 1
    with pytest.raises(ValueError, match="needs a second example of another camera"):
        recall_at_k(X, y, cameras=[1, 1, 1, 1])


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("whole_numbers", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_among_many_are_those_of_the_full_ranking(metric, whole_numbers, dtype):
    rng = np.random.default_rng(0)
    n = 1600  # the search is for 512 rows a neighbour or more
    y = np.arange(n) % 800
    y[:30] = 0  # a class whose queries need more neighbours than the search is asked for
    X = rng.integers(-4, 5, (n, 3)) if whole_numbers else rng.normal(size=(n, 3))
    X = X.astype(dtype)
    if metric == "cosine":
        X[(X == 0).all(axis=1)] = 1
    names = {"manhattan": "cityblock"}
    distances = cdist(X.astype(float), X.astype(float), names.get(metric, metric))
    distances = np.round(distances, 9).astype(np.float32)
    np.fill_diagonal(distances, np.inf)
    match = y == y[:, None]
    np.fill_diagonal(match, False)
    order = np.lexsort([match, distances], axis=1)
    order, match = order[match.any(axis=1)], match[match.any(axis=1)]
    hits = np.take_along_axis(match, order, axis=1)
    R = match.sum(axis=1)
    within = np.arange(n) < R[:, None]
    precision = np.cumsum(hits, axis=1) / np.arange(1, n + 1)
    expected = [
        hits[:, 0].mean(),
        ((hits & within).sum(axis=1) / R).mean(),
        ((precision * (hits & within)).sum(axis=1) / R).mean(),
        hits[:, :3].any(axis=1).mean(),
    ]
    found = [
        *(score(X, y, metric=metric) for score in (precision_at_1, r_precision, map_at_r)),
        recall_at_k(X, y, k=3, metric=metric),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=10)
def test_recall_among_many_is_that_of_the_brute_force(seed, d):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-3, 4, (100, d)).astype(float), rng.integers(0, 30, 100)
    X_reference, y_reference = (
        rng.integers(-3, 4, (4000, d)).astype(float),
        rng.integers(0, 30, 4000),
    )
    cameras, cameras_reference = rng.integers(0, 80, 100), rng.integers(0, 80, 4000)
    arguments = {
        "X_reference": X_reference,
        "y_reference": y_reference,
        "cameras": cameras,
        "cameras_reference": cameras_reference,
    }
    hits = list(ranked_hits(X, y, **arguments))
    np.testing.assert_allclose(
        recall_at_k(X, y, k=[1, 2], **arguments), [recall(hits, 1), recall(hits, 2)], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "'k' parameter|k must be a positive integer"),
        ({"k": [1, 0]}, "k must be a positive integer or several"),
        ({"k": 1.5}, "'k' parameter|k must be a positive integer"),
        ({"k": [1.5]}, "k must be a positive integer or several"),
        ({"k": []}, "k must be a positive integer or several"),
        ({"k": [[1]]}, "k must be a positive integer or several"),
        ({"k": "a"}, "'k' parameter"),
        ({"cameras": [0, 1]}, "inconsistent numbers of samples"),
        ({"cameras": [0, None, 1]}, "cameras must not have missing labels, got None at index 1"),
        ({"cameras_reference": [0, 1, 2]}, "cameras_reference must be None without X_reference"),
        (
            {"X_reference": [[0.0, 1.0]], "y_reference": [0], "cameras": [0, 1, 2]},
            "cameras and cameras_reference must be given together",
        ),
        (
            {
                "X_reference": [[0.0, 1.0]],
                "y_reference": [0],
                "cameras": [0, 1, 2],
                "cameras_reference": ["a"],
            },
            "cameras and cameras_reference must be both numbers or both strings",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"X": [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], "y": [0, 0, 1]}
    with pytest.raises(ValueError, match=message):
        recall_at_k(**(good | arguments))
