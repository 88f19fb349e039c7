"""What all displays have in common."""

import inspect
import subprocess
import sys

import pytest

from sk_fewshot import PrototypicalTransformer, episode_score, plotting
from sk_fewshot.plotting import (
    EmbeddingDisplay,
    EpisodeDisplay,
    EpisodeScoresDisplay,
    NeighborsDisplay,
    TrainingCurveDisplay,
)


def embedding(classifier, episode, ax):
    return EmbeddingDisplay.from_estimator(classifier, *episode[2:], ax=ax)


def episode_images(classifier, episode, ax):
    return EpisodeDisplay.from_estimator(classifier, *episode, ax=ax)


def episode_scores(classifier, episode, ax):
    X, y = episode[2:]
    score = episode_score(classifier, X, y, n_way=3, n_query=2, n_episodes=3, random_state=0)
    return EpisodeScoresDisplay.from_scores({"Matching": score}, ax=ax)


def neighbors(classifier, episode, ax):
    return NeighborsDisplay.from_estimator(classifier, episode[2][:3], episode[0], ax=ax)


def training_curve(classifier, episode, ax):
    encoder = PrototypicalTransformer(max_epochs=2, batches_per_epoch=2, random_state=0)
    return TrainingCurveDisplay.from_estimator(encoder.fit(*episode[2:]), ax=ax)


MAKERS = [embedding, episode_images, episode_scores, neighbors, training_curve]


@pytest.mark.parametrize("make", MAKERS)
def test_draws_into_axes_given_or_new_ones(make, classifier, episode, axes):
    display = make(classifier, episode, axes)
    assert display.ax_ is axes
    assert display.figure_ is axes.figure
    display.figure_.canvas.draw()
    again = display.plot()
    assert again is display
    assert display.ax_ is not axes
    assert display.figure_ is display.ax_.figure
    display.figure_.canvas.draw()


@pytest.mark.parametrize("make", MAKERS)
def test_keeps_what_it_was_given(make, classifier, episode):
    display = make(classifier, episode, None)
    stored = inspect.signature(type(display).__init__).parameters.keys() - {"self"}
    assert stored <= vars(display).keys()
    copied = type(display)(**{name: getattr(display, name) for name in stored}).plot()
    assert vars(copied).keys() == vars(display).keys()


def test_every_display_is_tested(classifier, episode):
    tested = {type(make(classifier, episode, None)).__name__ for make in MAKERS}
    assert tested == set(plotting.__all__)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_matplotlib_is_imported_when_something_is_drawn():
    loaded = run("import sys, sk_fewshot.plotting; print('matplotlib' in sys.modules)")
    assert loaded.stdout.strip() == "False", loaded.stderr


def test_without_matplotlib_the_error_says_what_is_missing():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from sk_fewshot.plotting import TrainingCurveDisplay\n"
        "TrainingCurveDisplay.from_history([{'epoch': 1, 'train_loss': 1.0}])"
    )
    assert "TrainingCurveDisplay.plot requires matplotlib" in run(code).stderr
