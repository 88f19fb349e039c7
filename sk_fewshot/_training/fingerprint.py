"""Whether two trainings are the same: digests of arrays, parameters and code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.rows import Rows

_ROWS = 4096  # hashed at once, so that a memory map is never read whole


def digest(value: Any, known: frozenset[int] = frozenset()) -> str:
    """SHA-256 of what a value is, the same in every process; objects with `known` ids do not count.

    Functions count by name, code, defaults and what they enclose; classes by name; other objects by
    their class and their attributes, without those that end in an underscore, which are no
    parameters.
    """
    return hashlib.sha256(json.dumps(_described(value, known)).encode()).hexdigest()


def digest_of_rows(X: NDArray | Rows) -> str:
    """SHA-256 of an array's type, shape and numbers."""
    sha = hashlib.sha256(f"{X.dtype.str} {X.shape}".encode())
    for start in range(0, len(X), _ROWS):
        sha.update(np.ascontiguousarray(X[start : start + _ROWS]).data.cast("B"))
    return sha.hexdigest()


def _described(value: Any, around: frozenset[int]) -> Any:
    """Turn a value into JSON; `around` are objects that it lies within, or that do not count."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return digest_of_rows(np.atleast_1d(value))
    if id(value) in around:
        return "itself"
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), _digest_of_tensor(value)]
    if isinstance(value, type):
        return _name(value)
    within = around | {id(value)}
    if isinstance(value, Mapping):
        items = {repr(_described(k, within)): _described(v, within) for k, v in value.items()}
        return [_name(type(value)), sorted(items.items())]
    if isinstance(value, list | tuple):
        return [_described(item, within) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_described(item, within)) for item in value)
    if isinstance(value, FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = [value.__defaults__, value.__kwdefaults__, enclosed]
        return [_name(value), *_described_code(value.__code__), _described(parts, within)]
    return _described_object(value, within)


def _described_object(value: Any, within: frozenset[int]) -> Any:
    """Describe an object by what pickle would keep of it, as far as that goes."""
    try:
        reduced = value.__reduce_ex__(4)
    except (RuntimeError, TypeError):  # a lock, a generator, an open file
        return _name(type(value))
    if isinstance(reduced, str):  # a global, by name
        return [getattr(value, "__module__", None), reduced]
    make, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    if isinstance(state, dict):
        state = {k: v for k, v in state.items() if not str(k).endswith("_")}
    parts = [make, arguments, state, list(items or ()), list(pairs or ())]
    return [_name(type(value)), _described(parts, within)]


def _described_code(code: CodeType) -> list[Any]:
    constants = [
        _described_code(c) if isinstance(c, CodeType) else _described(c, frozenset())
        for c in code.co_consts
    ]
    return [code.co_code.hex(), constants, code.co_names]


def _digest_of_tensor(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
