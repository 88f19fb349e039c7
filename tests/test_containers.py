"""The same numbers give the same result, or the same error, whatever holds them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sk_fewshot
from sk_fewshot._utils.device import as_tensor

ROOT = Path(sk_fewshot.__file__).parent
RNG = np.random.default_rng(0)


def field_of_a_record(X):
    """X as a field of packed records, whose strides are no multiple of an item."""
    record = np.zeros(len(X), [("key", "u1"), ("values", X.dtype, X.shape[1:])])
    record["values"] = X
    return record["values"]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "reversed features": lambda X: X[:, ::-1].copy()[:, ::-1],
    "every second": lambda X: np.repeat(X, 2, axis=0)[::2],
    "a field of records": field_of_a_record,
    "read-only": read_only,
    "the other byte order": lambda X: X.astype(X.dtype.newbyteorder("S")),
    "longdouble": lambda X: X.astype(np.longdouble),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_of_any_array(layout, dtype):
    X = (10 * RNG.random((4, 3))).astype(dtype)
    tensor = as_tensor(LAYOUTS[layout](X))
    expected = torch.tensor(X.astype(np.float64) if layout == "longdouble" else X)
    assert tensor.dtype == expected.dtype
    assert torch.equal(tensor, expected)


def test_a_broadcast_array_is_not_multiplied():
    X = np.broadcast_to(np.float32([1, 2, 3]), (1000, 3))
    tensor = as_tensor(X)
    assert tensor.stride() == (0, 1)
    assert torch.equal(tensor[999], torch.tensor([1.0, 2.0, 3.0]))


def test_one_function_turns_arrays_into_tensors():
    risky = re.compile(r"torch\.(from_dlpack|from_numpy|frombuffer)\(")
    users = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        for line in path.read_text().splitlines()
        if risky.search(line) and not line.lstrip().startswith((">>>", "..."))
    ]
    assert users == ["_utils/device.py"]
