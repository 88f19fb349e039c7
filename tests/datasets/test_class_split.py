"""Training and test classes never meet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot.datasets import ClassSplit

LABELS = st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=30).filter(
    lambda y: len(set(y)) > 1
)


@given(labels=LABELS, seed=st.integers(0, 99), share=st.floats(0.01, 0.99))
def test_classes_are_disjoint_and_every_sample_is_used(labels, seed, share):
    y = np.array(labels)
    n_classes = len(set(labels))
    n_test = int(np.ceil(share * n_classes))
    cv = ClassSplit(3, test_size=share, random_state=seed)
    if n_test == n_classes:
        with pytest.raises(ValueError, match=f"takes {n_test} of the {n_classes} classes"):
            next(cv.split(y, y))
        return
    splits = list(cv.split(y, y))
    assert len(splits) == cv.get_n_splits() == 3
    for train, test in splits:
        assert not set(y[train]) & set(y[test])
        assert len(set(y[test])) == n_test
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))


@given(labels=LABELS, seed=st.integers(0, 99))
def test_same_as_groups(labels, seed):
    y = np.array(labels)
    ours = ClassSplit(4, test_size=1, random_state=seed).split(y, y)
    theirs = GroupShuffleSplit(4, test_size=1, random_state=seed).split(y, groups=y)
    for (train, test), (train_groups, test_groups) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(train, train_groups)
        np.testing.assert_array_equal(test, test_groups)


def test_repeatable_and_different_from_split_to_split():
    y = np.repeat(np.arange(40), 2)
    cv = ClassSplit(5, random_state=0)
    first = [tuple(test) for _, test in cv.split(y, y)]
    assert [tuple(test) for _, test in clone(cv, safe=False).split(y, y)] == first
    assert len(set(first)) == 5
    assert [len(test) for test in first] == [16] * 5
    assert repr(cv) == "ClassSplit(n_splits=5, random_state=0, test_size=0.2)"


def test_grid_search_of_an_unsupervised_score():
    def spread(estimator, X, y):
        scaled = estimator[0].transform(X)
        assert len(set(y)) == 2
        return -NearestNeighbors(n_neighbors=1).fit(scaled).kneighbors()[0].mean()

    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.repeat(list("abcdefgh"), 5)
    cv = ClassSplit(3, test_size=2, random_state=0)
    pipeline = make_pipeline(StandardScaler())
    search = GridSearchCV(
        pipeline, {"standardscaler__with_mean": [True, False]}, cv=cv, scoring=spread
    )
    assert search.fit(X, y).n_splits_ == 3
    assert cross_val_score(pipeline, X, y, cv=cv, scoring=spread).shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "y", "message"),
    [
        ({"test_size": 0}, [0, 1], "'test_size' parameter of ClassSplit .* Got 0"),
        ({"test_size": 1.5}, [0, 1], "'test_size' parameter of ClassSplit .* Got 1.5"),
        ({"n_splits": 0}, [0, 1], "'n_splits' parameter of ClassSplit .* Got 0"),
        ({"random_state": "a"}, [0, 1], "'random_state' parameter of ClassSplit .* Got 'a'"),
        ({"test_size": 2}, [0, 1], "test_size=2 takes 2 of the 2 classes"),
        ({}, [1, 1], "test_size=0.2 takes 1 of the 1 classes"),
        ({}, [0.5, 0.25], "continuous"),
        ({}, None, "y must be given: it holds the classes"),
        ({}, [0, 1, 2], "inconsistent numbers of samples"),
    ],
)
def test_bad_argument(arguments, y, message):
    with pytest.raises(ValueError, match=message):
        next(ClassSplit(**arguments).split([[0], [1]], y))
