"""What a module or an augmentation keeps beside its `state_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sk_fewshot._training.fingerprint import digest

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


class Attributes:
    """Attributes of an object, and which of them change.

    Parameters
    ----------
    owner : object
        As it is before training. Of a module, all parts count.
    without_state : bool
        Leave out what is in its `state_dict`.
    """

    def __init__(self, owner: Any, *, without_state: bool):
        self._owner = owner
        self._without_state = without_state
        self._first = {name: digest for name, (digest, _) in self._found().items()}

    def changed(self) -> dict[str, Any]:
        """Return what is no longer as it was, by name ("part.attribute")."""
        return {n: v for n, (found, v) in self._found().items() if self._first.get(n) != found}

    def update(self, values: Mapping[str, Any], device: torch.device) -> None:
        """Set what :meth:`changed` returned, tensors on a device.

        Raises
        ------
        AttributeError
            If the owner has no such part.
        """
        for path, value in values.items():
            part, _, name = path.rpartition(".")
            owner = self._owner.get_submodule(part) if part else self._owner
            setattr(owner, name, _moved(value, device))

    def _found(self) -> dict[str, tuple[str, Any]]:
        """Digest and value of each attribute."""
        if not isinstance(self._owner, nn.Module):
            values = getattr(self._owner, "__dict__", None) or {"": self._owner}
            return {name: (digest(value), value) for name, value in values.items()}
        module, found = self._owner, {}
        stored = frozenset(map(id, module.state_dict(keep_vars=True).values()))
        known = frozenset(map(id, module.modules())) | (stored if self._without_state else set())
        for part_name, part in module.named_modules():
            tensors = chain(part._parameters.items(), part._buffers.items())
            own = {k: v for k, v in vars(part).items() if k not in _OF_EVERY_MODULE}
            for name, value in chain(own.items(), tensors):
                if id(value) not in known:
                    path = f"{part_name}.{name}".removeprefix(".")
                    found[path] = digest(value, known), value
        return found


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_moved(item, device) for item in value])
    return value
