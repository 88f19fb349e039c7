"""What all few-shot classifiers promise of support sets, whatever their head."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score

from sk_fewshot import (
    EpisodeSplit,
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
)

D = 6
BRIEF = {"max_epochs": 1, "batches_per_epoch": 5, "random_state": 0}
RNG = np.random.default_rng(0)
BASE_Y = np.repeat(np.arange(8), 6)
BASE_X = (RNG.normal(size=(8, D))[BASE_Y] * 3 + RNG.normal(size=(48, D))).astype(np.float32)

CLASSIFIERS = {
    "prototypical": PrototypicalClassifier(PrototypicalTransformer(**BRIEF)),
    "matching": MatchingClassifier(MatchingTransformer(**BRIEF)),
    "matching, full context": MatchingClassifier(MatchingTransformer(full_context=True, **BRIEF)),
    "relation, mse": RelationClassifier(RelationTransformer(**BRIEF)),
    "relation, softmax": RelationClassifier(RelationTransformer(loss="softmax", **BRIEF)),
    "relation, maps": RelationClassifier(RelationTransformer(image_shape=(1, 2, 3), **BRIEF)),
    "siamese, contrastive": SiameseClassifier(SiameseTransformer(**BRIEF)),
    "siamese, bce": SiameseClassifier(SiameseTransformer(loss="bce", **BRIEF)),
}
for classifier in CLASSIFIERS.values():
    classifier.meta_fit(BASE_X, BASE_Y)


@pytest.fixture(params=CLASSIFIERS)
def clf(request):
    """A classifier that has learned to compare and met no class yet."""
    return clone(CLASSIFIERS[request.param])


def support_set(counts, seed=0):
    """Examples (n, D) of as many classes as there are counts, in random order."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    X = rng.normal(size=(len(codes), D)).astype(np.float32)
    return X + 3 * rng.normal(size=(len(counts), D)).astype(np.float32)[codes], codes


QUERIES = RNG.normal(size=(70, D)).astype(np.float32)


