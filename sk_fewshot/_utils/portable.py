"""Modules whose pickle depends on their content only."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.grad_mode import inference_mode


def portable(module: nn.Module) -> nn.Module:
    """Return a copy to be pickled, whose parameters and buffers become arrays on the way.

    torch writes the address of a tensor into its pickle. So two equal modules would differ for
    joblib, and ``Pipeline(memory=...)`` would fit each anew. What is unpickled is like `module`
    again, on the CPU.
    """
    module = on_cpu(module)
    tensors = chain(module.parameters(), module.buffers())
    plain = (t for t in tensors if type(t) in (Tensor, nn.Parameter) and _is_plain(t))
    return copy.deepcopy(module, {id(tensor): _Portable.of(tensor) for tensor in plain})


def on_cpu(module: nn.Module) -> nn.Module:
    """Return a module, or a copy of it on the CPU where it is on another device."""
    tensors = chain(module.parameters(), module.buffers())
    if all(tensor.device.type in ("cpu", "meta") for tensor in tensors):
        return module
    return copy.deepcopy(module).cpu()


def _is_plain(tensor: Tensor) -> bool:
    """Whether there is nothing to a tensor but numbers in memory."""
    return tensor.layout is torch.strided and not tensor.is_meta and not vars(tensor)


@inference_mode(False)
def leave_inference_mode(module: nn.Module) -> None:
    """Replace tensors that were made inside ``torch.inference_mode``, and so cannot learn."""
    made: dict[int, Tensor] = {}
    for part in module.modules():
        of_part: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for held in of_part:
            for name, tensor in held.items():
                if tensor is None or not tensor.is_inference():
                    continue
                if id(tensor) not in made:
                    made[id(tensor)] = _like(tensor)
                held[name] = made[id(tensor)]


def _like(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, tensor.requires_grad)
    return copied.requires_grad_(tensor.requires_grad)


class _Portable(Tensor):
    """A tensor that is pickled, and copied, as the tensor or parameter that it was made of."""

    made_of: type[Tensor]
    learns: bool

    @classmethod
    def of(cls, tensor: Tensor) -> _Portable:
        made = tensor.detach().as_subclass(cls)
        made.made_of, made.learns = type(tensor), tensor.requires_grad
        return made

    def __reduce_ex__(self, protocol: Any) -> tuple:
        tensor = self.as_subclass(Tensor).cpu()
        strides = torch.empty_like(tensor, device="meta").stride()  # without gaps or overlaps
        content = tensor.reshape(-1).view(torch.uint8).numpy()
        layout = tensor.dtype, tuple(tensor.shape), strides
        return _tensor, (content, *layout, self.made_of, self.learns)

    def __deepcopy__(self, memo: dict) -> Tensor:
        make, arguments = self.__reduce_ex__(4)
        return memo.setdefault(id(self), make(*arguments))


@inference_mode(False)
def _tensor(
    content: NDArray[np.uint8],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    cls: type[Tensor],
    learns: bool,
) -> Tensor:
    """Return a tensor with memory of its own, as what was pickled may be read-only."""
    made = torch.empty_strided(shape, strides, dtype=dtype)
    if content.size:
        made.copy_(torch.tensor(content).view(dtype).reshape(shape))
    return nn.Parameter(made, learns) if cls is nn.Parameter else made.requires_grad_(learns)
