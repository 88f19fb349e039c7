"""encode: equal to the module, independent of batching, errors that name the module."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sk_fewshot.encoders import MLP, Conv4, encode, folded


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


CONV4 = folded(seeded(lambda: Conv4((1, 8, 8), 10)))
MLP_ = folded(seeded(lambda: MLP(7, 5)))
N = 40
IMAGES = np.random.default_rng(0).random((N, 1, 8, 8))
FEATURES = np.random.default_rng(0).normal(size=(N, 7))
CASES = pytest.mark.parametrize(("module", "X"), [(CONV4, IMAGES), (MLP_, FEATURES)])


@CASES
@pytest.mark.parametrize("chunk_size", [None, 1, 7, 40, 64])
def test__values__equal_module(module, X, chunk_size):
    with torch.no_grad():
        expected = module(torch.tensor(X, dtype=torch.float32)).numpy()
    out = encode(module, X, chunk_size=chunk_size)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@CASES
@given(data=st.data())
@settings(max_examples=40)
def test__batching__bitwise_independent(module, X, data):
    rows = data.draw(st.permutations(range(N)))
    cuts = sorted(data.draw(st.lists(st.integers(0, N), max_size=4)))
    parts = np.split(np.array(rows), cuts)
    whole = encode(module, X)
    assert np.array_equal(np.concatenate([encode(module, X[part]) for part in parts]), whole[rows])


@CASES
def test__no_rows__no_embeddings(module, X):
    assert encode(module, X[:0]).shape == (0, encode(module, X[:1]).shape[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8", np.uint8])
def test__dtype_and_memory__do_not_matter(dtype):
    X = (IMAGES * 8).round().astype(dtype)
    expected = encode(CONV4, X.astype(np.float32))
    X.setflags(write=False)
    assert np.array_equal(encode(CONV4, X), expected)
    assert np.array_equal(encode(CONV4, np.asfortranarray(X)), expected)
    assert np.array_equal(encode(CONV4, X[::-1]), expected[::-1])


def test__more_dimensions__flattened():
    maps = encode(nn.Conv2d(1, 2, 3), IMAGES)
    assert maps.shape == (N, 2 * 6 * 6)


def test__input__not_changed():
    X = IMAGES.astype(np.float32)
    encode(nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(64, 2)), X - 0.5)
    assert np.array_equal(X, IMAGES.astype(np.float32))


class Returns(nn.Module):
    """Applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.sum(1), ValueError, r"Returns must return one embedding a row.*\(256,\)"),
        (lambda x: x[1:], ValueError, r"one embedding a row, shape \(256, d\).*\(255, 7\)"),
        (lambda x: x / 0, ValueError, "Returns returned infinite or missing values"),
        (lambda x: x.long(), TypeError, "Returns must return a floating point tensor, got torch"),
        (lambda x: (x, x), TypeError, "Returns must return a floating point tensor, got tuple"),
    ],
)
def test__bad_module__named(function, error, message):
    with pytest.raises(error, match=message):
        encode(Returns(function), FEATURES)


def test__missing_values__handed_through():
    X = FEATURES.copy()
    X[3, 2] = np.nan
    out = encode(MLP_, X)
    assert np.isnan(out[3]).all()
    assert np.isfinite(np.delete(out, 3, axis=0)).all()


def test__global_state__untouched():
    state = torch.get_rng_state()
    encode(CONV4, IMAGES)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test__cuda__equal_cpu_and_independent_of_batching():
    module = folded(CONV4).cuda()
    out = encode(module, IMAGES, device="cuda")
    np.testing.assert_allclose(out, encode(CONV4, IMAGES), rtol=1e-2, atol=1e-3)
    halves = [encode(module, part, device="cuda") for part in (IMAGES[:13], IMAGES[13:])]
    assert np.array_equal(np.concatenate(halves), out)


class Recorder(nn.Module):
    """Notes how many rows it is given at once."""

    def forward(self, x):
        self.n_rows = len(x)
        return x.flatten(1)


@pytest.mark.parametrize(
    ("shape", "n_rows"),
    [((4096,), 256), ((8192,), 128), ((1, 105, 105), 16), ((3, 84, 84), 12), ((3, 600, 600), 1)],
)
def test__chunks__of_large_rows__hold_fewer(shape, n_rows):
    module = Recorder()
    encode(module, np.zeros((2, *shape), np.float32))
    assert module.n_rows == n_rows
