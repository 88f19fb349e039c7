"""The file: safetensors, with the structure as JSON in its metadata and a checksum over both.

safetensors is eight bytes with the length of a header, the header in JSON, and the numbers of all
tensors one after another. It is read and written here, each tensor into or from the memory that it
stays in, so that a file costs no more than its size and memory that runs out is a MemoryError.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from sk_fewshot._utils.memory import out_of_memory_as_such

_KEY = "sk_fewshot"  # of the metadata
_LONGEST_HEADER = 2**25  # bytes
_LISTS = 1024  # lists and objects in the header, or more where there are
_BYTES_A_LIST = 12  # for each of them: an empty list takes thirty times its text
_MOST_DIMENSIONS = 8
_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class InvalidFileError(ValueError):
    """A file that `load` refuses: damaged, hostile, or of classes that it was not given."""


def pieces(text: str, tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Return the content of a file, piece after piece.

    Parameters
    ----------
    text : str
        The structure, as JSON.
    tensors : dict of contiguous CPU tensors
        They are not copied.

    Raises
    ------
    TypeError
        If a tensor has a type that the file has no name for.
    """
    header: dict[str, Any] = {"__metadata__": {_KEY: f"{checksum(text, tensors)} {text}"}}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    end = 0  # the widest first, so that each begins at a multiple of its width
    for name, tensor in ordered:
        if tensor.dtype not in _NAMES:
            raise TypeError(f"{name} cannot be saved: it is of type {tensor.dtype}.")
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    yield len(encoded).to_bytes(8, "little")
    yield encoded
    for _, tensor in ordered:
        yield _bytes_of(tensor)


def pack(text: str, tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a file; arguments as for :func:`pieces`."""
    return b"".join(pieces(text, tensors))


def read(file: io.BufferedIOBase) -> tuple[Any, dict[str, Tensor]]:
    """Return the structure and the tensors in a file.

    Raises
    ------
    MemoryError
        If memory runs out.
    OSError
        If it cannot be read.
    Exception
        Of many types, if the content is damaged or malformed.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    n_header = int.from_bytes(file.read(8), "little")
    if not 0 < n_header <= min(n_bytes - 8, _LONGEST_HEADER):
        raise InvalidFileError("the length of its header is wrong.")
    header = file.read(n_header)
    if header.count(b"[") + header.count(b"{") > _LISTS + len(header) // _BYTES_A_LIST:
        raise InvalidFileError("it has too many lists.")
    entries = json.loads(header.decode(), parse_constant=_no_constant)
    seal, _, text = entries.pop("__metadata__")[_KEY].partition(" ")
    tensors = _tensors(file, entries, n_bytes - 8 - n_header)
    if seal != checksum(text, tensors):
        raise InvalidFileError("its checksum differs, so that it was changed since it was saved.")
    return json.loads(text, parse_constant=_no_constant), tensors


def unpack(content: bytes) -> tuple[Any, dict[str, Tensor]]:
    """Return the structure and the tensors of a file's content, as :func:`read`."""
    return read(io.BytesIO(content))


def checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the structure and of the tensors with their names, types and shapes."""
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(_bytes_of(tensor))
    return sha.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.as_strided((tensor.numel(),), (1,))  # a side of length 1 may have any stride
    return flat.view(torch.uint8).numpy().data


def _tensors(file: io.BufferedIOBase, entries: Any, n_bytes: int) -> dict[str, Tensor]:
    """Read the tensors, which must lie one after another and fill the rest of the file."""
    laid_out = []
    for name, entry in entries.items():
        if entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise InvalidFileError(f"the tensor {name} is malformed.")
        dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        if len(shape) > _MOST_DIMENSIONS or any(
            type(number) is not int or number < 0 for number in (*shape, begin, end)
        ):
            raise InvalidFileError(f"the tensor {name} is malformed.")
        if end - begin != prod(shape) * dtype.itemsize:
            raise InvalidFileError(f"the tensor {name} has a size that is not its shape's.")
        laid_out.append((begin, end, name, dtype, shape))
    laid_out.sort()
    edges = [0, *(edge for begin, end, *_ in laid_out for edge in (begin, end)), n_bytes]
    if edges[::2] != edges[1::2]:
        raise InvalidFileError("its tensors do not fill it.")
    return {
        name: _tensor(file, end - begin, name, dtype).view(shape)
        for begin, end, name, dtype, shape in laid_out
    }


def _tensor(file: io.BufferedIOBase, n_bytes: int, name: str, dtype: torch.dtype) -> Tensor:
    with out_of_memory_as_such():
        content = torch.empty(n_bytes, dtype=torch.uint8, device="cpu")
    rest = content.numpy().data
    while len(rest):
        n_read = file.readinto(rest)
        if not n_read:
            raise InvalidFileError("it was cut off while it was read.")
        rest = rest[n_read:]
    if dtype is torch.bool and n_bytes and content.max() > 1:
        raise InvalidFileError(f"the tensor {name} holds what is neither true nor false.")
    return content.view(dtype)


def _no_constant(name: str) -> None:
    raise InvalidFileError(f"{name} is not JSON.")
