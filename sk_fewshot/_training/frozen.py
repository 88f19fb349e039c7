"""Parts of a network that training leaves as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import chain

from torch import nn


def freeze(module: nn.Module, patterns: Iterable[str]) -> list[nn.Module]:
    """Take the gradient from all parameters that a pattern names, alone or by a part they are in.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    patterns : iterable of str
        As :mod:`fnmatch` takes them, for the names of parts ("layer1", "layer?.*") and parameters.

    Returns
    -------
    list of nn.Module
        The parts that were named.

    Raises
    ------
    ValueError
        If a pattern names nothing.
    """
    named: list[nn.Module] = []
    for pattern in patterns:
        parts = [part for name, part in module.named_modules() if _matches(name, pattern)]
        alone = [p for name, p in module.named_parameters() if _matches(name, pattern)]
        if not parts and not alone:
            raise ValueError(
                f"frozen has {pattern!r}, which names no part of {type(module).__name__}; its "
                f"parts are {', '.join(name for name, _ in module.named_children()) or 'none'}."
            )
        for parameter in chain(alone, *(part.parameters() for part in parts)):
            parameter.requires_grad_(False)
        named += parts
    return named


def _matches(name: str, pattern: object) -> bool:
    if not isinstance(pattern, str):
        raise ValueError(f"frozen must hold patterns of type str, got {pattern!r}.")
    return bool(name) and fnmatchcase(name, pattern)


def without_gradient(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest parts that have parameters of which none learns."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield module
    elif parameters:
        for child in module.children():
            yield from without_gradient(child)
