"""Embeddings in the plane."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
)
from sk_fewshot.plotting import EmbeddingDisplay


def drawn(collections):
    return np.concatenate([points.get_offsets() for points in collections])


def test_points_and_prototypes_are_the_projected_embeddings(episode):
    support, y_support, queries, y = episode
    clf = PrototypicalClassifier("passthrough").fit(support, y_support)
    display = EmbeddingDisplay.from_estimator(clf, queries, y)
    flat = queries.reshape(len(queries), -1)
    pca = PCA(2).fit(flat)
    expected, prototypes = pca.transform(flat), pca.transform(clf.prototypes_)
    signs = np.sign((display.points * expected).sum(0))
    np.testing.assert_allclose(drawn(display.points_), signs * expected, atol=1e-5)
    np.testing.assert_allclose(drawn(display.prototypes_), signs * prototypes, atol=1e-5)
    np.testing.assert_allclose(display.explained_variance_ratio, pca.explained_variance_ratio_)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("kind", [MatchingClassifier, SiameseClassifier, RelationClassifier])
def test_prototypes_of_every_classifier_are_class_means(kind, episode):
    support, y_support, queries, y = episode
    means = PrototypicalClassifier("passthrough").fit(support, y_support)
    of_means = EmbeddingDisplay.from_estimator(means, queries, y).prototypes
    display = EmbeddingDisplay.from_estimator(
        kind("passthrough", random_state=0).fit(support, y_support), queries, y
    )
    np.testing.assert_allclose(display.prototypes, of_means, atol=1e-5)


def test_any_transformer_with_and_without_labels(episode):
    X, y = episode[2].reshape(-1, 64), episode[3]
    scaler = StandardScaler().fit(X)
    display = EmbeddingDisplay.from_estimator(scaler, X, y.astype(str), marker="s")
    assert len(display.points_) == len(display.prototypes_) == 5
    np.testing.assert_allclose(display.prototypes[0], display.points[y == 0].mean(0), atol=1e-5)
    display = EmbeddingDisplay.from_estimator(scaler, X)
    assert len(display.points_) == 1
    assert display.ax_.get_legend() is None


def test_classes_without_queries_and_queries_without_classes(episode):
    support, y_support, queries, y = episode
    clf = PrototypicalClassifier("passthrough").fit(support[:4], y_support[:4])
    display = EmbeddingDisplay.from_estimator(clf, queries[y > 0], y[y > 0])
    assert len(display.points_) == 4
    assert len(display.prototypes_) == 2
    color = display.prototypes_[1].get_facecolor()[0, :3]  # of class 1
    np.testing.assert_array_equal(color, display.points_[0].get_facecolor()[0, :3])


def test_many_classes_have_no_legend():
    rng = np.random.default_rng(0)
    display = EmbeddingDisplay.from_embeddings(rng.normal(size=(30, 3)), np.arange(30))
    assert len(display.points_) == 30
    assert display.ax_.get_legend() is None


@pytest.mark.parametrize(
    ("embeddings", "params", "message"),
    [
        (np.ones((3, 1)), {}, "1 feature.*minimum of 2 is required by EmbeddingDisplay"),
        (np.ones((1, 3)), {}, "1 sample.*minimum of 2 is required by EmbeddingDisplay"),
        (np.eye(3), {"y": [0, 1]}, "inconsistent numbers of samples"),
        (np.eye(3), {"prototypes": np.eye(3)}, "prototypes and classes go together"),
    ],
)
def test_says_what_is_wrong(embeddings, params, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_embeddings(embeddings, **params)


def test_needs_a_fitted_estimator(episode):
    with pytest.raises(NotFittedError):
        EmbeddingDisplay.from_estimator(PrototypicalClassifier("passthrough"), episode[2])
