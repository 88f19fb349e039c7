"""The file: safetensors, with the structure as JSON in its metadata and a checksum over both."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

_KEY = "sk_fewshot"  # of the metadata: one entry, as safetensors does not keep the order of several


class InvalidFileError(ValueError):
    """A file that `load` refuses: damaged, hostile, or of classes that it was not given."""


def pack(text: str, tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    text : str
        The structure, as JSON.
    tensors : dict of contiguous CPU tensors
    """
    sealed = f"{checksum(text, tensors)} {text}"
    return safetensors.torch.save(tensors, metadata={_KEY: sealed})


def unpack(content: bytes) -> tuple[Any, dict[str, Tensor]]:
    """Return the structure and the tensors of a file's content.

    Raises
    ------
    Exception
        Of many types, if the content is damaged or malformed.
    """
    tensors = safetensors.torch.load(content)  # checks all lengths and offsets
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    seal, _, text = json.loads(header)["__metadata__"][_KEY].partition(" ")
    if seal != checksum(text, tensors):
        raise InvalidFileError("its checksum differs, so that it was changed since it was saved.")
    return json.loads(text, parse_constant=_no_constant), tensors


def checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the structure and of the tensors with their names, types and shapes."""
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _no_constant(name: str) -> None:
    raise InvalidFileError(f"{name} is not JSON.")
