"""What several tests of the training train on."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def blobs():
    """Six classes of ten examples, five features."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 10)
    X = rng.normal(size=(60, 5)) + 3 * rng.normal(size=(6, 5))[y]
    return X.astype(np.float32), y
