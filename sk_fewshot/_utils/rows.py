"""Examples that are read some at a time, so that what they lie in is never held whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor

_NUMBERS_AT_ONCE = 2**20

Index = slice | NDArray[np.intp]


class Rows(ABC):
    """Numbers along a first axis of examples, of which some are read at a time.

    Stands where an array would, for what asks no more of it than this.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
        What is read has this type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = tuple(shape)
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: Index) -> NDArray:
        """Read the rows from one number to another, or those of an array of numbers."""

    def __array__(self, dtype=None, copy=None) -> NDArray:
        return np.asarray(self[:], dtype=dtype)


class StoredRows(Rows):
    """Rows of an array in a file, as h5py's and zarr's.

    Parameters
    ----------
    source : object
        Has a shape and a dtype, and reads ``source[start:stop]``.
    """

    def __init__(self, source: Any):
        super().__init__(source.shape, source.dtype)
        self._source = source

    def __getitem__(self, rows: Index) -> NDArray:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return np.asarray(self._source[start:stop])
        if not len(rows):
            return np.asarray(self._source[:0])
        wanted, place = np.unique(rows, return_inverse=True)  # no file takes any order
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        parts = [np.asarray(self._source[run[0] : run[-1] + 1]) for run in runs]
        return np.concatenate(parts)[place]


class TensorRows(Rows):
    """Rows of a tensor that is no array's equal: of another device, or of a type of torch alone.

    Parameters
    ----------
    tensor : Tensor
    dtype : dtype
        What is read is cast to this type.
    """

    def __init__(self, tensor: Tensor, dtype: np.dtype):
        super().__init__(tuple(tensor.shape), dtype)
        self._tensor = tensor
        self._type = as_tensor(np.empty(0, dtype)).dtype

    def __getitem__(self, rows: Index) -> NDArray:
        index = rows if isinstance(rows, slice) else as_tensor(rows)
        return self._tensor[index].to(self._type).numpy(force=True)


class SelectedRows(Rows):
    """Some rows of others, in any order and number.

    Parameters
    ----------
    rows : ndarray or Rows
    numbers : ndarray of int
        Which they are.
    """

    def __init__(self, rows: NDArray | Rows, numbers: NDArray[np.intp]):
        super().__init__((len(numbers), *rows.shape[1:]), rows.dtype)
        self._rows, self._numbers = rows, numbers

    def __getitem__(self, rows: Index) -> NDArray:
        return self._rows[self._numbers[rows]]


class ReshapedRows(Rows):
    """Rows whose examples are given another shape, of as many numbers, as they are read.

    Parameters
    ----------
    rows : ndarray or Rows
    shape : tuple of int
        Of an example.
    """

    def __init__(self, rows: NDArray | Rows, shape: tuple[int, ...]):
        super().__init__((len(rows), *shape), rows.dtype)
        self._rows = rows

    def __getitem__(self, rows: Index) -> NDArray:
        read = self._rows[rows]
        return read.reshape(len(read), *self.shape[1:])


class MemberRows(Rows):
    """The members (2 n, ...) of pairs (n, 2, ...), one pair after another.

    Parameters
    ----------
    pairs : ndarray or Rows
    """

    def __init__(self, pairs: NDArray | Rows):
        super().__init__((2 * len(pairs), *pairs.shape[2:]), pairs.dtype)
        self._pairs = pairs

    def __getitem__(self, rows: Index) -> NDArray:
        if not isinstance(rows, slice):
            return self._pairs[rows // 2][np.arange(len(rows)), rows % 2]
        start, stop, _ = rows.indices(len(self))
        first = start // 2
        read = self._pairs[first : (stop + 1) // 2].reshape(-1, *self.shape[1:])
        return read[start - 2 * first : stop - 2 * first]


def members(pairs: NDArray | Rows) -> NDArray | Rows:
    """Return the members (2 n, ...) of pairs (n, 2, ...), without a copy of all of them."""
    if isinstance(pairs, np.ndarray) and pairs.flags.c_contiguous:
        return pairs.reshape(2 * len(pairs), *pairs.shape[2:])
    return MemberRows(pairs)


def reshaped(rows: NDArray | Rows, shape: tuple[int, ...]) -> NDArray | Rows:
    """Return rows whose examples have another shape, without a copy of all of them."""
    if rows.shape[1:] == shape:
        return rows
    if isinstance(rows, np.ndarray) and rows.flags.c_contiguous:
        return rows.reshape(len(rows), *shape)
    return ReshapedRows(rows, shape)


def pieces(rows: NDArray | Rows) -> Iterator[tuple[slice, NDArray]]:
    """Read all rows, about a million numbers at a time, each piece with its place."""
    n_rows = max(1, _NUMBERS_AT_ONCE // max(1, prod(rows.shape[1:])))
    for start in range(0, len(rows), n_rows):
        place = slice(start, start + n_rows)
        yield place, rows[place]


def float_type(dtype: np.dtype) -> np.dtype:
    """Return the type that numbers are compared in: float64 for float64 or wider, else float32."""
    wide = dtype.kind == "f" and dtype.itemsize >= 8
    return np.dtype(np.float64 if wide else np.float32)


def as_floats(rows: NDArray | Rows) -> NDArray:
    """Return all rows as one array of float32 or float64; one that is of these is not copied."""
    dtype = float_type(rows.dtype)
    if isinstance(rows, np.ndarray):
        return rows.astype(dtype, copy=False)
    floats = np.empty(rows.shape, dtype)
    for place, piece in pieces(rows):
        floats[place] = piece
    return floats
