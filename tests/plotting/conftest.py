"""Displays draw without a screen, and leave no figure open."""

import matplotlib
import numpy as np
import pytest

from sk_fewshot import MatchingClassifier

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def axes():
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


@pytest.fixture
def episode(digits):
    """Support images and labels (2 of each of 5 classes), queries and labels."""
    images, y = digits
    rows = np.array([np.flatnonzero(y == label)[:6] for label in range(5)])
    support, query = rows[:, :2].ravel(), rows[:, 2:].ravel()
    return images[support], y[support], images[query], y[query]


@pytest.fixture
def classifier(episode):
    return MatchingClassifier("passthrough").fit(*episode[:2])
