"""Set-up of the tests on the second device, each run of which is a process of its own."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

MODE = os.environ.get("SECOND_DEVICE")  # "float64" or "no float64"

if MODE:
    path = Path(__file__).parents[1] / "second_device.py"
    specification = importlib.util.spec_from_file_location("second_device", path)
    second_device = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(second_device)
    sys.modules["second_device"] = second_device  # pickle looks it up
    second_device.register(float64=MODE == "float64")


@pytest.fixture(scope="session")
def device():
    """The module of the second device."""
    return second_device


@pytest.fixture(scope="session")
def float64():
    """Whether it has float64."""
    return MODE == "float64"


@pytest.fixture(scope="session")
def assert_same(float64):
    """Compare arrays or tensors of both devices: bitwise, or to 1e-5 without float64."""

    def compare(ours, expected, bitwise=float64):
        ours, expected = (
            x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
            for x in (ours, expected)
        )
        if bitwise or ours.dtype.kind not in "f":
            np.testing.assert_array_equal(ours, expected)
        else:
            size = np.abs(expected).max() if expected.size else 0
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * size)

    return compare


@pytest.fixture(scope="session")
def digits():
    """Digits 0 to 4 as base classes and 5 to 9 as novel ones, flat."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    return X[y < 5], y[y < 5], X[y >= 5], y[y >= 5]
