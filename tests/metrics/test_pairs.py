import pickle
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state

from sk_fewshot import PairClassifier
from sk_fewshot.datasets import ExamplePairs
from sk_fewshot.metrics import make_pairs


@st.composite
def labels(draw):
    n_classes = draw(st.integers(2, 5))
    y = draw(st.lists(st.integers(0, n_classes - 1), min_size=4, max_size=20))
    return np.array([0, 0, 1, *y])


def as_indices(X_pairs):
    """Pairs as tuples, of examples that hold their own row number."""
    return [tuple(pair) for pair in X_pairs[..., 0].tolist()]


def rows(n):
    return np.arange(n)[:, None]


def split(y):
    """All same and all different pairs, by looping."""
    pairs = list(combinations(range(len(y)), 2))
    same = {(i, j) for i, j in pairs if y[i] == y[j]}
    return same, set(pairs) - same


@given(labels())
def test_all_pairs_are_every_combination_in_order(y):
    X_pairs, y_pairs = make_pairs(rows(len(y)), y)
    expected = list(combinations(range(len(y)), 2))
    assert as_indices(X_pairs) == expected
    assert y_pairs.tolist() == [int(y[i] == y[j]) for i, j in expected]


@given(labels(), st.integers(0, 2**32 - 1), st.data())
def test_a_sample_is_balanced_and_without_replacement(y, seed, data):
    same, different = split(y)
    n_pairs = data.draw(st.integers(2, 2 * min(len(same), len(different))), label="n_pairs")
    X_pairs, y_pairs = make_pairs(rows(len(y)), y, n_pairs=n_pairs, random_state=seed)
    pairs = as_indices(X_pairs)
    assert len(set(pairs)) == n_pairs
    assert y_pairs.sum() == n_pairs // 2
    for pair, label in zip(pairs, y_pairs):
        assert pair in (same if label else different)


@given(labels())
def test_a_sample_can_exhaust_either_kind(y):
    same, different = split(y)
    n_pairs = 2 * min(len(same), len(different))
    X_pairs, y_pairs = make_pairs(rows(len(y)), y, n_pairs=n_pairs, random_state=0)
    drawn = {
        kind: {p for p, t in zip(as_indices(X_pairs), y_pairs) if t == kind} for kind in (0, 1)
    }
    assert drawn[1] == same or drawn[0] == different


def test_every_pair_of_a_kind_is_equally_likely():
    y = np.array([0, 1, 0, 2, 0, 1])  # 4 same and 11 different pairs
    counts = {}
    for seed in range(2000):
        X_pairs, _ = make_pairs(rows(6), y, n_pairs=2, random_state=seed)
        for pair in as_indices(X_pairs):
            counts[pair] = counts.get(pair, 0) + 1
    for kind in split(y):
        expected = 2000 / len(kind)
        deviation = np.array([counts.get(pair, 0) for pair in kind]) - expected
        assert np.abs(deviation).max() < 4.5 * np.sqrt(expected)  # binomial, about 4.5 sigma


def test_a_sample_comes_in_random_order():
    _, y_pairs = make_pairs(rows(100), np.arange(100) % 5, n_pairs=200, random_state=0)
    assert 80 < np.count_nonzero(np.diff(y_pairs)) < 120


def test_random_state_makes_samples_reproducible():
    y = np.arange(50) % 5
    first, _ = make_pairs(rows(50), y, n_pairs=20, random_state=3)
    again, _ = make_pairs(rows(50), y, n_pairs=20, random_state=3)
    other, _ = make_pairs(rows(50), y, n_pairs=20, random_state=np.random.RandomState(4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_int_random_state_leaves_the_global_generator_alone():
    generator = check_random_state(None)
    before = generator.get_state()[1].copy()
    make_pairs(rows(50), np.arange(50) % 5, n_pairs=20, random_state=3)
    np.testing.assert_array_equal(generator.get_state()[1], before)


def test_a_sample_of_a_large_set_needs_no_list_of_its_pairs():
    n = 1_000_000  # 5e11 pairs
    y = np.arange(n) % 10
    X_pairs, y_pairs = make_pairs(rows(n), y, n_pairs=2000, random_state=0)
    i, j = X_pairs[..., 0].T
    assert (i < j).all()
    np.testing.assert_array_equal(y[i] == y[j], y_pairs == 1)
    assert abs(X_pairs.mean() / n - 0.5) < 0.03  # from all over the set


@pytest.mark.parametrize("n_pairs", [None, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3), (2, 1, 2, 2)])
def test_the_shape_and_dtype_of_examples_are_kept(n_pairs, dtype, shape):
    X = np.random.default_rng(0).integers(0, 2, size=(6, *shape)).astype(dtype)
    X_pairs, y_pairs = make_pairs(X, [0, 0, 0, 1, 1, 1], n_pairs=n_pairs, random_state=0)
    assert X_pairs.shape == (15 if n_pairs is None else 4, 2, *shape)
    assert X_pairs.dtype == dtype
    assert y_pairs.dtype == np.int64


def test_labels_of_any_kind_and_data_frames_work():
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [3.0, 4.0, 5.0]})
    X_pairs, y_pairs = make_pairs(frame, pd.Series(["x", "y", "x"]))
    np.testing.assert_array_equal(X_pairs[1], [[0, 3], [2, 5]])
    assert y_pairs.tolist() == [0, 1, 0]


TEXTS = ["one", "two words", "three", "four"]


