"""The caller's keys of enrolled examples, and taking examples back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
    load,
    save,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5))
Y = np.repeat(list("abcdef"), 4)
KEYS = np.array([f"photo {i}" for i in RNG.permutation(24)])
QUERIES = RNG.normal(size=(9, 5))


@pytest.fixture(params=[MatchingClassifier, SiameseClassifier], ids=lambda c: c.__name__)
def clf(request):
    return request.param("passthrough", metric="euclidean")


def assert_same(clf, other):
    for name in ("classes_", "support_embeddings_", "support_codes_"):
        assert_array_equal(getattr(clf, name), getattr(other, name))
    assert_array_equal(clf.predict_proba(QUERIES), other.predict_proba(QUERIES))


def test_by_default_they_are_the_rows_of_fit(clf):
    order = RNG.permutation(24)
    clf.fit(X[order], Y[order])
    knn = KNeighborsClassifier().fit(X[order], Y[order])
    assert_array_equal(
        clf.kneighbors(QUERIES, 4, return_distance=False),
        knn.kneighbors(QUERIES, 4, return_distance=False),
    )
    assert_array_equal(np.sort(clf.support_ids_), np.arange(24))
    assert_array_equal(X[order][clf.support_ids_], clf.support_embeddings_)


def test_rows_of_partial_fit_follow(clf):
    clf.fit(X[:10], Y[:10]).partial_fit(X[10:12], Y[10:12]).partial_fit(X[12:], Y[12:])
    assert_array_equal(clf.kneighbors(X, 1, return_distance=False)[:, 0], np.arange(24))


def test_keys_of_ones_own(clf):
    clf.fit(X[:10], Y[:10], ids=KEYS[:10]).partial_fit(X[10:], Y[10:], ids=KEYS[10:])
    assert_array_equal(clf.kneighbors(X, 1, return_distance=False)[:, 0], KEYS)


@given(
    removed=st.sets(st.integers(0, 23), min_size=1, max_size=20),
    named=st.booleans(),
    n_first=st.integers(1, 24),
)
def test__remove__leaves_what_one_fit_on_the_rest_gives(removed, named, n_first):
    clf = MatchingClassifier("passthrough")
    ids = KEYS if named else np.arange(24)
    clf.fit(X[:n_first], Y[:n_first], ids=ids[:n_first])
    if n_first < 24:
        clf.partial_fit(X[n_first:], Y[n_first:], ids=ids[n_first:])
    taken = np.array(sorted(removed))
    kept = np.delete(np.arange(24), taken)
    clf.remove(ids[taken])
    assert_same(clf, MatchingClassifier("passthrough").fit(X[kept], Y[kept]))
    assert_array_equal(clf.kneighbors(X[kept], 1, return_distance=False)[:, 0], ids[kept])


def test__remove__and_enrol_moves_an_example(clf):
    clf.fit(X, Y).remove([3]).partial_fit(X[3:4], ["f"], ids=[3])
    labels = Y.copy()
    labels[3] = "f"
    assert_same(clf, type(clf)("passthrough", metric="euclidean").fit(X, labels))
    assert clf.kneighbors(X[3:4], 1, return_distance=False) == [[3]]


def test_numbers_of_removed_examples_are_not_given_again(clf):
    clf.fit(X[:3], Y[:3]).remove([2]).partial_fit(X[3:4], Y[3:4])
    assert sorted(clf.support_ids_) == [0, 1, 3]


def test__remove__of_the_last_example_forgets_its_class(clf):
    clf.fit(X[3:6], Y[3:6]).remove([0])
    assert_array_equal(clf.classes_, ["b"])
    with pytest.raises(ValueError, match="cannot be without any"):
        clf.remove([1, 2])
    assert_array_equal(clf.support_ids_.size, 2)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([99], r"ids must be among those enrolled, got \[99\]"),
        (["3"], "ids must be among those enrolled"),
        ([1, 1], "ids must be unique, got .*1.* more than once"),
        ([0.5], "ids must be integers or strings"),
    ],
)
def test__remove__of_others_is_refused(clf, ids, message):
    clf.fit(X, Y)
    with pytest.raises(ValueError, match=message):
        clf.remove(ids)
    assert len(clf.support_ids_) == 24


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(3), "one key per example, 24 in all, got 3"),
        (np.zeros(24, int), "ids must be unique"),
        (np.arange(24) / 2, "ids must be integers or strings"),
        ([None] * 24, "ids must be integers or strings"),
    ],
)
def test__fit__refuses_keys_that_are_none(clf, ids, message):
    with pytest.raises(ValueError, match=message):
        clf.fit(X, Y, ids=ids)
    assert not hasattr(clf, "classes_")


def test__partial_fit__refuses_keys_that_are_taken_or_of_another_kind(clf):
    clf.fit(X[:12], Y[:12], ids=KEYS[:12])
    for ids, message in (
        (KEYS[:12], "is enrolled already"),
        (np.arange(12), "ids must be of the kind enrolled before"),
        (None, "ids must be given"),
    ):
        with pytest.raises(ValueError, match=message):
            clf.partial_fit(X[12:], Y[12:], ids=ids)
    assert len(clf.support_ids_) == 12


def test_large_keys_stay_exact(clf):
    big = 2**60
    clf.fit(X[:3], Y[:3], ids=np.array([big + 1, big + 2, big + 3], np.uint64))
    clf.partial_fit(X[3:4], ["z"], ids=[7]).partial_fit(X[4:5], ["y"])
    expected = [big + 1, big + 2, big + 3, 7, big + 4]
    assert clf.kneighbors(X[:5], 1, return_distance=False)[:, 0].tolist() == expected
    clf.remove([big + 1])
    assert sorted(clf.support_ids_) == sorted(expected[1:])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([2**63, 1, 2], r"ids must be integers up to 9223372036854775807, got 9223372036854775808"),
        (["a", 1, 2], "ids must be integers or strings, all of one kind"),
        (np.array(["a\0", "b", "c"], object), "do not end in"),
        ([True, False, True], "ids must be integers or strings"),
    ],
)
def test_keys_that_would_change_are_refused(clf, ids, message):
    with pytest.raises(ValueError, match=message):
        clf.fit(X[:3], Y[:3], ids=ids)


def test_numbers_end_where_int64_does(clf):
    clf.fit(X[:2], Y[:2], ids=[2**63 - 1, 0])
    with pytest.raises(ValueError, match="ids must be given, as the numbers that follow"):
        clf.partial_fit(X[2:4], Y[2:4])


def test__remove__takes_one_key_and_not_none(clf):
    clf.fit(X, Y).remove(0)
    assert 0 not in clf.support_ids_
    with pytest.raises(ValueError, match="ids must hold one key or more"):
        clf.remove([])


def test_prototypes_take_back_classes_only():
    clf = PrototypicalClassifier("passthrough").fit(X, Y)
    with pytest.raises(TypeError, match="prototypes are means"):
        clf.remove([3])
    with pytest.raises(TypeError, match="prototypes are means"):
        clf.partial_fit(X, Y, ids=KEYS)


def test_relation_takes_examples_back():
    y = np.repeat([0, 1, 2], 8)
    clf = RelationClassifier("passthrough", random_state=0).fit(X, y)
    before = clf.predict_proba(QUERIES)
    clf.partial_fit(X[:2] + 1, [2, 2], ids=[100, 101])
    assert not np.array_equal(clf.predict_proba(QUERIES), before)
    assert_array_equal(clf.remove([100, 101]).predict_proba(QUERIES), before)


def test_they_survive_a_file(clf, tmp_path):
    clf.fit(X, Y, ids=KEYS).remove(KEYS[:2])
    save(clf, tmp_path / "gallery")
    loaded = load(tmp_path / "gallery").partial_fit(X[:1], Y[:1], ids=KEYS[:1])
    assert_array_equal(loaded.kneighbors(X[2:], 1, return_distance=False)[:, 0], KEYS[2:])


def test_they_go_through_a_pipeline(clf):
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), clf.set_fit_request(ids=True))
        pipeline.fit(X, Y, ids=KEYS)
    scaled = pipeline[0].transform(X)
    assert_array_equal(clf.kneighbors(scaled, 1, return_distance=False)[:, 0], KEYS)
    plain = make_pipeline(StandardScaler(), type(clf)("passthrough"))
    step = plain.steps[1][0]
    plain.fit(X, Y, **{f"{step}__ids": KEYS})
    assert_array_equal(plain[1].kneighbors(scaled, 1, return_distance=False)[:, 0], KEYS)
