"""Distances between the rows of two tensors, and the one table of their names.

A parameter `metric` takes one of these names, the keys of :data:`METRICS`:

==============  =====================================================
"sqeuclidean"   the squared Euclidean distance, ``sum((x - y) ** 2)``
"euclidean"     its square root
"cosine"        1 minus the cosine of the angle between x and y
"manhattan"     ``sum(abs(x - y))``
"dot"           minus the inner product, ``-sum(x * y)``
==============  =====================================================

The named distances take ``x`` of shape (..., n, d) and ``y`` of shape (..., m, d) and return
(..., n, m) in the dtype of the inputs, with a relative accuracy of 1e-5. The distance of two points
depends on these two alone: what else is compared in the same call changes it by rounding at most.
Gradients are finite everywhere: where a distance has none (two equal points, a zero vector), it
is 0. Squares and products of float32 points stay finite up to a length of 1e19; where float16 (up
to 65504) or bfloat16 has no room for a distance, it is their largest number.
"""

from sk_fewshot.distances._named import METRICS, cosine, dot, euclidean, manhattan, sqeuclidean
from sk_fewshot.distances._paired import paired_distances
from sk_fewshot.distances._pairwise import Metric, pairwise_distances
from sk_fewshot.distances._unit import unit

__all__ = [
    "METRICS",
    "Metric",
    "cosine",
    "dot",
    "euclidean",
    "manhattan",
    "paired_distances",
    "pairwise_distances",
    "sqeuclidean",
    "unit",
]
