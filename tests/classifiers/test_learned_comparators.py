"""RelationClassifier and SiameseClassifier over encoders that bring no comparator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    EpisodeSplit,
    MatchingClassifier,
    MatchingTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
)

BRIEF = {"max_epochs": 1, "batches_per_epoch": 5, "random_state": 0}
EPISODES = {"n_way": 5, "n_shot": 5, "n_query": 5, "n_episodes": 3, "random_state": 0}


@pytest.fixture(scope="module")
def novel(digits):
    """Digits 5 to 9, flat."""
    images, y = digits
    return images[y >= 5].reshape(-1, 64), y[y >= 5]


@pytest.fixture(scope="module")
def pca(digits):
    """A frozen PCA of digits 0 to 4."""
    images, y = digits
    return FrozenEstimator(PCA(20).fit(images[y < 5].reshape(-1, 64)))


@pytest.mark.parametrize("classifier", [RelationClassifier, SiameseClassifier])
@pytest.mark.parametrize("scale", [1, 1000])
def test_a_comparator_learned_from_the_support_set_works(classifier, scale, pca, novel):
    X, y = novel
    encoder = pca if scale == 1 else "passthrough"
    scores = episode_score(classifier(encoder, random_state=0), scale * X, y, **EPISODES)
    assert scores.mean > 0.7


@pytest.mark.parametrize("classifier", [RelationClassifier, SiameseClassifier])
def test_the_learned_comparator_does_not_depend_on_the_order_of_rows(classifier, novel):
    X, y = novel
    X, y, queries = X[:40], y[:40], X[40:80]
    clf = classifier("passthrough", random_state=0)
    expected = clone(clf).fit(X, y).predict_proba(queries)
    np.testing.assert_array_equal(clf.fit(X[::-1], y[::-1]).predict_proba(queries), expected)


@pytest.mark.parametrize("classifier", [RelationClassifier, SiameseClassifier])
def test_partial_fit_keeps_the_learned_comparator(classifier, pca, novel):
    X, y = novel
    known = y[:40] < 9
    clf = classifier(pca, random_state=0).fit(X[:40][known], y[:40][known])
    head = clf.head_
    clf.partial_fit(X[:40][~known][:1], y[:40][~known][:1])  # one example will do
    assert clf.head_ is head
    np.testing.assert_array_equal(clf.classes_, [5, 6, 7, 8, 9])


@pytest.mark.parametrize(
    ("classifier", "transformer"),
    [(RelationClassifier, "RelationTransformer"), (SiameseClassifier, "SiameseTransformer")],
)
def test_one_example_of_a_class_is_refused_with_the_remedy(classifier, transformer, pca, novel):
    X, y = novel
    rows = np.r_[np.flatnonzero(y == 5)[:2], np.flatnonzero(y == 6)[:1]]
    with pytest.raises(ValueError, match=f"{transformer}.*class .*6.* n_samples=1.*meta_fit"):
        classifier(pca).fit(X[rows], y[rows])


def test_one_example_is_enough_for_a_distance(pca, novel):
    X, y = novel
    _, first = np.unique(y, return_index=True)
    clf = SiameseClassifier(pca, metric="euclidean").fit(X[first], y[first])
    np.testing.assert_array_equal(clf.predict(X[first]), y[first])


@pytest.mark.parametrize(
    ("classifier", "transformer"),
    [(RelationClassifier, RelationTransformer), (SiameseClassifier, SiameseTransformer)],
)
def test_the_comparator_of_the_own_transformer_is_found_in_a_pipeline(
    classifier, transformer, novel
):
    X, y = novel
    pipeline = make_pipeline(StandardScaler(), transformer(**BRIEF))
    clf = classifier(pipeline).meta_fit(X, y)
    _, first = np.unique(y, return_index=True)
    assert clf.fit(X[first], y[first]).predict(X).shape == y.shape


def test_temperature_softens_siamese_probabilities(novel):
    X, y = novel
    encoder = FrozenEstimator(SiameseTransformer(loss="bce", **BRIEF).fit(X, y))
    own, soft = (
        SiameseClassifier(encoder, temperature=t).fit(X[:20], y[:20]) for t in (None, 10.0)
    )
    np.testing.assert_array_equal(own.predict(X), soft.predict(X))
    assert soft.predict_proba(X).max() < own.predict_proba(X).max()


@pytest.mark.parametrize("classifier", [RelationClassifier, SiameseClassifier])
def test_episode_score_learns_a_comparator_each_episode(classifier, novel):
    X, y = novel
    clf = classifier("passthrough", random_state=0)
    together = episode_score(clf, X, y, **EPISODES).scores
    np.testing.assert_allclose(together, cross_val_score(clf, X, y, cv=EpisodeSplit(**EPISODES)))


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: SiameseClassifier("passthrough", random_state=0),
        lambda X, y: SiameseClassifier(
            FrozenEstimator(SiameseTransformer(loss="bce", metric="sqeuclidean", **BRIEF).fit(X, y))
        ),
        lambda X, y: MatchingClassifier(
            FrozenEstimator(MatchingTransformer(full_context=True, **BRIEF).fit(X, y))
        ),
        lambda X, y: RelationClassifier("passthrough", random_state=0),
    ],
    ids=["weights", "scale", "context", "relation"],
)
@pytest.mark.parametrize("support", [np.float32, np.float64])
@pytest.mark.parametrize("queries", [np.float32, np.float64])
def test_support_and_queries_of_two_types(make, support, queries, novel):
    X, y = novel[0][:60], novel[1][:60]
    clf = make(X, y).fit(X.astype(support), y)
    expected = make(X, y).fit(X, y)
    np.testing.assert_array_equal(clf.predict(X.astype(queries)), expected.predict(X))
    got = clf.score_samples(X.astype(queries))
    np.testing.assert_allclose(got, expected.score_samples(X), rtol=0.01, atol=1e-5)
