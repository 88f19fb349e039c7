"""Episodes: EpisodeSplit and ClassBalancedSampler."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestCentroid

from sk_fewshot.episodes import ClassBalancedSampler, EpisodeSplit

SETTINGS = settings(max_examples=60)


@st.composite
def labelled_sets(draw):
    """Labels in any order, and episodes that they are enough for."""
    n_shot, n_query = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(n_shot + n_query, 12), min_size=1, max_size=9))
    n_way = draw(st.integers(1, len(counts)))
    labels = draw(st.sampled_from([np.array(list("abcdefghi")), np.arange(9) * 7 - 20]))
    y = np.repeat(labels[: len(counts)], counts)
    seed = draw(st.integers(0, 2**31 - 1))
    return np.random.default_rng(seed).permutation(y), n_way, n_shot, n_query, seed


@SETTINGS
@given(labelled_sets())
def test__split__draws_distinct_classes_and_examples(case):
    y, n_way, n_shot, n_query, seed = case
    split = EpisodeSplit(n_way, n_shot, n_query, n_episodes=7, random_state=seed)
    episodes = list(split.split(np.zeros((len(y), 1)), y))
    assert len(episodes) == split.get_n_splits() == 7
    for support, query in episodes:
        rows = np.concatenate([support, query])
        assert len(set(rows)) == len(rows)
        classes, shots = np.unique(y[support], return_counts=True)
        assert shots.tolist() == [n_shot] * n_way
        np.testing.assert_array_equal(np.unique(y[query]), classes)
        assert np.unique(y[query], return_counts=True)[1].tolist() == [n_query] * n_way


@SETTINGS
@given(labelled_sets(), st.integers(1, 300), st.integers(1, 300))
def test__split__longer_run_begins_with_the_shorter(case, n_few, n_more):
    y, n_way, n_shot, n_query, seed = case
    few, more = (
        list(EpisodeSplit(n_way, n_shot, n_query, n, seed).split(y, y)) for n in (n_few, n_more)
    )
    for one, other in zip(few, more, strict=False):
        np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other))


@SETTINGS
@given(labelled_sets())
def test__chunks__are_the_episodes_of_split(case):
    y, n_way, n_shot, n_query, seed = case
    split = EpisodeSplit(n_way, n_shot, n_query, 300, seed)
    episodes = np.concatenate(list(split.chunks(y, y)))
    for episode, (support, query) in zip(episodes, split.split(y, y), strict=True):
        np.testing.assert_array_equal(episode[:, :n_shot].ravel(), support)
        np.testing.assert_array_equal(episode[:, n_shot:].ravel(), query)


def test__split__without_seed_differs_and_leaves_the_global_generator():
    y = np.repeat(np.arange(20), 20)
    state = np.random.get_state()[1].copy()
    first, second = (next(EpisodeSplit(random_state=0).split(y, y))[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    first, second = (next(EpisodeSplit().split(y, y))[1] for _ in range(2))
    assert (first != second).any()


def test__sample__is_uniform_over_classes_examples_and_places():
    counts = np.array([3, 4, 8, 5])
    y = np.repeat(np.arange(4), counts)
    batches = ClassBalancedSampler(y, n_way=2, n_per_class=3).sample(
        24_000, np.random.default_rng(0)
    )
    first, second = y[batches[:, 0, 0]], y[batches[:, 1, 0]]
    pairs = np.bincount(4 * first + second, minlength=16).reshape(4, 4)
    assert (pairs.diagonal() == 0).all()
    assert chisquare(pairs[~np.eye(4, dtype=bool)]).pvalue > 1e-3
    for place in range(3):
        drawn = np.bincount(batches[:, :, place].ravel(), minlength=len(y))
        for c in range(4):
            assert chisquare(drawn[y == c]).pvalue > 1e-3


def test__sample__every_ordered_pair_of_a_class_is_equally_likely():
    batches = ClassBalancedSampler(np.zeros(5, int), 1, 2).sample(20_000, np.random.default_rng(1))
    pairs = np.bincount(5 * batches[:, 0, 0] + batches[:, 0, 1], minlength=25).reshape(5, 5)
    assert chisquare(pairs[~np.eye(5, dtype=bool)]).pvalue > 1e-3


def test__split__is_a_scikit_learn_splitter():
    split = EpisodeSplit(n_way=3, n_shot=2, n_query=4, n_episodes=5, random_state=0)
    rng = np.random.default_rng(0)
    y = np.repeat(["x", "y", "z"], 10)
    X = rng.normal(size=(30, 2)) + 9 * np.unique(y, return_inverse=True)[1][:, None]
    assert cross_val_score(NearestCentroid(), X, y, cv=split).tolist() == [1.0] * 5
    assert "n_way=3" in repr(split)


def test__split__leaves_out_small_classes_and_says_how_many():
    sizes = np.array([8, 6, 3, 1, 9])
    y = np.random.default_rng(0).permutation(np.repeat(list("abcde"), sizes))
    split = EpisodeSplit(
        n_way=2, n_shot=1, n_query=4, n_episodes=300, random_state=0, min_examples=5
    )
    with pytest.warns(UserWarning, match="min_examples=5 leaves out 2 of 5 classes, with 4 of 27"):
        episodes = list(split.split(y, y))
    rows = np.concatenate([np.concatenate(episode) for episode in episodes])
    assert set(y[rows]) == {"a", "b", "e"}
    assert set(rows) == set(np.flatnonzero(np.isin(y, ["a", "b", "e"])))
    large = np.flatnonzero(np.isin(y, ["a", "b", "e"]))
    alone = EpisodeSplit(n_way=2, n_shot=1, n_query=4, n_episodes=300, random_state=0)
    for (support, query), (support_alone, query_alone) in zip(
        episodes, alone.split(large, y[large]), strict=True
    ):
        np.testing.assert_array_equal(support, large[support_alone])
        np.testing.assert_array_equal(query, large[query_alone])


def test__split__with_large_classes_alone_leaves_none_out_and_does_not_warn():
    y = np.repeat(np.arange(4), 6)
    kinds = {"n_way": 2, "n_query": 5, "n_episodes": 3, "random_state": 0}
    for a, b in zip(
        EpisodeSplit(**kinds, min_examples=6).split(y, y), EpisodeSplit(**kinds).split(y, y)
    ):
        np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))


@pytest.mark.parametrize(
    ("min_examples", "message"),
    [
        (5, "n_way=2 must not be greater than the number of classes in y, which is 1"),
        (100, "n_way=2 must not be greater than the number of classes in y, which is 0"),
        (3, "needs at least 5 examples.*class 1 has n_samples=3"),
    ],
)
@pytest.mark.filterwarnings("ignore:min_examples")
def test__split__of_too_few_large_classes_says_so(min_examples, message):
    y = np.repeat([0, 1, 2], [8, 3, 2])
    with pytest.raises(ValueError, match=message):
        next(EpisodeSplit(n_way=2, n_query=4, min_examples=min_examples).split(y, y))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_examples": 0}, "The 'min_examples' parameter of EpisodeSplit must be an int"),
        ({"min_examples": 2.5}, "The 'min_examples' parameter of EpisodeSplit must be an int"),
        ({"n_way": 4}, "n_way=4 must not be greater than the number of classes"),
        ({"n_way": 2, "n_query": 5}, "needs at least 6 examples.*class 2 has n_samples=4"),
        ({"n_way": 0}, "The 'n_way' parameter of EpisodeSplit must be an int"),
        ({"n_shot": 1.5}, "The 'n_shot' parameter of EpisodeSplit must be an int"),
        ({"n_episodes": -1}, "The 'n_episodes' parameter of EpisodeSplit must be an int"),
    ],
)
def test__split__says_what_is_wrong(params, message):
    y = np.array([0] * 8 + [1] * 6 + [2] * 4)
    with pytest.raises(ValueError, match=message):
        next(EpisodeSplit(**{"n_way": 2, "n_query": 3, **params}).split(y, y))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y must be given"),
        (np.zeros(4), "inconsistent numbers of samples"),
        (np.linspace(0, 1, 9), "Unknown label type"),
    ],
)
def test__split__refuses_targets(y, message):
    with pytest.raises(ValueError, match=message):
        next(EpisodeSplit(n_way=1, n_query=1).split(np.zeros((9, 1)), y))
