"""Support sets for the tests of the heads."""

import pytest
import torch


@pytest.fixture
def unbalanced():
    """Queries (6, 8), support (7, 8) and labels: three classes of 3, 1 and 3 examples, mixed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(13, 8, generator=generator, dtype=torch.float64)
    return x[:6], x[6:], torch.tensor([2, 0, 0, 1, 2, 0, 2])
