"""A network made ready for inference."""

from __future__ import annotations

import copy
import operator
from collections import Counter, OrderedDict
from collections.abc import Iterator
from itertools import chain
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["folded", "folded_once"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CACHE_LINE = 16  # float32 values


def folded(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in eval mode, faster and indifferent to a row's place in the batch.

    A BatchNorm is folded into a convolution that it directly follows inside an ``nn.Sequential``.
    There the order of calls is known without ``torch.fx``, whose tracing disturbs other threads.
    An ``nn.Linear`` pads its input to whole cache lines: otherwise rows start at different offsets
    and some matrix products round them differently. Other layers are copied as they are.

    Parameters
    ----------
    module : nn.Module
        Left unchanged.

    Returns
    -------
    nn.Module
        Equal to ``module.eval()`` up to float rounding.

    Raises
    ------
    TypeError
        If `module` is not an nn.Module.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.encoders import Conv4, folded
    >>> module = Conv4((1, 8, 8)).eval()
    >>> images = torch.rand(2, 1, 8, 8)
    >>> torch.allclose(folded(module)(images), module(images), atol=1e-5)
    True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module, got {type(module).__name__}.")
    module = copy.deepcopy(module)
    _fold(module)
    return module


def _fold(module: nn.Module) -> list[Tensor]:
    """Fold in place; return the tensors that BatchNorm was folded from."""
    module.eval()
    used: list[Tensor] = []
    uses = Counter(id(child) for _, child in module.named_modules(remove_duplicate=False))
    for layer in list(module.modules()):
        if type(layer) is nn.Linear and layer.in_features % CACHE_LINE:
            layer.__class__ = _AlignedLinear
        elif type(layer) is nn.Sequential:
            for i in range(len(layer) - 1):
                first, second = layer[i], layer[i + 1]
                if (
                    isinstance(first, CONVOLUTIONS)
                    and isinstance(second, BATCH_NORMS)
                    and second.running_var is not None
                    and all(uses[id(child)] == 1 and _is_plain(child) for child in (first, second))
                ):
                    used += [t for part in (first, second) for t in _tensors(part)]
                    layer[i] = fuse_conv_bn_eval(first, second)
                    layer[i + 1] = nn.Identity().eval()
    return used


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _is_plain(layer: nn.Module) -> bool:
    """Whether the layer is torch's own, neither parametrised nor watched by hooks."""
    return type(layer) in (*CONVOLUTIONS, *BATCH_NORMS) and not (
        layer._forward_hooks or layer._forward_pre_hooks
    )


class _AlignedLinear(nn.Linear):
    """nn.Linear on rows that all start at a cache line."""

    def forward(self, input: Tensor) -> Tensor:
        padding = (0, -self.in_features % CACHE_LINE)
        return F.linear(F.pad(input, padding), F.pad(self.weight, padding), self.bias)


class _Folded:
    """A module folded once, as long as it stays as it was.

    The copy shares with the module what is not folded: its tensors, and objects that are its
    attributes. So it follows what is changed in these. What is folded, and how the module is made
    up, is compared with how it was.
    """

    def __init__(self, module: nn.Module):
        self._root = module
        self._were = [
            (part, type(part), _as_it_is(vars(part)), tuple(_own_tensors(part)))
            for part in module.modules()
        ]
        self.module = _twin(module)
        self._used = [(tensor, tensor.detach().clone()) for tensor in _fold(self.module)]

    def is_current(self, module: nn.Module) -> bool:
        return (
            module is self._root
            and all(_is_made_up_as(*was) for was in self._were)
            and all(_is_same(tensor, was) for tensor, was in self._used)
        )


def _as_it_is(value: Any) -> Any:
    """Copy containers, not what they hold."""
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _as_it_is(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(map(_as_it_is, value))
    return value


def _is_made_up_as(part: nn.Module, cls: type, attributes: dict, tensors: tuple) -> bool:
    try:
        same = vars(part) == attributes  # identical, or equal
    except (RuntimeError, TypeError, ValueError):  # arrays are compared number by number
        return False
    return same and type(part) is cls and all(map(operator.is_, _own_tensors(part), tensors))


def _own_tensors(part: nn.Module) -> Iterator[Tensor | None]:
    return chain(part._parameters.values(), part._buffers.values())


def _is_same(tensor: Tensor, was: Tensor) -> bool:
    alike = tensor.dtype is was.dtype and tensor.device == was.device
    return alike and torch.equal(tensor, was)


def _twin(module: nn.Module) -> nn.Module:
    """Copy a module and its parts, not their tensors and other attributes."""
    twins: dict[int, nn.Module] = {}
    for part in module.modules():
        twins[id(part)] = object.__new__(type(part))
    for part in module.modules():
        vars(twins[id(part)]).update((k, _of_twins(v, twins)) for k, v in vars(part).items())
    return twins[id(module)]


def _of_twins(value: Any, twins: dict[int, nn.Module]) -> Any:
    """Return a value with twins in place of modules, the value itself where it has none."""
    made: Any = value
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if type(value) in (dict, OrderedDict):
        made = type(value)((k, _of_twins(v, twins)) for k, v in value.items())
        kept = all(map(operator.is_, made.values(), value.values()))
    elif type(value) in (list, tuple):
        made = type(value)(_of_twins(item, twins) for item in value)
        kept = all(map(operator.is_, made, value))
    elif isinstance(value, MethodType):
        made = MethodType(value.__func__, _of_twins(value.__self__, twins))
        kept = made.__self__ is value.__self__
    else:
        return value
    return value if kept else made


_FOLDED: WeakKeyDictionary[Any, _Folded] = WeakKeyDictionary()


def folded_once(module: nn.Module, owner: Any) -> nn.Module:
    """Like :func:`folded`, but the same copy at every call until something in the module changes.

    Parameters
    ----------
    module : nn.Module
    owner : object
        The copy is kept as long as this lives.
    """
    kept = _FOLDED.get(owner)
    if kept is None or not kept.is_current(module):
        kept = _FOLDED[owner] = _Folded(module)
    return kept.module
