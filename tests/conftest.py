"""Shared set-up of the tests."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_digits

torch.set_num_threads(1)

# The same examples on every run: a change that passed here passes there. `make fuzz` draws others.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", database=None, deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fixed")
settings.load_profile(PROFILE)
# What promises rest on decorates itself with `@settings.get_profile("thorough")`.
settings.register_profile(
    "thorough", settings.get_profile(PROFILE), max_examples=5000 if PROFILE == "fuzz" else 200
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Skip tests that need a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the real data sets, or a skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data sets are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def digits():
    """Digits as read-only images (n, 8, 8) in [0, 1], and their labels."""
    bunch = load_digits()
    images, y = (bunch.images / 16).astype(np.float32), bunch.target
    images.flags.writeable = y.flags.writeable = False
    return images, y


@pytest.fixture(scope="session")
def clusters():
    """A function that draws (n_classes, n_each) examples of five features, class by class."""

    def draw(n_classes, n_each):
        rng = np.random.default_rng(0)
        y = np.repeat(np.arange(n_classes), n_each)
        X = rng.normal(size=(len(y), 5)) + 3 * rng.normal(size=(n_classes, 5))[y]
        return X.astype(np.float32), y

    return draw
