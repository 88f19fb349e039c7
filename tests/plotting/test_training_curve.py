"""Losses along a training."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer
from sk_fewshot.plotting import TrainingCurveDisplay


def column(history, name):
    return [epoch[name] for epoch in history]


def test_losses_are_those_of_the_history(digits):
    X, y = digits[0].reshape(-1, 64)[:300], digits[1][:300]
    encoder = PrototypicalTransformer(
        max_epochs=3, batches_per_epoch=2, validation_classes=0.3, random_state=0
    ).fit(X, y)
    display = TrainingCurveDisplay.from_estimator(encoder)
    training, held_out = display.lines_
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(training.get_ydata(), column(encoder.history_, "train_loss"))
    np.testing.assert_array_equal(held_out.get_ydata(), column(encoder.history_, "valid_loss"))


def test_finds_the_training_of_pipelines_and_classifiers(digits):
    X, y = digits[0].reshape(-1, 64)[:300], digits[1][:300]
    encoder = PrototypicalTransformer(max_epochs=2, batches_per_epoch=2, random_state=0)
    clf = PrototypicalClassifier(make_pipeline(StandardScaler(), encoder)).meta_fit(X, y)
    history = clf.encoder.estimator[-1].history_
    for estimator in (clf, clf.fit(X, y), clf.encoder, clf.encoder.estimator):
        (line,) = TrainingCurveDisplay.from_estimator(estimator, linestyle="--").lines_
        np.testing.assert_array_equal(line.get_ydata(), column(history, "train_loss"))
        assert line.get_linestyle() == "--"


@pytest.mark.parametrize(
    "estimator",
    [
        PrototypicalClassifier("passthrough"),
        PrototypicalClassifier(),
        PrototypicalClassifier(FrozenEstimator(PCA().fit(np.eye(3)))),
    ],
)
def test_nothing_was_learned_by_epochs(estimator):
    with pytest.raises(ValueError, match="estimator must have learned by epochs"):
        TrainingCurveDisplay.from_estimator(estimator)


def test_unfitted_and_empty():
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(PrototypicalTransformer())
    with pytest.raises(ValueError, match="history must hold one epoch or more"):
        TrainingCurveDisplay.from_history([])
