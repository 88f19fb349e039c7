"""Queries and the support images nearest to them."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
)
from sk_fewshot.plotting import NeighborsDisplay


def image(axes):
    return np.asarray(axes.get_images()[0].get_array())


@pytest.mark.parametrize("kind", [PrototypicalClassifier, MatchingClassifier, SiameseClassifier])
def test_shows_the_nearest_support_images(kind, episode):
    support, y_support, queries, y = episode
    clf = kind("passthrough", metric="euclidean").fit(support, y_support)
    display = NeighborsDisplay.from_estimator(
        clf, queries, support, y=y, y_support=y_support, n_neighbors=3
    )
    search = NearestNeighbors(n_neighbors=3).fit(support.reshape(10, -1))
    distances, indices = search.kneighbors(queries.reshape(20, -1))
    np.testing.assert_array_equal(display.indices, indices)
    np.testing.assert_allclose(display.distances, distances, rtol=1e-5)
    assert display.axes_.shape == (20, 4)
    for i, (query, *neighbors) in enumerate(display.axes_):
        np.testing.assert_array_equal(image(query), queries[i])
        assert query.get_title() == f"query: {y[i]}"
        for axes, j, distance in zip(neighbors, indices[i], distances[i], strict=True):
            np.testing.assert_array_equal(image(axes), support[j])
            assert axes.get_title() == str(y_support[j])
            assert float(axes.get_xlabel()) == pytest.approx(distance, rel=0.01)
            assert axes.title.get_color() == ("tab:green" if y_support[j] == y[i] else "tab:red")


def test_a_learned_comparator_is_the_metric(episode):
    support, y_support, queries, _ = episode
    clf = SiameseClassifier("passthrough", random_state=0).fit(support, y_support)
    display = NeighborsDisplay.from_estimator(clf, queries, support, n_neighbors=10)
    np.testing.assert_allclose(display.distances, clf.kneighbors(queries, 10)[0], rtol=1e-4)
    assert display.axes_[0, 0].get_title() == "query"


def test_what_another_search_found(episode):
    support, _, queries, _ = episode
    display = NeighborsDisplay.from_neighbors(
        queries[:1].reshape(1, -1),
        support.reshape(10, -1),
        [[0.1, 0.2]],
        [[7, 2]],
        image_shape=(1, 8, 8),
    )
    np.testing.assert_array_equal(image(display.axes_[0, 1]), support[7])
    assert display.axes_[0, 2].get_xlabel() == "0.2"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"distances": [0.1]}, "distances and indices must both have shape"),
        ({"X": np.ones((2, 8, 8))}, "inconsistent numbers of samples"),
        ({"X": np.ones((1, 64))}, "X must hold images"),
        ({"y": [1]}, "only with y_support"),
    ],
)
def test_says_what_is_wrong(episode, params, message):
    arguments = {"X": episode[2][:1], "X_support": episode[0], "distances": [[1]], "indices": [[3]]}
    with pytest.raises(ValueError, match=message):
        NeighborsDisplay.from_neighbors(**(arguments | params))


def test_classifiers_without_neighbours(episode):
    support, y_support, queries, _ = episode
    with pytest.raises(NotFittedError):
        NeighborsDisplay.from_estimator(MatchingClassifier(), queries, support)
    clf = RelationClassifier("passthrough", random_state=0).fit(support, y_support)
    with pytest.raises(TypeError, match=r"that has kneighbors.*got RelationClassifier"):
        NeighborsDisplay.from_estimator(clf, queries, support)
    clf = MatchingClassifier("passthrough").fit(support, y_support)
    with pytest.raises(ValueError, match="Expected 1 <= n_neighbors <= 10"):
        NeighborsDisplay.from_estimator(clf, queries, support, n_neighbors=11)