@pytest.mark.parametrize("name", CLASSIFIERS)
@given(
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
@settings(max_examples=10)
def test_enrolment_in_any_order_and_in_parts_is_bitwise_the_same(name, counts, seed, data):
    clf = clone(CLASSIFIERS[name])
    X, y = support_set(counts, seed)
    expected = clf.fit(X, y).predict_proba(QUERIES)
    order = np.array(data.draw(st.permutations(range(len(y)))))
    split = data.draw(st.integers(1, len(y)))
    parts = clone(clf).fit(X[order][:split], y[order][:split])
    if split < len(y):
        parts.partial_fit(X[order][split:], y[order][split:])
    if name == "prototypical":  # its sums run over the rows in the order they come
        np.testing.assert_allclose(parts.predict_proba(QUERIES), expected, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(parts.predict_proba(QUERIES), expected)
    np.testing.assert_array_equal(parts.classes_, clf.classes_)


def test_enrolling_row_by_row_equals_one_fit(clf):
    X, y = support_set([2, 1, 3])
    one = clone(clf).fit(X, y)
    for i in range(len(y)):
        clf.partial_fit(X[i : i + 1], y[i : i + 1])
    np.testing.assert_array_equal(clf.predict_proba(QUERIES), one.predict_proba(QUERIES))


@pytest.mark.parametrize(
    "labels",
    [np.array([7, -3, 40]), np.array(["b", "a", "long"]), np.array(["x", "y", "z"], dtype=object)],
)
def test_names_of_labels_do_not_matter(clf, labels):
    X, y = support_set([2, 3, 1])
    expected = clone(clf).fit(X, y)
    clf.fit(X, labels[y])
    by_code = np.searchsorted(clf.classes_, labels)
    proba = expected.predict_proba(QUERIES)
    np.testing.assert_allclose(clf.predict_proba(QUERIES)[:, by_code], proba, rtol=1e-4)
    best, second = np.sort(proba)[:, :-3:-1].T
    clear = best > 1.001 * second  # a tie goes to the class that sorts first
    np.testing.assert_array_equal(
        clf.predict(QUERIES)[clear], labels[expected.predict(QUERIES)][clear]
    )


def test_bool_labels(clf):
    X, y = support_set([2, 1])
    predicted = clf.fit(X, y.astype(bool)).predict(QUERIES)
    assert predicted.dtype == bool
    np.testing.assert_array_equal(predicted, clone(clf).fit(X, y).predict(QUERIES) == 1)
    np.testing.assert_array_equal(clf.decision_function(QUERIES) > 0, predicted)


@pytest.mark.parametrize("n_classes", [2, 1000])
def test_two_to_a_thousand_classes_of_one_example(clf, n_classes):
    X, y = support_set([1] * n_classes)
    clf.fit(X, y)
    probabilities = clf.predict_proba(QUERIES[:10])
    assert probabilities.shape == (10, n_classes)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_predictions_do_not_depend_on_the_other_queries(clf):
    clf.fit(*support_set([2, 3, 1]))
    together = clf.predict_proba(QUERIES)
    np.testing.assert_array_equal(clf.predict_proba(QUERIES[::-1])[::-1], together)
    alone = np.concatenate([clf.predict_proba(query[None]) for query in QUERIES[:5]])
    np.testing.assert_array_equal(alone, together[:5])


def test_probabilities_rank_as_predictions_and_decisions(clf):
    clf.fit(*support_set([2, 3, 1]))
    best = clf.predict(QUERIES)
    np.testing.assert_array_equal(clf.predict_proba(QUERIES).argmax(axis=1), best)
    np.testing.assert_array_equal(clf.decision_function(QUERIES).argmax(axis=1), best)


def test_what_was_learned_survives_clone_pickle_and_new_support_sets(clf):
    X, y = support_set([2, 3, 1])
    expected = clf.fit(X, y).predict_proba(QUERIES)
    for copy in (clone(clf).fit(X, y), pickle.loads(pickle.dumps(clf)), clf.fit(X, y)):
        np.testing.assert_array_equal(copy.predict_proba(QUERIES), expected)
    head = clf.encoder.estimator.head_
    assert type(head) is type(clf.head_)


def test_float64_and_float32_support_and_queries_mix(clf):
    X, y = support_set([2, 3, 1])
    expected = clf.fit(X, y).predict_proba(QUERIES)
    mixed = clone(clf).fit(X[:3].astype(np.float64), y[:3]).partial_fit(X[3:], y[3:])
    np.testing.assert_allclose(mixed.predict_proba(QUERIES), expected, rtol=1e-3, atol=1e-6)


def test_episode_score_equals_cross_validation(clf):
    episodes = {"n_way": 3, "n_shot": 2, "n_query": 3, "n_episodes": 10, "random_state": 0}
    together = episode_score(clf, BASE_X, BASE_Y, **episodes).scores
    each = cross_val_score(clf, BASE_X, BASE_Y, cv=EpisodeSplit(**episodes))
    np.testing.assert_allclose(together, each)


@pytest.mark.parametrize("name", ["prototypical", "matching", "siamese, bce"])
def test_grid_search_over_metrics_is_meaningful(name):
    clf = clone(CLASSIFIERS[name])
    metrics = ["euclidean", "cosine", "manhattan", "dot"]
    cv = EpisodeSplit(n_way=4, n_shot=1, n_query=4, n_episodes=5, random_state=0)
    search = GridSearchCV(clf, {"metric": metrics}, cv=cv, error_score="raise")
    search.fit(BASE_X - BASE_X.mean(), BASE_Y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1


def test_relation_learns_its_metric():
    with pytest.raises(TypeError, match="metric"):
        RelationClassifier(metric="cosine")
    search = GridSearchCV(RelationClassifier("passthrough"), {"metric": ["cosine"]}, cv=2)
    with pytest.raises(ValueError, match="Invalid parameter 'metric' for estimator Relation"):
        search.fit(BASE_X, BASE_Y)


def test_a_frozen_encoder_is_used_as_it_is():
    encoder = FrozenEstimator(MatchingTransformer(**BRIEF).fit(BASE_X, BASE_Y))
    clf = MatchingClassifier(encoder).fit(*support_set([1, 1]))
    assert clf.encoder_ is encoder
    assert clf.head_ is encoder.head_
    np.testing.assert_array_equal(
        np.sort(clf.support_embeddings_, axis=0),
        np.sort(encoder.transform(support_set([1, 1])[0]), axis=0),
    )
