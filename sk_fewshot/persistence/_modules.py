"""Modules: what they were made from, making them again, and their state."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._known import LAYERS

_LIMITS_OF_FEATURES = ("scale.minimum", "scale.maximum")  # of an MLP: infinite before training


def constructor_arguments(made: object) -> dict[str, Any]:
    """What one of `OBJECTS` was made from: its attributes of the same names.

    An argument is kept with a leading underscore where its name means something else.
    """
    if type(made) is nn.Sequential:
        return {"layers": dict(made._modules)}  # one may occur twice
    names = [
        p.name
        for p in inspect.signature(type(made)).parameters.values()
        if p.name not in ("device", "dtype") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    arguments = {name: vars(made).get(f"_{name}", getattr(made, name)) for name in names}
    if type(made) in LAYERS.values() and "bias" in arguments:
        arguments["bias"] = arguments["bias"] is not None
    return arguments


def make_object(cls: type, arguments: dict[str, Any]) -> Any:
    """Make one of `OBJECTS`."""
    if cls is nn.Sequential:
        return nn.Sequential(OrderedDict(arguments["layers"]))
    return cls(**arguments)


def modules_within(value: Any) -> list[nn.Module]:
    """The modules among constructor arguments."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, Mapping):
        return [module for item in value.values() for module in modules_within(item)]
    return []


def own_state(module: nn.Module, parts: Iterable[nn.Module]) -> dict[str, Tensor]:
    """The state of a module without that of the modules that it was made from."""
    inside = {id(part) for part in parts}
    named = module.named_modules(remove_duplicate=False)
    prefixes = tuple(f"{name}." for name, m in named if id(m) in inside)
    state = module.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


def with_state(
    make: Callable[[], nn.Module],
    state: dict[str, Tensor],
    parts: Iterable[nn.Module],
    *,
    trusted: bool,
) -> nn.Module:
    """Make a module and give it its state; `parts` have theirs already.

    It is made without memory and takes over the tensors of the state, so that sizes that the state
    does not have cost nothing. Only a class that the caller vouches for may be unable to.
    """
    if trusted:
        return _with_copied_state(make, state).eval()
    with torch.device("meta"), _NoStart():
        module = make()
    expected = own_state(module, parts)
    _check_state(expected, state)
    _check_numbers(module, state)
    laid_out = {name: _with_strides_of(expected[name], tensor) for name, tensor in state.items()}
    module.load_state_dict(laid_out, strict=False, assign=True)
    if any(tensor.is_meta for tensor in chain(module.parameters(), module.buffers())):
        raise InvalidFileError("a module has tensors that are not in its state.")
    return module.eval()


class _NoStart(TorchFunctionMode):
    """Leaves out `torch.nn.init`, which on tensors without memory imports torch's compiler."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (*args, *(kwargs or {}).values())[0]
        return func(*args, **(kwargs or {}))


def _with_copied_state(make: Callable[[], nn.Module], state: dict[str, Tensor]) -> nn.Module:
    try:
        with torch.device("meta"), _NoStart():
            rehearsal = make()
    except Exception:  # it computes with its weights
        pass
    else:
        _check_state(rehearsal.state_dict(), state)
    module = make().cpu()
    _check_state(module.state_dict(), state)
    module.load_state_dict(state)
    return module


def _check_state(expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    if expected.keys() != state.keys():
        differing = sorted(expected.keys() ^ state.keys())
        raise InvalidFileError(f"a module and its tensors differ in {differing[:3]}.")
    for name, tensor in expected.items():
        got = state[name]
        if (tensor.dtype, tensor.shape) != (got.dtype, got.shape):
            raise InvalidFileError(
                f"the tensor {name} of a module must be {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}, got {got.dtype} of shape {tuple(got.shape)}."
            )


def _check_numbers(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Check that there are numbers to compute with, as training leaves them."""
    for name, tensor in state.items():
        if not tensor.numel():
            raise InvalidFileError(f"the tensor {name} of a module is empty.")
        if not tensor.is_floating_point() or name.endswith(_LIMITS_OF_FEATURES):
            continue
        if not -torch.inf < float(tensor.min()) <= float(tensor.max()) < torch.inf:
            raise InvalidFileError(f"the tensor {name} of a module is not finite.")
        if name.endswith("running_var") and tensor.min() < 0:
            raise InvalidFileError(f"the tensor {name} of a module is negative.")


def _with_strides_of(like: Tensor, tensor: Tensor) -> Tensor:
    if like.stride() == tensor.stride():
        return tensor
    return torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype).copy_(tensor)
