"""Labels keep their exact values, whatever types they come in."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import FunctionTransformer

from sk_fewshot import MatchingClassifier, PairClassifier, PrototypicalClassifier

BIG = 2**53
TWO = np.eye(2)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (np.array([BIG, BIG + 1]), np.array([BIG + 2, BIG + 3], dtype=np.uint64)),
        (np.array([BIG, BIG + 1], dtype=np.uint64), np.array([BIG + 2, -1])),
        (np.array([BIG, BIG + 1]), np.array([0.0, 1.0])),
        (np.array([BIG, BIG + 1]), pd.array([BIG + 2, BIG + 3], dtype="Int64")),
        (np.array([0, 1]), pd.Series([BIG + 2, BIG + 3], dtype="UInt64")),
        (np.array([0, 2**63], dtype=np.uint64), np.array([1, 2])),
        (np.array([BIG, BIG + 1], dtype=object), [BIG + 2, BIG + 3]),
    ],
)
@pytest.mark.parametrize("Classifier", [PrototypicalClassifier, MatchingClassifier])
def test_integers_beyond_2_to_the_53_stay_apart(Classifier, first, later):
    clf = Classifier("passthrough").fit(TWO, first).partial_fit(TWO + 7, later)
    expected = sorted({*map(int, first), *map(int, later)})
    assert [int(label) for label in clf.classes_] == expected
    assert clf.classes_.dtype.kind in "iu"
    assert [int(label) for label in clf.predict(TWO)] == [int(label) for label in first]


def test_what_no_type_holds_exactly_is_refused():
    later = np.array([-1, 2**63], dtype=object)
    clf = PrototypicalClassifier("passthrough").fit(TWO, [BIG, BIG + 1])
    with pytest.raises(ValueError, match=r"^y must"):
        clf.partial_fit(TWO, later)
    assert len(clf.classes_) == 2


@given(
    labels=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=6, unique=True),
    kind=st.sampled_from(["Int64", "int64", "object", "list"]),
)
def test_integers_are_fitted_exactly(labels, kind):
    y = {
        "Int64": lambda: pd.Series(labels, dtype="Int64"),
        "int64": lambda: np.array(labels),
        "object": lambda: np.array(labels, dtype=object),
        "list": lambda: labels,
    }[kind]()
    clf = PrototypicalClassifier("passthrough").fit(np.eye(len(labels)), y)
    assert [int(label) for label in clf.classes_] == sorted(labels)


def test_nullable_booleans_stay_booleans():
    y = pd.Series([True, False], dtype="boolean")
    clf = PrototypicalClassifier("passthrough").fit(TWO, y).partial_fit(TWO, y)
    assert clf.classes_.dtype == bool
    assert clf.predict(TWO).tolist() == [True, False]


def test__remove_class__takes_no_label_of_another_kind():
    clf = PrototypicalClassifier("passthrough").fit(TWO, [0, 1])
    with pytest.raises(ValueError, match="label must be one of the 2 classes enrolled, got True"):
        clf.remove_class(True)


def test_labels_of_another_kind_are_no_strangers():
    clf = PrototypicalClassifier("passthrough").fit(TWO, ["a", "b"])
    with pytest.raises(ValueError, match="labels of the kind enrolled before, strings"):
        clf.calibrate_rejection(TWO, [0, 1])


@pytest.mark.parametrize(("classes", "unknown"), [([-1, 0], -2), (["unknown", "x"], "unknown_")])
def test_the_default_unknown_label_is_no_class(classes, unknown):
    clf = PrototypicalClassifier("passthrough", reject_below=-0.1).fit(TWO, classes)
    assert clf.predict([*TWO, [9.0, 9.0]]).tolist() == [*classes, unknown]


def without_zeros(X):
    return X[X.any(axis=1)]


def test_an_encoder_that_leaves_rows_out_is_refused():
    encoder = FunctionTransformer(without_zeros)
    X = np.array([[1.0, 0], [0, 1], [0, 0]])
    clf = PrototypicalClassifier(encoder)
    with pytest.raises(ValueError, match="encoder returned 2 rows for 3 examples"):
        clf.fit(X, [0, 1, 2])
    clf.fit(X[:2], [0, 1])
    for method in (clf.predict, clf.predict_proba, clf.kneighbors, clf.score_samples):
        with pytest.raises(ValueError, match="encoder returned 2 rows for 3 examples"):
            method(X)
    pairs = np.stack([X + 1, X + 1], axis=1)
    pair_clf = PairClassifier(encoder).fit(
        np.stack([X + 1, X * [[1], [2], [1]] + 1], axis=1), [1, 0, 1]
    )
    pairs[0] = 0
    with pytest.raises(ValueError, match="encoder returned 4 rows for 6 examples"):
        pair_clf.predict(pairs)
