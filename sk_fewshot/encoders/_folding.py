"""A network made ready for inference."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import chain
from weakref import WeakKeyDictionary

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
    module = copy.deepcopy(module).eval()
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
                    layer[i] = fuse_conv_bn_eval(first, second)
                    layer[i + 1] = nn.Identity().eval()
    return module


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


_FOLDED: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int]], nn.Module]] = WeakKeyDictionary()


def folded_once(module: nn.Module) -> nn.Module:
    """Like :func:`folded`, but the same copy at every call until the module's weights change."""
    tensors = chain(module.parameters(), module.buffers())
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    if module not in _FOLDED or _FOLDED[module][0] != state:
        _FOLDED[module] = state, folded(module)
    return _FOLDED[module][1]
