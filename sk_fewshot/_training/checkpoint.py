"""The whole state of a training in one file, after each epoch."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.utils._pytree import tree_map_only

from sk_fewshot._training.attributes import Attributes
from sk_fewshot._training.fingerprint import digest
from sk_fewshot._training.net import EncoderNet
from sk_fewshot._utils.files import open_regular, remove_leftovers, write_atomically
from sk_fewshot._utils.memory import out_of_memory_as_such
from sk_fewshot._utils.warn import warn_caller
from sk_fewshot._version import __version__

_HEAD = b"sk_fewshot checkpoint 1 "
_SEALED = len(_HEAD) + 2 * hashlib.sha256().digest_size + 1  # up to the end of the first line


class Checkpoint(Callback):
    """Writes the state of a training after each epoch, and at its start goes on from the file.

    It must be the last callback, as it also keeps what the others remember: by skorch's convention,
    their attributes that end in an underscore. The file is a line with a checksum, then what
    `torch.save` writes and `torch.load` reads without running anything; unlike safetensors that
    keeps the memory layout of the optimizer's state, which its fused step relies on.

    Parameters
    ----------
    path : path-like
        Its folder must exist.
    training : dict of str
        Tells trainings apart: names of what a training depends on, with a digest each.
    random_state : int
        The seed of this training, unless the file has another in store.
    augment : callable or None
        What changes the batches.

    Attributes
    ----------
    random_state : int
        The seed to train with.
    n_epochs : int
        Epochs that were run before.

    Raises
    ------
    ValueError
        If the file is damaged, or of another training; or if module, loss or augmentation keep
        something that changes as they train and that a file cannot hold.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        If it was written with another major.minor version of torch or of this package.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        training: Mapping[str, str],
        random_state: int,
        augment: Callable | None = None,
    ):
        self.path = Path(os.path.realpath(path))
        self.training = dict(training)
        self.random_state = random_state
        self.augment = augment
        self.n_epochs = 0
        self.finished = False
        self._state: dict[str, Any] | None = None
        self._last_line: bytes | None = None
        remove_leftovers(self.path)
        if self.path.exists():
            self._last_line, self._state = _unsealed(self.path)
            self._check_same_training(self._state)
            self.random_state = self._state["random_state"]
            self.n_epochs = len(self._state["history"])
            self.finished = self._state["finished"]

    def n_epochs_left(self, max_epochs: int) -> int:
        """Epochs that are still to be run."""
        return 0 if self.finished else max_epochs - self.n_epochs

    def on_train_begin(self, net, **kwargs):
        """Go on from the file; without one, write it, so that a wrong path costs no epoch."""
        module, loss = (getattr(learner, "_orig_mod", learner) for learner in net.learners)
        self._attributes = {
            "module": Attributes(module, without_state=True),
            "loss": Attributes(loss, without_state=True),
            "augment": Attributes(self.augment, without_state=False),
        }
        if self._state is None:
            self._write(net)
            return
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        try:
            _restore(net, self._state)
            for name, attributes in self._attributes.items():
                attributes.update(self._state["attributes"][name], device)
        except (AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds another training, whose module, loss or "
                f"optimizer is made otherwise: {error}"
            ) from error
        self._state = None

    def on_epoch_end(self, net, **kwargs):
        """Write the state."""
        self._write(net)

    def on_train_end(self, net, **kwargs):
        """Write that the training is finished."""
        if not self.finished:
            self.finished = True
            self._write(net)

    def _write(self, net: EncoderNet) -> None:
        if not net.writes_files:
            return
        state = {
            "training": self.training,
            "versions": _versions(),
            "random_state": self.random_state,
            "finished": self.finished,
            "attributes": {name: _kept(name, a) for name, a in self._attributes.items()},
            **_state_of(net),
        }
        first_line, content = _sealed(state)
        try:
            if _first_line(self.path) not in (None, self._last_line):
                raise ValueError(
                    f"checkpoint={str(self.path)!r} has meanwhile been written by another "
                    "training; each needs a path of its own."
                )
            write_atomically(self.path, [first_line, content])
        except OSError as error:
            raise OSError(
                error.errno, f"The checkpoint cannot be written: {error.strerror}", str(self.path)
            ) from error
        self._last_line = first_line

    def _check_same_training(self, state: dict[str, Any]) -> None:
        theirs = state["training"]
        names = {**self.training, **theirs}
        if others := [n for n in names if self.training.get(n) != theirs.get(n)]:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds another training, which differs in "
                f"{', '.join(others)}. Pass another path, or delete the file to train anew."
            )
        if state["versions"] != _versions():
            warn_caller(
                f"checkpoint={str(self.path)!r} was written with {state['versions']}, here are "
                f"{_versions()}: the weights may differ from those of one uninterrupted training."
            )


