"""Enrolment and removal: equal to one fit on what remains, and all or nothing."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator

from sk_fewshot import (
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    load,
    save,
)
from sk_fewshot.gallery._growth import updated_rows

D = 5
RNG = np.random.default_rng(0)
BASE_Y = np.repeat(np.arange(8), 6)
BASE_X = (RNG.normal(size=(8, D))[BASE_Y] * 3 + RNG.normal(size=(48, D))).astype(np.float32)
QUERIES = RNG.normal(size=(20, D)).astype(np.float32)
BRIEF = {"max_epochs": 1, "batches_per_epoch": 5, "random_state": 0}

CLASSIFIERS = {
    "prototypical": PrototypicalClassifier("passthrough"),
    "matching": MatchingClassifier("passthrough"),
    "matching, full context": MatchingClassifier(MatchingTransformer(full_context=True, **BRIEF)),
    "relation": RelationClassifier(RelationTransformer(**BRIEF)),
    "siamese": SiameseClassifier("passthrough", metric="euclidean"),
    "siamese, bce": SiameseClassifier(SiameseTransformer(loss="bce", **BRIEF)),
}
for classifier in CLASSIFIERS.values():
    if classifier.encoder != "passthrough":
        classifier.meta_fit(BASE_X, BASE_Y)


@pytest.fixture(params=CLASSIFIERS)
def clf(request):
    """A classifier that has learned to compare and met no class yet."""
    return clone(CLASSIFIERS[request.param])


def assert_same(clf, expected):
    """Bitwise the same answers and fitted arrays."""
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        assert_array_equal(getattr(clf, method)(QUERIES), getattr(expected, method)(QUERIES))
    assert vars(clf).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        if isinstance(value, np.ndarray):
            assert_array_equal(getattr(clf, name), value)


def snapshot(clf):
    """What a classifier holds, and what it answers, as a copy."""
    return pickle.loads(pickle.dumps(clf))


@st.composite
def changes(draw):
    """A first support set, then enrolments (rows, labels) and removals (a label) that may follow.

    Ends with the rows that are enrolled at last, in the order in which they came.
    """
    labels = st.lists(st.integers(0, 5), min_size=1, max_size=6)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps, held = [], []
    for number in range(draw(st.integers(1, 5))):
        present = sorted({label for _, label in held})
        if number and len(present) > 1 and draw(st.booleans()):
            removed = draw(st.sampled_from(present))
            held = [(row, label) for row, label in held if label != removed]
            steps.append(removed)
        else:
            y = np.array(draw(labels))
            rows = rng.normal(size=(len(y), D)).astype(np.float32)
            held += zip(rows, y, strict=True)
            steps.append((rows, y))
    X, y = (np.array(part) for part in zip(*held, strict=True))
    return steps, X, y


@pytest.mark.parametrize("name", CLASSIFIERS)
@given(history=changes(), as_text=st.booleans())
@settings(max_examples=25)
def test_any_history_equals_one_fit_on_the_final_data(name, history, as_text):
    steps, X, y = history
    names = np.array(["e", "a", "dd", "long name", "b", "c"]) if as_text else np.arange(6) - 3
    clf = clone(CLASSIFIERS[name])
    for step in steps:
        if isinstance(step, tuple):
            clf.partial_fit(step[0], names[step[1]])
        else:
            assert clf.remove_class(names[step]) is clf
    assert_same(clf, clone(CLASSIFIERS[name]).fit(X, names[y]))


def test_a_class_removed_and_enrolled_again_is_as_it_was(clf):
    clf.fit(BASE_X, BASE_Y)
    expected = snapshot(clf)
    for label in (0, 3, 7):
        clf.remove_class(label)
        assert label not in clf.predict(BASE_X)
        clf.partial_fit(BASE_X[label == BASE_Y], BASE_Y[label == BASE_Y])
        assert_same(clf, expected)


def test_a_class_enrolled_twice_equals_one_fit_on_all_rows(clf):
    one = clone(clf).fit(np.concatenate([BASE_X, BASE_X[:6]]), np.concatenate([BASE_Y, BASE_Y[:6]]))
    assert_same(clf.fit(BASE_X, BASE_Y).partial_fit(BASE_X[:6], BASE_Y[:6]), one)


@pytest.mark.parametrize("label", [8, "0", None, [0], np.arange(2), float("nan"), ""])
def test_removing_what_is_not_enrolled_is_refused(clf, label):
    clf.fit(BASE_X, BASE_Y)
    before = snapshot(clf)
    with pytest.raises(ValueError, match="label must be one of the 8 classes enrolled, got"):
        clf.remove_class(label)
    assert_same(clf, before)


def test_the_last_class_cannot_be_removed(clf):
    clf.fit(BASE_X, BASE_Y)
    for label in range(7):
        clf.remove_class(label)
    assert_array_equal(clf.predict(QUERIES), [7] * len(QUERIES))
    before = snapshot(clf)
    with pytest.raises(ValueError, match="label=7 is the only class enrolled"):
        clf.remove_class(7)
    assert_same(clf, before)


def test_an_unfitted_classifier_has_nothing_to_remove(clf):
    with pytest.raises(ValueError, match="not fitted"):
        clf.remove_class(0)


class Failing(TransformerMixin, BaseEstimator):
    """An encoder that can be told to fail."""

    def __init__(self):
        self.error = None
        self.returns = None

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        if self.error is not None:
            raise self.error
        return np.asarray(X) if self.returns is None else self.returns


@pytest.mark.parametrize("classifier", [PrototypicalClassifier, MatchingClassifier])
@pytest.mark.parametrize(
    ("error", "returns"),
    [
        (RuntimeError("out of memory"), None),
        (KeyboardInterrupt(), None),
        (None, np.full((6, D), np.nan)),
        (None, np.zeros((6, D - 1), np.float32)),
        (None, np.zeros((5, D), np.float32)),
        (None, np.zeros(6)),
        (None, "text"),
    ],
    ids=str,
)
def test_an_encoder_that_fails_leaves_the_classifier_as_it_was(classifier, error, returns):
    clf = classifier(FrozenEstimator(Failing().fit(BASE_X))).fit(BASE_X, BASE_Y)
    failing = clf.encoder.estimator
    before, answers = vars(clf).copy(), clf.predict_proba(QUERIES)
    failing.error, failing.returns = error, returns
    narrower = returns is not None and np.shape(returns)[1:] == (D - 1,)  # a fit may be
    for call in (clf.partial_fit, *(() if narrower else (clf.fit,))):
        with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
            call(BASE_X[:6], [0, 1, 2, 99, 100, 100])
    failing.error = failing.returns = None
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[name] is value for name, value in before.items())
    assert_array_equal(clf.predict_proba(QUERIES), answers)
    clf.partial_fit(BASE_X[:6], [0, 1, 2, 99, 100, 100])
    y = np.concatenate([BASE_Y, [0, 1, 2, 99, 100, 100]])
    assert_same(clf, clone(clf).fit(np.concatenate([BASE_X, BASE_X[:6]]), y))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (BASE_X[:3, :2], [0, 1, 9], "features"),
        (BASE_X[:3], [0, 1], "inconsistent numbers of samples"),
        (BASE_X[:3] * np.nan, [0, 1, 9], "NaN"),
        (np.full((3, D), np.inf), [0, 1, 9], "infinity"),
        (BASE_X[:3], [0, np.nan, 1], "NaN"),
        (BASE_X[:3], None, "requires y"),
        (BASE_X[:3], [[0], [1], [2, 3]], "inhomogeneous"),
        (BASE_X[:3], ["a", "b", "c"], "numbers such as .*0.*, got strings such as .*'a'"),
        (BASE_X[:3], [True, False, True], "numbers such as .*0.*, got booleans such as .*False"),
        (BASE_X[:3], [0.5, 1.5, 2.5], "Unknown label type"),
        (BASE_X[:0], [], "minimum of 1 is required"),
    ],
)
def test_refused_rows_leave_the_classifier_as_it_was(clf, X, y, message):
    clf.fit(BASE_X, BASE_Y)
    before = snapshot(clf)
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, y)
    assert_same(clf, before)


@pytest.mark.parametrize("n_classes", [2, 40])
def test_arrays_and_shallow_copies_are_not_changed_by_enrolment(clf, n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_classes + 3, D)).astype(np.float32)
    y = np.arange(n_classes + 3)
    clf.fit(X[:n_classes], y[:n_classes]).partial_fit(X[n_classes:][:1], [n_classes])
    arrays = {k: (v, v.copy()) for k, v in vars(clf).items() if isinstance(v, np.ndarray)}
    first, second = copy.copy(clf), copy.copy(clf)
    first.partial_fit(X[-2:-1], y[-2:-1])
    second.partial_fit(X[-1:], y[-1:])
    first.partial_fit(X[-1:], y[-1:])
    assert_same(first, clone(clf).fit(X, y))
    kept = np.delete(np.arange(len(y)), -2)
    assert_same(second, clone(clf).fit(X[kept], y[kept]))
    for name, (array, before) in arrays.items():
        assert vars(clf)[name] is array
        assert_array_equal(array, before)


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=12), n=st.integers(1, 30))
def test_rows_at_the_end_are_seldom_copied(sizes, n):
    rows = np.arange(n * 2.0).reshape(n, 2)
    expected, n_copies = rows.tolist(), 0
    for size in sizes:
        values = np.full((size, 2), float(size))
        at = np.arange(len(rows), len(rows) + size)
        grown = updated_rows(rows, at, values, np.zeros(size, bool))
        n_copies += not np.shares_memory(grown, rows)
        rows = grown
        expected += values.tolist()
        assert rows.tolist() == expected
    assert n_copies <= len(sizes)
    many = np.zeros((1000, 2))
    for i in range(1000, 1100):
        grown = updated_rows(many, np.array([i]), np.ones((1, 2)), np.zeros(1, bool))
        assert i == 1000 or np.shares_memory(grown, many)
        many = grown


def test_room_for_more_rows_is_not_saved(tmp_path):
    rows = np.random.default_rng(0).normal(size=(1000, D)).astype(np.float32)
    clf = PrototypicalClassifier("passthrough").fit(rows[:999], np.arange(999))
    clf.partial_fit(rows[999:], [999])
    one = clone(clf).fit(rows, np.arange(1000))
    for name, estimator in (("grown", clf), ("one", one)):
        save(estimator, tmp_path / name)
    assert (tmp_path / "grown").read_bytes() == (tmp_path / "one").read_bytes()
    assert len(pickle.dumps(clf)) == len(pickle.dumps(one))
    loaded = load(tmp_path / "grown").partial_fit(rows[:1], [2000]).partial_fit(rows[:1], [2001])
    assert_same(loaded, copy.deepcopy(clf).partial_fit(rows[[0, 0]], [2000, 2001]))


@pytest.mark.parametrize(
    "clf",
    [
        MatchingClassifier("passthrough", metric="euclidean"),
        SiameseClassifier("passthrough", metric="euclidean"),
        SiameseClassifier("passthrough", metric="manhattan", temperature=0.7),
    ],
    ids=str,
)
def test_a_large_support_set_is_scored_as_a_small_one(clf):
    rng = np.random.default_rng(0)
    y = np.sort(rng.integers(300, size=2500))
    X = (rng.normal(size=(300, D))[y] + 0.5 * rng.normal(size=(2500, D))).astype(np.float32)
    clf.fit(X, y)
    state = map(torch.tensor, (clf.support_embeddings_, clf.support_codes_))
    expected = clf.head_.score(torch.tensor(QUERIES), tuple(state)).detach()
    scores = clf.decision_function(QUERIES)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert_array_equal(clf.predict(QUERIES), clf.classes_[scores.argmax(axis=1)])
    assert_array_equal(clf.decision_function(QUERIES[:3]), scores[:3])
    probabilities = clf.predict_proba(QUERIES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    if isinstance(clf, MatchingClassifier):
        np.testing.assert_allclose(np.log(probabilities), scores, rtol=1e-4, atol=1e-4)


LARGE_SUPPORT = """
import resource
import numpy as np
import torch
from sk_fewshot import MatchingClassifier, SiameseClassifier

torch.set_num_threads(1)
rng = np.random.default_rng(0)
X = rng.normal(size=(20_000, 16)).astype(np.float32)
y = rng.integers(2_000, size=len(X))
queries = rng.normal(size=(2_000, 16)).astype(np.float32)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


for clf in MatchingClassifier("passthrough"), SiameseClassifier("passthrough", metric="manhattan"):
    clf.set_params(reject_below=-1.0).fit(X[:1200], y[:1200]).predict(queries[:100])
    clf.fit(X, y)
    before = peak()
    clf.predict(queries)
    print(peak() - before)
"""


def test_predict_over_a_large_support_set_takes_little_memory():
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", LARGE_SUPPORT],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    all_pairs = 20_000 * 2_000 * 4 / 2**20  # of queries, or classes, and examples: 153 MB
    for grown in map(float, done.stdout.split()):
        assert grown < all_pairs / 4