@pytest.mark.parametrize("n_pairs", [None, 2])
@pytest.mark.parametrize(
    "X",
    [
        TEXTS,
        np.array(TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="string"),
        [Path(text) for text in TEXTS],
        [{"text": text} for text in TEXTS],
    ],
    ids=["list", "array", "objects", "series", "string series", "paths", "dicts"],
)
def test_texts_and_other_objects_are_paired(X, n_pairs):
    X_pairs, y_pairs = make_pairs(X, [0, 0, 1, 1], n_pairs=n_pairs, random_state=0)
    assert X_pairs.shape == (n_pairs or 6, 2)
    examples = list(X)
    for (first, second), same in zip(np.asarray(X_pairs).tolist(), y_pairs):
        i, j = examples.index(first), examples.index(second)
        assert i < j
        assert same == (i // 2 == j // 2)


def test_pairs_of_text_are_compared():
    X = ["good", "very good", "great good", "bad", "very bad", "quite bad"]
    X_pairs, y_pairs = make_pairs(X, [0, 0, 0, 1, 1, 1])
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(2, random_state=0))
    clf = PairClassifier(FrozenEstimator(encoder.fit(X))).fit(X_pairs, y_pairs)
    assert clf.score(X_pairs, y_pairs) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": ["a", None, "b", "c"]}, "X must not have missing examples, got None at index 1"),
        ({"X": np.array([0.0, "a", 1, 2], object)}, "Expected 2D array"),
        ({"X": ["a"], "y": [0]}, "minimum of 2 is required"),
        ({"n_pairs": 6}, "3 same pairs, but y only makes 2"),
        ({"y": [0, 0, 0, 0], "n_pairs": 2}, "1 different pairs, but y only makes 0"),
        ({"y": [0, 1, 2, 3], "n_pairs": 2}, "1 same pairs, but y only makes 0"),
        ({"n_pairs": 1}, "'n_pairs' parameter"),
        ({"n_pairs": 2.0}, "'n_pairs' parameter"),
        ({"random_state": "seed"}, "'random_state' parameter"),
        ({"y": [0, 0, 1]}, "inconsistent numbers of samples"),
        ({"y": [0, 0, 1, np.nan]}, "Input y contains NaN"),
        ({"X": [[0.0], [1.0], [np.inf], [3.0]]}, "Input X contains infinity"),
        ({"X": [0.0, 1.0, 2.0, 3.0]}, "Expected 2D array"),
        ({"X": [[0.0]], "y": [0]}, "minimum of 2 is required"),
    ],
)
def test_bad_input_says_what_is_wrong(arguments, message):
    good = {"X": [[0.0], [1.0], [2.0], [3.0]], "y": [0, 0, 1, 1]}
    with pytest.raises(ValueError, match=message):
        make_pairs(**(good | arguments))


# Pairs that share the memory of their examples

X_IMAGES = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
Y_IMAGES = np.arange(7) % 3
ALL, SAME = make_pairs(X_IMAGES, Y_IMAGES)
ARRAY = np.stack([X_IMAGES[list(pair)] for pair in combinations(range(7), 2)])


@pytest.mark.parametrize(
    "key",
    [
        np.s_[:4],
        np.s_[::-2],
        np.s_[np.array([3, 1, 3])],
        np.s_[[0, 2]],
        np.s_[np.arange(21) % 2 == 0],
        np.s_[np.array([5, 4]), ...],
        np.s_[:0],
    ],
)
def test_selected_pairs_share_their_examples(key):
    selected = ALL[key]
    assert isinstance(selected, ExamplePairs)
    assert selected.examples is ALL.examples
    assert selected.shape == ARRAY[key].shape
    np.testing.assert_array_equal(selected, ARRAY[key])


@pytest.mark.parametrize(
    "key",
    [0, -1, np.int64(3), np.s_[2, 1], np.s_[3, :, 0], np.s_[:, 0], np.s_[..., 0], np.s_[[1, 2], 1]],
)
def test_other_indices_make_an_array(key):
    assert isinstance(ALL[key], np.ndarray)
    np.testing.assert_array_equal(ALL[key], ARRAY[key])


def test_all_pairs_stand_for_an_array():
    assert (ALL.shape, ALL.ndim, ALL.dtype, len(ALL)) == (ARRAY.shape, 4, np.float32, 21)
    np.testing.assert_array_equal(np.stack(list(ALL)), ARRAY)
    np.testing.assert_array_equal(np.asarray(ALL, dtype=float), ARRAY)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ALL)), ARRAY)
    np.testing.assert_array_equal(ALL.astype("f8"), ARRAY)
    assert ALL.astype("f8").dtype == np.float64
    with pytest.raises(IndexError):
        ALL[21]


def test_scikit_learn_splits_and_searches_copy_no_example():
    fitted, unseen, same_fitted, _ = train_test_split(ALL, SAME, random_state=0)
    assert fitted.examples is unseen.examples is ALL.examples
    assert len(fitted) == len(same_fitted) == 15
    clf = PairClassifier("passthrough")
    assert_scores = [cross_val_score(clf, X, SAME, cv=2) for X in (ALL, ARRAY)]
    np.testing.assert_array_equal(*assert_scores)


def test_all_pairs_take_the_memory_of_their_numbers():
    X, y = np.zeros((1500, 128), np.float32), np.arange(1500) % 10  # 1.1 million pairs: 1.1 GB
    tracemalloc.start()
    pairs, same = make_pairs(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.shape == (1_124_250, 2, 128)
    assert same.sum() == 10 * 150 * 149 // 2
    assert peak < 60e6
