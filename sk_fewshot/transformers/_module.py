"""From the `module` parameter to an encoder module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import nn


def build_loss(
    loss: nn.Module | Callable[..., nn.Module], n_classes: int, embedding_shape: tuple[int, ...]
) -> nn.Module:
    """Make a loss from an estimator's `loss` parameter, as :func:`build_module` makes a module."""
    offers = {"n_classes": n_classes, "embedding_dim": prod(embedding_shape)}
    return build_module(loss, None, offers, name="loss")


def build_module(
    module: nn.Module | Callable[..., nn.Module],
    params: Mapping[str, Any] | None,
    offers: Mapping[str, Any],
    *,
    name: str = "module",
) -> nn.Module:
    """Make an encoder, or a loss.

    Parameters
    ----------
    module : nn.Module or callable
        An instance is copied; a class or function is called.
    params : mapping or None
        Arguments of the call.
    offers : mapping
        Further arguments, passed where the callable names them and `params` does not; a None is
        not offered.
    name : str, default="module"
        The estimator's parameter, for errors.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        If the call does not return an nn.Module.
    ValueError
        If `params` are given for an instance.
    """
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"module_params must be None when module is an instance, got {params!r}."
            )
        return copy.deepcopy(module)
    named = inspect.signature(module).parameters
    offered = {k: v for k, v in offers.items() if k in named and v is not None}
    built = module(**{**offered, **(params or {})})
    if not isinstance(built, nn.Module):
        raise TypeError(f"{name} must make an nn.Module, got {type(built).__name__}.")
    return built


def output_shape(
    module: nn.Module, input_shape: tuple[int, ...], device: torch.device
) -> tuple[int, ...]:
    """Shape of the module's output for one example, found by encoding two blank ones.

    Raises
    ------
    TypeError
        If the module does not return a floating point tensor.
    ValueError
        If the module does not return one embedding for each example.
    """
    module.eval()
    with torch.no_grad():
        output = module(torch.zeros(2, *input_shape, device=device))
    name = type(module).__name__
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        got = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
        raise TypeError(f"module {name} must return a floating point tensor, got {got}.")
    if output.ndim < 2 or len(output) != 2:
        raise ValueError(
            f"module {name} must return one embedding for each example, shape (2, embedding_dim) "
            f"for input of shape {(2, *input_shape)}, got {tuple(output.shape)}."
        )
    return tuple(output.shape[1:])
