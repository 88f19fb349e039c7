"""How embeddings, labels and keys stand in columns, and come back as they were."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_DIMENSIONS = 16_000  # of pgvector's type `vector`
_LONGEST = 0.49 * float(np.finfo(np.float32).max) ** 0.5  # embedding
_SHORTEST = 1e-15  # one whose square float32 still tells from 0
LARGEST_INTEGER = 2**63 - 1
_FLOAT8 = np.dtype([("length", ">i4"), ("number", ">f8")])  # of an element of an array
_FLOAT8_OID = 701
_TYPES = {"i": "integer", "u": "integer", "f": "real", "b": "boolean", "U": "text", "O": "text"}


def type_of(values: NDArray) -> str:
    """Return "integer", "real", "boolean" or "text": what labels or keys are.

    Raises
    ------
    ValueError
        If they are nothing of that.
    """
    if values.dtype.kind not in _TYPES:
        raise ValueError(
            "Labels in PostgreSQL must be integers, floating point numbers, booleans or strings, "
            f"got {values.dtype} such as {values[0]!r}."
        )
    return _TYPES[values.dtype.kind]


def as_text(name: str, values: NDArray) -> list[str]:
    """Return labels or keys as text, equal where they are equal.

    Raises
    ------
    ValueError
        If PostgreSQL cannot hold them.
    """
    if values.dtype.kind in "iu":
        if values.size and int(values.max()) > LARGEST_INTEGER:
            raise ValueError(
                f"{name} must hold integers that fit into int64 to be kept in PostgreSQL, got "
                f"{values.min()} to {values.max()}; pass strings."
            )
        return [str(value) for value in values.tolist()]
    if values.dtype.kind == "f":
        return [repr(value) for value in (values.astype(np.float64) + 0.0).tolist()]
    if values.dtype.kind == "b":
        return [str(value).lower() for value in values.tolist()]
    texts = [str(value) for value in values.tolist()]
    for text in texts:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(
                f"{name} must hold text without NUL and surrogates to be kept in PostgreSQL, got "
                f"{text!r}."
            )
    return texts


def from_text(texts: Sequence[str], type_name: str) -> NDArray:
    """Return labels or keys as an array (n,) of int64, float64, bool or str."""
    if type_name == "text":
        return np.array(texts, dtype=str)
    if type_name == "boolean":
        return np.array([text == "true" for text in texts], dtype=bool)
    dtype, parse = (np.int64, int) if type_name == "integer" else (np.float64, float)
    return np.array([parse(text) for text in texts], dtype=dtype)


def as_float32(embeddings: NDArray, metric: str) -> NDArray[np.float32]:
    """Return embeddings as they are kept.

    Raises
    ------
    ValueError
        If they are too long to be compared in float32, or for the cosine too short.
    """
    lengths = lengths_of(embeddings)
    if not lengths.max(initial=0) <= _LONGEST:
        raise ValueError(
            f"Embeddings in PostgreSQL must have a length of {_LONGEST:.2g} at most, got "
            f"{lengths.max():.2g}; scale X."
        )
    if metric == "cosine" and (short := (lengths > 0) & (lengths < _SHORTEST)).any():
        raise ValueError(
            f"Embeddings in PostgreSQL that are compared by metric='cosine' must be 0 or of a "
            f"length of {_SHORTEST} at least, got {lengths[short].min():.2g}; scale X."
        )
    return embeddings.astype(np.float32, copy=False)


def lengths_of(rows: NDArray) -> NDArray[np.float64]:
    """Return the Euclidean lengths (n,) of rows (n, d)."""
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def vectors(rows: NDArray[np.float32]) -> list[bytes]:
    """Return rows (n, d) in the binary format of pgvector's type."""
    header = struct.pack(">HH", rows.shape[1], 0)
    return [header + row.tobytes() for row in rows.astype(">f4")]


def from_vectors(sent: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return the rows (n, d) that :func:`vectors` was given."""
    layout = np.dtype([("header", ">u4"), ("numbers", ">f4", (dimension,))])
    return np.frombuffer(b"".join(sent), layout)["numbers"].astype(np.float32)


def vector_literals(rows: NDArray[np.float32]) -> list[str]:
    """Return rows (n, d) as pgvector reads them from text."""
    return [f"[{','.join(map(repr, row))}]" for row in rows.tolist()]


def arrays(rows: NDArray[np.float64]) -> list[bytes]:
    """Return rows (n, d) in the binary format of ``double precision[]``."""
    header = struct.pack(">iiiii", 1, 0, _FLOAT8_OID, rows.shape[1], 1)
    elements = np.empty(rows.shape, _FLOAT8)
    elements["length"], elements["number"] = 8, rows
    return [header + row.tobytes() for row in elements]


def from_arrays(sent: Sequence[bytes], dimension: int) -> NDArray[np.float64]:
    """Return the rows (n, d) that :func:`arrays` was given."""
    layout = np.dtype([("header", ">i4", (5,)), ("elements", _FLOAT8, (dimension,))])
    return np.frombuffer(b"".join(sent), layout)["elements"]["number"].astype(np.float64)
