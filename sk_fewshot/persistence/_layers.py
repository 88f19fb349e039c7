"""What layers make of an example: its shape and type, and the products that takes.

By arithmetic alone, since a pass on torch's device "meta" imports its compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import nn

from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.persistence._container import InvalidFileError

Shape = tuple[int, ...]
Visit = Callable[[Shape, Shape, float], None]

_STEPS = 10  # products in whose time one step is taken that is no matrix product, as in pooling


def passed_through(
    module: nn.Module, shape: Shape, dtype: torch.dtype, visit: Visit
) -> tuple[Shape, torch.dtype]:
    """Return shape and type of an example after a module of known layers.

    Parameters
    ----------
    module : nn.Module
    shape : tuple of int
        Of the example, with neither rows nor batches.
    dtype : torch.dtype
    visit : callable
        Is told, layer by layer, the shape before, the shape after, and the products it took.

    Raises
    ------
    InvalidFileError
        If a layer does not take what comes to it, or is unknown.
    """
    if isinstance(module, nn.Sequential):
        for layer in module:
            shape, dtype = passed_through(layer, shape, dtype, visit)
        return shape, dtype
    if isinstance(module, Conv4):
        _check(module, shape == module.image_shape, shape)
        shape, dtype = passed_through(module.blocks, shape, dtype, visit)
        return passed_through(module.head, (prod(shape),), dtype, visit)
    if isinstance(module, MLP):
        _check(module, shape == (module.n_features,), shape)
        visit(shape, (module.embedding_dim,), sum(w.numel() for w in module.parameters()))
        return (module.embedding_dim,), torch.promote_types(dtype, module.rotation.weight.dtype)
    if type(module) not in _AFTER:
        raise InvalidFileError(f"a module has a {type(module).__name__}, which is no layer.")
    types = {parameter.dtype for parameter in (*module.parameters(), *module.buffers())}
    _check(module, types <= {dtype, torch.int64}, dtype)
    after = _AFTER[type(module)](module, shape)
    _check(module, min(after, default=1) > 0, shape)
    visit(shape, after, prod(after) * _products(module, shape))
    return after, dtype


def _check(layer: nn.Module, fits: bool, given: Any) -> None:
    if not fits:
        raise InvalidFileError(f"a {type(layer).__name__} of a module does not take {given}.")


def _products(layer: Any, shape: Shape) -> float:
    """Products for one number of a layer's output."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return layer.weight[0].numel()
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return _STEPS * prod(_pair(layer.kernel_size))
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return _STEPS * prod(shape[1:])
    return _STEPS


def _unchanged(layer: Any, shape: Shape) -> Shape:
    return shape


def _after_batch_norm(layer: Any, shape: Shape) -> Shape:
    sides = (1, 2) if isinstance(layer, nn.BatchNorm1d) else (3,)
    _check(layer, len(shape) in sides and shape[0] == layer.num_features, shape)
    return shape


def _after_layer_norm(layer: Any, shape: Shape) -> Shape:
    sides = tuple(layer.normalized_shape)
    _check(layer, shape[len(shape) - len(sides) :] == sides, shape)
    return shape


def _after_linear(layer: Any, shape: Shape) -> Shape:
    _check(layer, shape[-1:] == (layer.in_features,), shape)
    return (*shape[:-1], layer.out_features)


def _after_flatten(layer: Any, shape: Shape) -> Shape:
    n = len(shape) + 1  # with the rows
    first, last = (at + n if at < 0 else at for at in (layer.start_dim, layer.end_dim))
    _check(layer, 1 <= first <= last < n, shape)
    return (*shape[: first - 1], prod(shape[first - 1 : last]), *shape[last:])


def _after_unflatten(layer: Any, shape: Shape) -> Shape:
    at = layer.dim + len(shape) + 1 if layer.dim < 0 else layer.dim
    sizes = tuple(layer.unflattened_size)
    _check(layer, 1 <= at <= len(shape) and min(sizes) >= 1, shape)
    _check(layer, prod(sizes) == shape[at - 1], shape)
    return (*shape[: at - 1], *sizes, *shape[at:])


def _after_adaptive_pooling(layer: Any, shape: Shape) -> Shape:
    _check(layer, len(shape) == 3, shape)
    sides = _pair(layer.output_size)
    return (shape[0], *(old if new is None else new for new, old in zip(sides, shape[1:])))


def _after_pooling(layer: Any, shape: Shape) -> Shape:
    _check(layer, len(shape) == 3 and not getattr(layer, "return_indices", False), shape)
    dilation = _pair(getattr(layer, "dilation", 1))
    windows = zip(
        shape[1:], *map(_pair, (layer.kernel_size, layer.stride, layer.padding)), dilation
    )
    sides = []
    for side, kernel, stride, padding, spread in windows:
        _check(layer, min(kernel, stride, spread) > 0, shape)
        _check(layer, 2 * padding <= spread * (kernel - 1) + 1 and 2 * padding <= kernel, shape)
        rest = side + 2 * padding - spread * (kernel - 1) - 1
        _check(layer, rest >= 0, shape)
        after = (-(-rest // stride) if layer.ceil_mode else rest // stride) + 1
        last = (after - 1) * stride  # where the last window begins: within side and padding
        sides.append(after - (layer.ceil_mode and last >= side + padding))
    return (shape[0], *sides)


def _after_convolution(layer: Any, shape: Shape) -> Shape:
    _check(layer, len(shape) == 3 and shape[0] == layer.in_channels, shape)
    sides = []
    for i, side in enumerate(shape[1:]):
        kernel, stride, spread = layer.kernel_size[i], layer.stride[i], layer.dilation[i]
        reach = spread * (kernel - 1)
        if layer.padding == "same":
            padding = reach
        elif layer.padding == "valid":
            padding = 0
        else:
            padding = 2 * layer.padding[i]
        _check(layer, min(kernel, stride, spread) > 0, shape)
        _check(layer, layer.padding_mode == "zeros" or padding <= 2 * (side - 1), shape)
        _check(layer, side + padding > reach, shape)
        sides.append((side + padding - reach - 1) // stride + 1)
    return (layer.out_channels, *sides)


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


_AFTER: dict[type, Callable[[Any, Shape], Shape]] = {
    nn.AdaptiveAvgPool2d: _after_adaptive_pooling,
    nn.AvgPool2d: _after_pooling,
    nn.BatchNorm1d: _after_batch_norm,
    nn.BatchNorm2d: _after_batch_norm,
    nn.Conv2d: _after_convolution,
    nn.Dropout: _unchanged,
    nn.Flatten: _after_flatten,
    nn.Identity: _unchanged,
    nn.LayerNorm: _after_layer_norm,
    nn.Linear: _after_linear,
    nn.MaxPool2d: _after_pooling,
    nn.ReLU: _unchanged,
    nn.Tanh: _unchanged,
    nn.Unflatten: _after_unflatten,
}
