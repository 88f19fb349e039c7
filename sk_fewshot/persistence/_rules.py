"""What values a file may have for a parameter or an argument: plain ones, of bounded size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

_MOST_ITEMS = 1000
_DEEPEST = 4
_LONGEST_TEXT = 1000
_DEVICES = r"auto|accelerate|(cpu|cuda|mps|xpu)(:\d{1,2})?"


@dataclass(frozen=True)
class Rule:
    """Which values are accepted, and that in words.

    Parameters
    ----------
    words : str
    accepts : callable
        From a value to a bool.
    """

    words: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: Rule) -> Rule:
        """Accept what either accepts."""
        words = f"{self.words} or {other.words}"
        return Rule(words, lambda value: self.accepts(value) or other.accepts(value))


def integer(low: int, high: int) -> Rule:
    """Integers from `low` to `high`."""
    return Rule(
        f"an integer from {low} to {high}",
        lambda value: isinstance(value, Integral) and low <= int(value) <= high,
    )


def real(low: float = -inf, high: float = inf) -> Rule:
    """Numbers from `low` to `high`, not NaN."""
    return Rule(
        "a number" if (low, high) == (-inf, inf) else f"a number from {low:g} to {high:g}",
        lambda value: isinstance(value, Real) and low <= float(value) <= high,
    )


def one_of(*values: str) -> Rule:
    """Some words."""
    return Rule(
        " or ".join(map(repr, values)), lambda value: isinstance(value, str) and value in values
    )


def items(rule: Rule, low: int, high: int) -> Rule:
    """Lists and tuples of `low` to `high` values that a rule accepts."""
    return Rule(
        f"a list of {low} to {high} values, each {rule.words}",
        lambda value: (
            isinstance(value, list | tuple)
            and low <= len(value) <= high
            and all(map(rule.accepts, value))
        ),
    )


def made_of(*classes: type) -> Rule:
    """Instances of exactly these classes."""
    names = " or ".join(cls.__name__ for cls in classes)
    return Rule(f"a {names}", lambda value: type(value) in classes)


def among(callables: dict[str, Any]) -> Rule:
    """Classes that a file may name."""
    known = tuple(callables.values())
    return Rule(f"one of {', '.join(callables)}", lambda value: any(value is one for one in known))


def array(kinds: str, n_dimensions: int, low: float = -inf) -> Rule:
    """Arrays of finite numbers of `low` or more, of kinds that numpy has letters for."""
    return Rule(
        f"an array of finite numbers with {n_dimensions} dimensions",
        lambda value: (
            isinstance(value, np.ndarray)
            and value.dtype.kind in kinds
            and value.ndim == n_dimensions
            and value.size > 0
            and bool(value.min() >= low)  # False for NaN
            and bool(value.max() < inf)
            and bool(value.min() > -inf)
        ),
    )


def _are_keys(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 1
        and value.dtype.kind in "iuU"
        and len(np.unique(value)) == len(value) > 0
    )


def _are_labels(value: Any) -> bool:
    """Whether they ascend, each once; numpy refuses to compare labels of several kinds."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not value.size:
        return False
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        return False
    return value.dtype.kind in "biufUO" and bool((value[1:] > value[:-1]).all())


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list | tuple | dict):
        if depth == _DEEPEST or len(value) > _MOST_ITEMS:
            return False
        inner = value.values() if isinstance(value, dict) else value
        return all(_is_plain(item, depth + 1) for item in inner)
    return value is None or any(rule.accepts(value) for rule in (BOOLEAN, NUMBER, TEXT))


def _is_shape(value: Any) -> bool:
    return (
        items(integer(-1, LARGEST_SIDE), 3, 3).accepts(value) and abs(prod(value)) <= MOST_FEATURES
    )


MOST_FEATURES = 2**22  # numbers of one example: a colour image of a megapixel has fewer
LARGEST_SIDE = 2**14
LARGEST_COUNT = 10**6


def _is_of_own_backend(device: str) -> bool:
    """Whether a device is of a backend from outside of torch that this process has registered."""
    name = torch._C._get_privateuse1_backend_name()
    return name != "privateuseone" and device.split(":")[0] == name


NONE = Rule("None", lambda value: value is None)
BOOLEAN = Rule("True or False", lambda value: isinstance(value, bool | np.bool_))
NUMBER = real()
COUNT = integer(0, LARGEST_COUNT)
SEED = integer(0, 2**32 - 1)
TEXT = Rule("a short text", lambda value: isinstance(value, str) and len(value) <= _LONGEST_TEXT)
PLAIN = Rule("numbers and short texts, in lists and dicts", _is_plain)
DEVICE = Rule(
    "a device",
    lambda value: (
        isinstance(value, str | torch.device)
        and bool(re.fullmatch(_DEVICES, str(value)) or _is_of_own_backend(str(value)))
    ),
)
CODES = Rule(
    "an array of integers of 0 or more",
    lambda value: array("i", 1, 0).accepts(value) and value.dtype == np.intp,
)
COUNTS = Rule(
    "an array of integers of 1 or more",
    lambda value: CODES.accepts(value) and bool(value.min() > 0),
)
ARRIVAL = Rule(
    "an array of integers of 0 or more, each once",
    lambda value: CODES.accepts(value) and _are_keys(value),
)
KEYS = Rule("an array of integers or texts, each once", _are_keys)
LABELS = Rule("an array of ascending labels", _are_labels)
ROWS = array("fiu", 2)
IMAGE_SHAPE = Rule("the shape of an image", _is_shape)
