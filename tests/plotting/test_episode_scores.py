"""Scores over episodes against the number of shots."""

import numpy as np
import pytest

from sk_fewshot import EpisodeScores, PrototypicalClassifier, episode_score
from sk_fewshot.plotting import EpisodeScoresDisplay

ONE = EpisodeScores(np.array([0.5, 0.7, 0.6]), n_way=5, n_shot=1)
FIVE = EpisodeScores(np.array([0.8, 0.9, 0.8]), n_way=5, n_shot=5)


def test_means_and_intervals_are_those_given():
    display = EpisodeScoresDisplay.from_scores({"ours": [FIVE, ONE], "pixels": ONE})
    assert display.ax_.get_ylabel() == "5-way score"
    assert display.ax_.get_xticks().tolist() == [1, 5]
    line, _, (bars,) = display.errorbars_["ours"]
    np.testing.assert_array_equal(line.get_xdata(), [1, 5])
    np.testing.assert_array_equal(line.get_ydata(), [ONE.mean, FIVE.mean])
    for segment, score in zip(bars.get_segments(), (ONE, FIVE), strict=True):
        np.testing.assert_allclose(np.diff(segment[:, 1]), 2 * score.confidence_interval)
    np.testing.assert_array_equal(display.errorbars_["pixels"][0].get_ydata(), [ONE.mean])
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["ours", "pixels"]


def test_from_estimator_scores_the_episodes(digits):
    images, y = digits
    clf = PrototypicalClassifier("passthrough")
    setting = {"n_way": 3, "n_episodes": 5, "random_state": 0}
    display = EpisodeScoresDisplay.from_estimator(clf, images, y, shots=(1, 3), **setting)
    expected = [episode_score(clf, images, y, n_shot=k, **setting).mean for k in (1, 3)]
    np.testing.assert_array_equal(
        display.errorbars_["PrototypicalClassifier"][0].get_ydata(), expected
    )
    other = EpisodeScoresDisplay.from_estimator(
        clf, images, y, shots=(1,), name="again", ax=display.ax_, **setting
    )
    assert other.ax_ is display.ax_
    assert len(display.ax_.get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ({"a": []}, ValueError, r"scores\['a'\] must hold one EpisodeScores or more"),
        ({}, ValueError, "same n_way"),
        ({"a": [0.5]}, TypeError, r"scores\['a'\] must hold EpisodeScores, got float"),
        (
            {"a": [ONE, EpisodeScores(ONE.scores, n_way=20, n_shot=1)]},
            ValueError,
            r"same n_way, got n_way in \[5, 20\]",
        ),
    ],
)
def test_says_what_is_wrong(scores, error, message):
    with pytest.raises(error, match=message):
        EpisodeScoresDisplay.from_scores(scores)
