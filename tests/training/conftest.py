"""What several tests of the training train on."""

import pytest


@pytest.fixture(scope="module")
def blobs(clusters):
    """Six classes of ten examples, five features."""
    return clusters(6, 10)
