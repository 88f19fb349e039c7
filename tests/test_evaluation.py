"""episode_score, against cross-validation over the same episodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy import stats
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    EpisodeScores,
    EpisodeSplit,
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    episode_score,
)

METRICS = ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]


def cross_validated(clf, X, y, *, scoring=None, **episodes):
    return cross_val_score(clf, X, y, cv=EpisodeSplit(**episodes), scoring=scoring)


def assert_equal_scores(clf, X, y, *, scoring="accuracy", **episodes):
    episodes = {"n_episodes": 25, "random_state": 0, **episodes}
    result = episode_score(clf, X, y, scoring=scoring, **episodes)
    np.testing.assert_array_equal(
        result.scores, cross_validated(clf, X, y, scoring=scoring, **episodes)
    )
    assert 0.2 < result.mean <= 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_shot", [1, 5])
def test__episode_score__equals_cross_val_score(digits, metric, dtype, n_shot):
    images, y = digits
    clf = PrototypicalClassifier("passthrough", metric=metric)
    assert_equal_scores(clf, (images * 16).astype(dtype), y, n_shot=n_shot)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    d=st.integers(1, 5),
    levels=st.integers(1, 3),
    offset=st.sampled_from([0.0, 1e4]),
    metric=st.sampled_from(METRICS),
    n_shot=st.integers(1, 3),
)
def test__episode_score__equals_cross_val_score_where_queries_tie(
    seed, d, levels, offset, metric, n_shot
):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.array(list("zyxw")), 8))
    X = rng.integers(-levels, levels, size=(32, d), endpoint=True) + offset
    clf = PrototypicalClassifier("passthrough", metric=metric)
    episodes = {"n_way": 3, "n_shot": n_shot, "n_query": 4, "n_episodes": 6, "random_state": seed}
    np.testing.assert_array_equal(
        episode_score(clf, X, y, **episodes).scores, cross_validated(clf, X, y, **episodes)
    )


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine", "dot"])
def test__episode_score__rounds_prototypes_as_classifiers_do(metric):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(20), 20)
    X = rng.normal(size=(20, 4))[y] + 1.5 * rng.normal(size=(400, 4)) + 1e6  # float32 sees 1/16
    clf = PrototypicalClassifier("passthrough", metric=metric)
    assert_equal_scores(clf, X.astype(np.float32), y, n_shot=3)


@pytest.mark.parametrize(
    "clf",
    [
        MatchingClassifier("passthrough"),
        SiameseClassifier("passthrough", metric="euclidean"),
        PrototypicalClassifier(PCA(3)),
        KNeighborsClassifier(1),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test__episode_score__takes_any_classifier(digits, clf):
    images, y = digits
    assert_equal_scores(clf, images.reshape(len(y), -1), y, n_way=4, n_shot=2, n_episodes=8)


@pytest.mark.parametrize(
    ("classifier", "transformer"),
    [
        (PrototypicalClassifier, PrototypicalTransformer(random_state=0)),
        (MatchingClassifier, MatchingTransformer(full_context=True, random_state=0)),
        (RelationClassifier, RelationTransformer(random_state=0)),
    ],
)
@pytest.mark.parametrize("n_shot", [1, 3])
def test__episode_score__with_what_the_encoder_learned(digits, classifier, transformer, n_shot):
    images, y = digits
    X, base = images.reshape(len(y), -1), y < 5
    encoder = make_pipeline(
        StandardScaler(), clone(transformer).set_params(max_epochs=1, batches_per_epoch=3)
    )
    clf = classifier(FrozenEstimator(encoder.fit(X[base], y[base])))
    assert_equal_scores(clf, X[~base], y[~base], n_way=4, n_shot=n_shot, n_episodes=8)


class CountingEncoder(TransformerMixin, BaseEstimator):
    """Counts the examples it encodes."""

    def fit(self, X, y=None):
        self.n_encoded_ = 0
        return self

    def transform(self, X):
        self.n_encoded_ += len(X)
        return np.asarray(X)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test__episode_score__encodes_each_example_once(digits, scoring):
    images, y = digits
    X = images.reshape(len(y), -1)
    encoder = CountingEncoder().fit(X)
    clf = PrototypicalClassifier(FrozenEstimator(encoder))
    episode_score(clf, X, y, n_way=10, n_query=5, n_episodes=10, scoring=scoring, random_state=0)
    assert encoder.n_encoded_ == len(X)


def test__episode_score__other_scorings_and_jobs(digits):
    images, y = digits
    clf = PrototypicalClassifier("passthrough")
    setting = {"n_episodes": 6, "random_state": 1, "scoring": "neg_log_loss"}
    expected = cross_validated(clf, images, y, **setting)
    np.testing.assert_array_equal(episode_score(clf, images, y, **setting).scores, expected)
    with parallel_config("threading"):
        by_two = episode_score(clf, images, y, n_jobs=2, **setting).scores
    np.testing.assert_array_equal(by_two, expected)


def test__episode_score__leaves_the_classifier_and_takes_labels_of_any_kind(digits):
    images, y = digits
    clf = PrototypicalClassifier("passthrough")
    before = dict(vars(clf))
    by_number = episode_score(clf, images, y, n_episodes=5, random_state=0)
    by_name = episode_score(clf, images, (y + 3).astype(str).tolist(), n_episodes=5, random_state=0)
    assert vars(clf) == before
    assert by_number.scores.shape == by_name.scores.shape == (5,)


@pytest.mark.parametrize("clf", [PrototypicalClassifier("passthrough"), KNeighborsClassifier(1)])
def test__episode_score__shows_a_bar_if_asked(digits, capsys, clf):
    images, y = digits
    X = images.reshape(len(y), -1)
    episode_score(clf, X, y, n_episodes=7, random_state=0)
    assert capsys.readouterr() == ("", "")
    episode_score(clf, X, y, n_episodes=7, random_state=0, verbose=1)
    assert "7/7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_way": 11}, "n_way=11 must not be greater"),
        ({"n_query": 500}, "needs at least 501 examples"),
        ({"n_shot": 0}, "'n_shot' parameter of episode_score must be an int"),
        ({"clf": PCA()}, "'clf' parameter of episode_score"),
        ({"scoring": "beauty"}, "beauty"),
    ],
)
def test__episode_score__says_what_is_wrong(digits, params, message):
    images, y = digits
    given_arguments = {"clf": PrototypicalClassifier("passthrough"), "X": images, "y": y, **params}
    with pytest.raises(ValueError, match=message):
        episode_score(**given_arguments)


@pytest.mark.parametrize("clf", [PrototypicalClassifier("passthrough"), KNeighborsClassifier(1)])
def test__episode_score__leaves_out_small_classes(digits, clf):
    images, y = digits
    X, few = images.reshape(len(y), -1), np.ones(len(y), bool)
    few[np.flatnonzero(y == 3)[2:]] = few[np.flatnonzero(y == 7)[5:]] = False
    X, y = X[few], y[few]
    setting = {"n_way": 8, "n_episodes": 5, "random_state": 0}
    with pytest.warns(UserWarning, match="min_examples=16 leaves out 2 of 10 classes"):
        result = episode_score(clf, X, y, min_examples=16, **setting)
    large = ~np.isin(y, [3, 7])
    expected = episode_score(clf, X[large], y[large], **setting)
    np.testing.assert_array_equal(result.scores, expected.scores)
    with pytest.raises(ValueError, match="needs at least 16 examples"):
        episode_score(clf, X, y, **setting)


def test__EpisodeScores__mean_interval_and_repr():
    scores = np.array([0.5, 0.7, 0.9, 0.9])
    result = EpisodeScores(scores, n_way=5, n_shot=1)
    deviation = np.sqrt(((scores - 0.75) ** 2).sum() / 3)
    assert result.mean == pytest.approx(0.75)
    assert result.confidence_interval == pytest.approx(3.182446 * deviation / 2)  # t, 3 degrees
    assert repr(result) == "0.750 ± 0.305 (4 episodes, 5-way 1-shot)"
    assert np.isnan(EpisodeScores(scores[:1], 5, 1).confidence_interval)
    with pytest.raises(AttributeError):
        result.scores = scores


@pytest.mark.parametrize("n_episodes", [2, 3, 10, 600])
def test__EpisodeScores__the_interval_covers_the_mean_in_95_of_100_cases(n_episodes):
    scores = np.random.default_rng(0).normal(0.8, 0.1, size=(2000, n_episodes))
    covered = [
        abs(result.mean - 0.8) <= result.confidence_interval
        for result in (EpisodeScores(row, 5, 1) for row in scores)
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)  # 3 standard errors
    interval = stats.t.interval(0.95, n_episodes - 1, scores[0].mean(), stats.sem(scores[0]))
    assert EpisodeScores(scores[0], 5, 1).confidence_interval == pytest.approx(
        (interval[1] - interval[0]) / 2
    )


def test_rows_in_reverse(digits):
    images, y = digits
    X, y = images.reshape(-1, 64)[::-1], y[::-1]
    clf = PrototypicalClassifier("passthrough")
    reverse = episode_score(clf, X, y, n_episodes=5, random_state=0).scores
    copied = episode_score(clf, X.copy(), y.copy(), n_episodes=5, random_state=0).scores
    np.testing.assert_array_equal(reverse, copied)