def _versions() -> dict[str, str]:
    versions = {"sk_fewshot": __version__, "torch": str(torch.__version__)}
    return {name: ".".join(version.split(".")[:2]) for name, version in versions.items()}


def _state_of(net: EncoderNet) -> dict[str, Any]:
    module, loss = net.learners
    return {
        "module": module.state_dict(),
        "loss": loss.state_dict(),
        "learns": [[p.requires_grad for p in learner.parameters()] for learner in net.learners],
        "optimizer": net.optimizer_.state_dict(),
        "callbacks": {name: _remembered(callback) for name, callback in net.callbacks_},
        "history": _plain(list(net.history)),
    }


def _restore(net: EncoderNet, state: dict[str, Any]) -> None:
    for learner, weights in zip(net.learners, (state["module"], state["loss"]), strict=True):
        learner.load_state_dict(weights)
    for learner, learns in zip(net.learners, state["learns"], strict=True):
        for parameter, requires_grad in zip(learner.parameters(), learns, strict=True):
            parameter.requires_grad_(requires_grad)  # as a callback had it
    net.optimizer_.load_state_dict(state["optimizer"])
    net.history.extend(state["history"])
    for name, callback in net.callbacks_:
        for attribute, value in state["callbacks"].get(name, {}).items():
            held: Any = getattr(callback, attribute, None)
            if hasattr(held, "load_state_dict"):  # the schedule of a learning rate
                held.load_state_dict(value)
            else:
                setattr(callback, attribute, value)


def _kept(name: str, attributes: Attributes) -> dict[str, Any]:
    """What has changed, as far as it is data; ValueError for anything else."""
    kept = {}
    for attribute, value in attributes.changed().items():
        with suppress(TypeError):
            kept[attribute] = _plain(value)
        if attribute not in kept or digest(kept[attribute]) != digest(value):
            within = f"in its attribute {attribute!r} " if attribute else ""
            raise ValueError(
                f"{name} changes {within}as it trains, to {value!r:.80}, which a checkpoint cannot "
                "hold: only numbers, text, tensors and lists, tuples and dicts of these. Keep it "
                "so, or in buffers (randomness from torch's own generator needs neither), or pass "
                "checkpoint=None."
            )
    return kept


def _remembered(callback: Callback) -> dict[str, Any]:
    """What a callback has learned, as far as it is data."""
    remembered = {}
    for name, value in vars(callback).items():
        if name.endswith("_"):
            with suppress(TypeError):  # a class or function, which `initialize` makes again
                remembered[name] = (
                    value.state_dict() if hasattr(value, "state_dict") else _plain(value)
                )
    return remembered


def _plain(value: Any) -> Any:
    """Return data as tensors and objects of Python's own; TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_plain(item) for item in value])
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    raise TypeError(f"A checkpoint holds numbers, text and tensors, got {value!r}.")


def _sealed(state: dict[str, Any]) -> tuple[bytes, memoryview]:
    """Return the first line of a file and what follows it."""
    buffer = io.BytesIO()
    with out_of_memory_as_such():
        torch.save(tree_map_only(Tensor, Tensor.cpu, state), buffer)
        buffer.seek(0)
        if unsafe := torch.serialization.get_unsafe_globals_in_checkpoint(buffer):
            raise TypeError(
                "A checkpoint holds numbers, text and tensors, but the state of the module, loss, "
                f"optimizer or callbacks has {', '.join(sorted(unsafe))}."
            )
    return _line_of(buffer), buffer.getbuffer()


def _line_of(content: io.BytesIO) -> bytes:
    return _HEAD + hashlib.sha256(content.getbuffer()).hexdigest().encode() + b"\n"


def _unsealed(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the first line of a file and the state that it holds."""
    with open_regular(path) as file:
        line, content = file.read(_SEALED), io.BytesIO(file.read())
    try:
        if line != _line_of(content):
            raise ValueError("its checksum differs.")
        with out_of_memory_as_such():
            return line, torch.load(content, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"checkpoint={str(path)!r} is damaged or not a checkpoint of this version: {error} "
            "Pass another path, or delete the file to train anew."
        ) from error


def _first_line(path: Path) -> bytes | None:
    try:
        with open_regular(path) as file:
            return file.read(_SEALED)
    except FileNotFoundError:
        return None
