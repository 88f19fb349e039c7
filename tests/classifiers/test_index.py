"""Approximate search by FAISS."""

import copy
import pickle
import sys

import numpy as np
import pytest

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    SiameseClassifier,
    SiameseTransformer,
    load,
    save,
)

pytest.importorskip("faiss", reason="FAISS is not installed")

CLASSIFIERS = [PrototypicalClassifier, MatchingClassifier, SiameseClassifier]
METRICS = ["sqeuclidean", "euclidean", "cosine", "dot"]
N_CLASSES, D = 3000, 8


@pytest.fixture(scope="module")
def gallery():
    """One embedding of each class, and queries near some of them."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N_CLASSES, D)).astype(np.float32)
    classes = rng.choice(N_CLASSES, 300, replace=False)
    return rows, rows[classes] + 0.1 * rng.normal(size=(300, D)).astype(np.float32), classes


def fitted(Classifier, rows, **params):
    return Classifier("passthrough", **params).fit(rows, np.arange(len(rows)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("Classifier", CLASSIFIERS)
def test_finds_nearly_all_neighbors_at_their_exact_distances(Classifier, metric, gallery):
    rows, queries, _ = gallery
    exact, indices = fitted(Classifier, rows, metric=metric).kneighbors(queries)
    clf = fitted(Classifier, rows, metric=metric, index="faiss")
    distances, found = clf.kneighbors(queries)
    assert (found[:, 0] == indices[:, 0]).mean() > 0.9
    assert np.mean([np.isin(a, b).mean() for a, b in zip(indices, found)]) > 0.8
    assert (np.diff(distances, axis=1) >= 0).all()
    same = found[:, 0] == indices[:, 0]
    np.testing.assert_allclose(distances[same, 0], exact[same, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("Classifier", [PrototypicalClassifier, SiameseClassifier])
def test_predicts_nearly_as_without(Classifier, gallery):
    rows, queries, classes = gallery
    clf = fitted(Classifier, rows, metric="sqeuclidean", index="faiss")
    assert (clf.predict(queries) == classes).mean() > 0.95
    one_by_one = [clf.predict(query[None])[0] for query in queries[:20]]
    np.testing.assert_array_equal(clf.predict(queries)[:20], one_by_one)


def test__predict_top_k__has_the_probabilities_among_all_classes(gallery):
    rows, queries, _ = gallery
    labels, probabilities = fitted(PrototypicalClassifier, rows, index="faiss").predict_top_k(
        queries
    )
    expected = fitted(PrototypicalClassifier, rows).predict_proba(queries)
    np.testing.assert_allclose(
        probabilities, np.take_along_axis(expected, labels, axis=1), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("k", [1, 100, N_CLASSES])
def test_finds_as_many_neighbors_as_asked_for(k, gallery):
    rows, queries, _ = gallery
    found = fitted(PrototypicalClassifier, rows, index="faiss").kneighbors(
        queries[:5], k, return_distance=False
    )
    assert found.shape == (5, k)
    assert all(len(np.unique(row)) == k for row in found)


def test_few_embeddings_are_searched_exactly(gallery):
    rows, queries, _ = gallery
    np.testing.assert_array_equal(
        fitted(PrototypicalClassifier, rows[:1000], index="faiss").predict(queries),
        fitted(PrototypicalClassifier, rows[:1000]).predict(queries),
    )


def test_follows_every_enrolment(gallery):
    rows, queries, classes = gallery
    clf = fitted(PrototypicalClassifier, rows, index="faiss")
    query, known = queries[:1], classes[0]
    clf.predict(query)
    clf.partial_fit(query, [N_CLASSES])
    assert clf.predict(query) == N_CLASSES
    clf.remove_class(N_CLASSES)
    assert clf.predict(query) == known
    clf.set_params(metric="cosine").fit(rows[::-1].copy(), np.arange(N_CLASSES))
    assert clf.predict(rows[:1]) == N_CLASSES - 1


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "save"])
def test_survives_copies(copied, gallery, tmp_path):
    rows, queries, _ = gallery
    clf = fitted(PrototypicalClassifier, rows, index="faiss")
    expected = clf.predict(queries)
    if copied == "save":
        save(clf, tmp_path / "clf")
        other = load(tmp_path / "clf")
    else:
        other = copy.deepcopy(clf) if copied == "deepcopy" else pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(other.predict(queries), expected)


@pytest.mark.parametrize("metric", ["manhattan", lambda x, y: 1 - x @ y.T])
@pytest.mark.parametrize("Classifier", CLASSIFIERS)
def test_other_metrics_are_refused(Classifier, metric):
    clf = Classifier("passthrough", metric=metric, index="faiss")
    with pytest.raises(ValueError, match=r"index='faiss' needs a metric among .*, got metric="):
        clf.fit(np.eye(3), range(3))
    assert not hasattr(clf, "classes_")


def test_a_learned_comparator_is_refused(gallery):
    encoder = SiameseTransformer(loss="bce", max_epochs=1, batches_per_epoch=1, random_state=0)
    rows = np.repeat(gallery[0][:10], 4, axis=0)
    clf = SiameseClassifier(encoder, index="faiss")
    with pytest.raises(ValueError, match="needs a metric among"):
        clf.fit(rows, np.repeat(np.arange(10), 4))


def test_without_faiss_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "sk-fewshot\[faiss\]"'):
        PrototypicalClassifier("passthrough", index="faiss").fit(np.eye(3), range(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1), (1e8, 1), (0, 1e-30), (0, 1e17)])
@pytest.mark.parametrize("metric", METRICS)
def test_finds_as_much_where_data_are_shifted_or_scaled(metric, offset, scale, dtype, gallery):
    rows, queries, _ = gallery
    moved = [(part.astype(float) * scale + offset).astype(dtype) for part in (rows, queries)]
    exact = fitted(PrototypicalClassifier, moved[0], metric=metric).predict(moved[1])
    found = fitted(PrototypicalClassifier, moved[0], metric=metric, index="faiss").predict(moved[1])
    distinct = len(np.unique(moved[0], axis=0)) == N_CLASSES  # float32 at 1e8 has steps of 8
    assert (found == exact).mean() > 0.9 or not distinct


def test_float64_far_beyond_float32_is_scaled(gallery):
    rows, queries, classes = (part.astype(float) for part in gallery)
    clf = fitted(PrototypicalClassifier, rows * 1e36, index="faiss")
    assert (clf.predict(queries * 1e36) == classes).mean() > 0.95


def test_sizes_that_float32_cannot_hold_together_are_refused(gallery):
    rows = gallery[0].astype(float)
    rows[7] = 1e30
    clf = fitted(PrototypicalClassifier, rows, index="faiss")
    with pytest.raises(ValueError, match="index='faiss' compares in float32, which cannot hold"):
        clf.predict(rows[:1])


@pytest.mark.parametrize("factor", [10, 1e4])
def test_a_long_row_is_found_by_products(factor, gallery):
    rows, queries, _ = gallery
    rows = rows.copy()
    rows[0] *= factor
    exact = fitted(PrototypicalClassifier, rows, metric="dot").predict(queries)
    found = fitted(PrototypicalClassifier, rows, metric="dot", index="faiss").predict(queries)
    assert (exact == 0).mean() > 0.2
    assert (found[exact == 0] == 0).all()


def test_numbers_below_the_normal_ones_are_scaled(gallery):
    rows = (gallery[0] * 1e-41).astype(np.float32)
    clf = fitted(PrototypicalClassifier, rows, index="faiss", metric="euclidean")
    assert (clf.predict(rows[:50]) == np.arange(50)).mean() > 0.5  # few digits are left of them


def test_a_learned_comparator_is_refused_before_it_learns():
    clf = SiameseClassifier("passthrough", index="faiss")
    with pytest.raises(ValueError, match="got metric=a function or a learned comparator"):
        clf.fit(np.eye(6), np.repeat([0, 1, 2], 2))
