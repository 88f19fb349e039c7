"""Switches: torch's grad mode, inference mode, autocast and defaults, scikit-learn's settings.

What is computed here does not depend on how the caller has set them, and they are afterwards as
they were, whatever happens inside. An interrupt can come between any two steps of Python code, also
those of torch's own context managers: what is entered and left below is so in one step of C code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from sklearn._config import _get_threadlocal_config
from torch import Tensor
from torch.autograd import grad_mode
from torch.overrides import TorchFunctionMode

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_AS_IT_IS: Any = nullcontext()


def inference_mode() -> Any:
    """Return :func:`torch.inference_mode`, entered and left in a single step.

    Or what stands in its place, as where tensors are written in Python, which it cannot hold.
    """
    if torch.inference_mode is grad_mode.inference_mode:
        return torch._C._InferenceMode(True)
    return torch.inference_mode()


def restoring(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let grad mode, scikit-learn's settings and filters of warnings be afterwards as they were.

    So is what numpy warns of: it is a context variable, and the function has a context of its own.
    """

    @wraps(function)
    def restored(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        grad, config, filters = torch.is_grad_enabled(), _get_threadlocal_config(), warnings.filters
        were = config.copy()
        try:
            try:
                return copy_context().run(function, *args, **kwargs)
            finally:
                config.update(were)
        except KeyboardInterrupt:  # only the main thread has these
            warnings.filters = filters
            raise
        finally:
            torch._C._set_grad_enabled(grad)

    return restored


def whatever_the_switches(
    function: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Let a function compute as by torch's switches at their start: with gradients, in float32.

    Autocast is off, and new tensors are on the CPU unless they say where else.
    """

    @restoring
    @wraps(function)
    def computed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        casting = _autocasting()
        try:
            for kind in casting:
                torch.set_autocast_enabled(kind, False)
            with torch._C._InferenceMode(False), _on_cpu(), _in_float32():
                torch._C._set_grad_enabled(True)
                return function(*args, **kwargs)
        finally:
            for kind in casting:
                torch.set_autocast_enabled(kind, True)

    return computed


def _autocasting() -> list[str]:
    """Return the kinds of devices for which autocast is on."""
    accelerator = torch.accelerator.current_accelerator()
    kinds = ["cpu"] if accelerator is None else ["cpu", accelerator.type]
    return [kind for kind in kinds if torch.is_autocast_enabled(kind)]


def _on_cpu() -> Any:
    """Return what makes the CPU the default device; one is set as a mode of all functions."""
    return torch.device("cpu") if torch._C._len_torch_function_stack() else _AS_IT_IS


def _in_float32() -> Any:
    return _AS_IT_IS if torch.get_default_dtype() is torch.float32 else _Float32()


class _Float32(TorchFunctionMode):
    """Makes tensors of float32 where torch's default type is another one.

    That is global, and other threads may need it as it is.
    """

    def __torch_function__(
        self, function: Callable, types: Any, args: Any = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        typed = any(isinstance(a, Tensor | np.ndarray | np.generic) for a in args)
        if typed or kwargs.get("dtype") is not None or kwargs.get("out") is not None:
            return function(*args, **kwargs)
        in_float32 = partial(function, *args, **{**kwargs, "dtype": torch.float32})
        if function in _OF_DEFAULT_TYPE:
            return in_float32()
        made = function(*args, **kwargs)
        by_default = function in _OF_TYPE_OF_NUMBERS and made.dtype is torch.get_default_dtype()
        return in_float32() if by_default else made


_OF_DEFAULT_TYPE = {
    torch.empty,
    torch.empty_permuted,
    torch.empty_strided,
    torch.eye,
    torch.linspace,
    torch.logspace,
    torch.normal,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.zeros,
}
_OF_TYPE_OF_NUMBERS = {
    torch.arange,
    torch.as_tensor,
    torch.full,
    torch.range,
    torch.scalar_tensor,
    torch.tensor,
}
