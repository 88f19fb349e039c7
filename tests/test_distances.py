"""Distances against scipy in float64, near and far from the origin."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sk_fewshot.distances import METRICS, pairwise_distances, unit

SCIPY = {
    "sqeuclidean": "sqeuclidean",
    "euclidean": "euclidean",
    "cosine": "cosine",
    "manhattan": "cityblock",
}


def reference(x, y, metric):
    x, y = x.double().numpy(), y.double().numpy()
    return -x @ y.T if metric == "dot" else cdist(x, y, SCIPY[metric])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0, 10, 1e4])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), d=st.integers(1, 70))
@settings(max_examples=20)
def test_float32_is_within_1e_5_of_float64(metric, offset, seed, n, d):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator) + offset
    y = torch.randn(7, d, generator=generator) + offset
    expected = reference(x, y, metric)
    atol = 1e-12 if metric == "cosine" else 0  # 1 - cos cancels where d = 1: cos is exactly 1
    np.testing.assert_allclose(pairwise_distances(x, y, metric), expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_close_points_in_clusters_far_apart_keep_their_digits(metric):
    generator = torch.Generator().manual_seed(0)
    centres = 1e3 * torch.randn(5, 16, generator=generator)
    x = centres.repeat_interleave(4, 0) + 1e-2 * torch.randn(20, 16, generator=generator)
    expected = reference(x, x, metric)
    np.testing.assert_allclose(pairwise_distances(x, x, metric), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_points_have_distance_zero_and_finite_gradient(metric):
    x = (torch.randn(6, 8) + 100).requires_grad_()
    distances = pairwise_distances(x, x.detach().clone(), metric)
    if metric != "dot":
        torch.testing.assert_close(distances.diagonal(), torch.zeros(6), atol=1e-6, rtol=0)
    distances.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [0, 1e-15, 1e15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_stay_finite_at_any_scale(metric, scale, dtype):
    x = (scale * torch.randn(4, 8, dtype=dtype)).requires_grad_()
    y = scale * torch.randn(3, 8, dtype=dtype)
    distances = pairwise_distances(x, y, metric)
    distances.sum().backward()
    assert torch.isfinite(distances).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_equals_finite_differences(metric):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: pairwise_distances(a, b, metric), (x, y))


@pytest.mark.parametrize("metric", METRICS)
def test_leading_dimensions_are_batches(metric):
    x, y = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8)
    batched = pairwise_distances(x, y, metric)
    assert batched.shape == (2, 3, 4, 5)
    torch.testing.assert_close(batched[1, 2], pairwise_distances(x[1, 2], y[1, 2], metric))


@pytest.mark.parametrize("metric", METRICS)
def test_autocast_does_not_lower_the_accuracy(metric):
    x, y = torch.randn(4, 64), torch.randn(3, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = pairwise_distances(x, y, metric)
    torch.testing.assert_close(mixed, pairwise_distances(x, y, metric))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("metric", METRICS)
def test_half_precision_comes_back_in_its_own_dtype(metric, dtype):
    x, y = torch.randn(4, 8).to(dtype), torch.randn(3, 8).to(dtype)
    distances = pairwise_distances(x, y, metric)
    assert distances.dtype == dtype
    expected = pairwise_distances(x.double(), y.double(), metric)
    torch.testing.assert_close(distances, expected.to(dtype), rtol=0.02, atol=0.02)


def test_zero_vector_is_at_cosine_distance_one():
    x = torch.zeros(1, 3, requires_grad=True)
    distance = pairwise_distances(x, torch.ones(1, 3), "cosine")
    distance.backward()
    assert distance.item() == 1
    assert (x.grad == 0).all()


def test_callable_is_used_and_its_shape_checked():
    x, y = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    doubled = pairwise_distances(x, y, lambda a, b: 2 * torch.cdist(a, b))
    torch.testing.assert_close(doubled, 2 * torch.cdist(x, y))
    with pytest.raises(ValueError, match=r"metric must return a tensor of shape \(4, 5\)"):
        pairwise_distances(x, y, lambda a, b: torch.cdist(a, b).T)


def test_bad_input_is_named():
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"metric must be one of .*'cosine'.* got 'l2'"):
        pairwise_distances(x, x, "l2")
    with pytest.raises(ValueError, match=r"same number of columns, got 3 and 2"):
        pairwise_distances(x, x[:, :2])


def test_unit_rows_have_length_one_even_at_extreme_scales():
    x = torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0, 0]])
    torch.testing.assert_close(unit(x), torch.tensor([[0.6, 0.8], [0.6, 0.8], [0, 0]]))


@pytest.mark.parametrize("metric", METRICS)
def test_missing_values_are_not_hidden(metric):
    x = torch.tensor([[1.0, torch.nan]])
    assert pairwise_distances(x, torch.ones(1, 2), metric).isnan().all()
