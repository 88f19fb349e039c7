"""One episode in pictures."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier

from sk_fewshot import PrototypicalClassifier
from sk_fewshot.plotting import EpisodeDisplay


def image(axes):
    return np.asarray(axes.get_images()[0].get_array())


def test_images_labels_and_confidence_are_those_given(classifier, episode):
    support, y_support, queries, y = episode
    y = np.where(np.arange(len(y)) % 3, y, 9)  # every third prediction is wrong
    display = EpisodeDisplay.from_estimator(
        classifier, support, y_support, queries, y, n_columns=4, cmap="gray_r"
    )
    assert len(display.support_axes_) == len(support)
    for axes, given, label in zip(display.support_axes_, support, y_support):
        np.testing.assert_array_equal(image(axes), given)
        assert axes.get_title() == str(label)
        assert axes.get_images()[0].get_cmap().name == "gray_r"
    predicted, confidence = classifier.predict(queries), classifier.predict_proba(queries).max(1)
    assert 0 < (predicted == y).mean() < 1
    for i, axes in enumerate(display.query_axes_):
        np.testing.assert_array_equal(image(axes), queries[i])
        assert axes.get_title() == str(predicted[i])
        right = predicted[i] == y[i]
        assert axes.title.get_color() == ("tab:green" if right else "tab:red")
        truth = "" if right else f", is {y[i]}"
        assert axes.get_xlabel() == f"{confidence[i]:.0%}{truth}"


def test_flat_images_and_colours(episode):
    support, y_support, queries, y = episode
    flat = EpisodeDisplay.from_predictions(
        support.reshape(10, -1), y_support, queries.reshape(20, -1), y, image_shape=(1, 8, 8)
    )
    np.testing.assert_array_equal(image(flat.query_axes_[3]), queries[3])
    rgb = np.random.default_rng(0).random((10, 3, 8, 8))
    shown = EpisodeDisplay.from_predictions(rgb, y_support, rgb[:2], ["a", "b"])
    np.testing.assert_array_equal(image(shown.query_axes_[1]), rgb[1].transpose(1, 2, 0))
    assert shown.query_axes_[1].get_title() == "b"
    assert shown.query_axes_[1].get_xlabel() == ""
    shown = EpisodeDisplay.from_predictions(10 * rgb - 5, y_support, rgb[:2], y[:2])
    assert image(shown.support_axes_[0]).max() <= 1


def test_a_classifier_without_probabilities(episode):
    support, y_support, queries, y = episode
    X_support, X_query = support.reshape(10, -1), queries.reshape(20, -1)
    clf = RidgeClassifier().fit(X_support, y_support)
    display = EpisodeDisplay.from_estimator(
        clf, X_support, y_support, X_query, y, image_shape=(1, 8, 8)
    )
    assert display.confidence is None
    assert display.query_axes_[0].get_title() == str(clf.predict(X_query[:1])[0])


def test_strangers_have_their_label(classifier, episode):
    classifier.set_params(reject_below=1e9)
    display = EpisodeDisplay.from_estimator(classifier, *episode)
    assert {axes.get_title() for axes in display.query_axes_} == {"-1"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"X_support": np.ones((10, 64))}, "X_support must hold images.*image_shape=None"),
        ({"X_query": np.ones((20, 2, 8, 8))}, r"X_query must hold images.*\(20, 2, 8, 8\)"),
        ({"y_support": [1, 2]}, "inconsistent numbers of samples"),
        ({"y_true": [1, 2]}, "inconsistent numbers of samples"),
    ],
)
def test_says_what_is_wrong(episode, params, message):
    names = ("X_support", "y_support", "X_query", "y_pred")
    with pytest.raises(ValueError, match=message):
        EpisodeDisplay.from_predictions(**{**dict(zip(names, episode)), **params})


def test_needs_a_fitted_classifier(episode):
    with pytest.raises(NotFittedError):
        EpisodeDisplay.from_estimator(PrototypicalClassifier(), *episode)
