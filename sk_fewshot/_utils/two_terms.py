"""Lengths as sums of two float32 numbers, for devices without float64.

Each step is exact, or its rounding is carried along (Dekker, "A floating-point technique for
extending the available precision", 1971).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SIGN_AND_EXPONENT = -(2**23)  # 0xFF800000: the power of two below a number
_UPPER_HALF = -(2**12)  # 0xFFFFF000: 12 of the 24 digits, whose products are exact


def lengths(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Euclidean lengths of rows (n, d), float32, as ``(high + low) * scale``, each (n, 1).

    Zero for a zero row. No square over- or underflows, as the scale is a power of two.
    """
    largest = x.abs().amax(1, keepdim=True)
    scale = _digits(largest, _SIGN_AND_EXPONENT)
    scale = torch.where(scale == 0, 1, scale)
    x = x / scale
    upper = _digits(x, _UPPER_HALF)
    lower = x - upper
    squares, of_squares = _sum(upper * upper)
    mixed, of_mixed = _sum(2 * upper * lower)
    total, of_total = _added(squares, mixed)
    rest = of_total + of_squares + (of_mixed + (lower * lower).sum(1, keepdim=True))
    high = total.sqrt()
    product, of_product = multiplied(high, high)
    low = (total - product - of_product + rest) / torch.where(high == 0, 1, 2 * high)
    return high, low, scale


def divided(x: Tensor, rest: Tensor | float, high: Tensor, low: Tensor) -> Tensor:
    """``(x + rest) / (high + low)`` in float32, correctly rounded in nearly all cases."""
    quotient = x / high
    product, of_product = multiplied(quotient, high)
    return quotient + (x - product - of_product + rest - quotient * low) / high


def multiplied(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return x * y, rounded, and what the rounding left out."""
    product = x * y
    upper_x, upper_y = _digits(x, _UPPER_HALF), _digits(y, _UPPER_HALF)
    lower_x, lower_y = x - upper_x, y - upper_y
    rest = upper_x * upper_y - product + upper_x * lower_y + lower_x * upper_y
    return product, rest + lower_x * lower_y


def _digits(x: Tensor, mask: int) -> Tensor:
    return (x.view(torch.int32) & mask).view(torch.float32)


def _added(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return x + y, rounded, and what the rounding left out."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def _sum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sum (n, 1) over the columns of x (n, d), rounded, and about what the rounding left out."""
    rest = torch.zeros_like(x[:, :1])
    while x.shape[1] > 1:
        if x.shape[1] % 2:
            x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        x, left_out = _added(*x.chunk(2, 1))
        rest = rest + left_out.sum(1, keepdim=True)
    return x, rest
