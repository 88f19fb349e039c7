"""Whatever holds numbers, as one array of them, or as rows that are read some at a time."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import date, time, timedelta
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from sk_fewshot._utils.rows import Rows, StoredRows, TensorRows

LARGEST_EXACT_INTEGER = 2**24  # in float32

_NUMBERS = "biuf"
_READER = (
    "a transformer reads files or text only with a reader, such as "
    "reader=sk_fewshot.datasets.ImageReader(...) for names of image files."
)


class NotNumbersError(TypeError):
    """X holds text or other objects, which an encoder may take, but no network as they are."""


def as_rows(X: Any, name: str = "X") -> NDArray | Rows:
    """Return examples as numbers, with their own type and without a copy where there is an array.

    Parameters
    ----------
    X : array-like
        Arrays, memory maps, nested lists, tensors, lists of either, pandas, polars and pyarrow
        tables, arrays in files.
    name : str, default="X"
        What errors call it.

    Returns
    -------
    ndarray or Rows
        Booleans, integers or floats, in any number of dimensions. Arrays in files, tensors of
        another device and of types that numpy lacks are read some rows at a time.

    Raises
    ------
    ValueError, TypeError
        If X holds something else, a NotNumbersError where that may be raw examples, or examples of
        different shapes.
    """
    try:
        return _as_rows(X)
    except (TypeError, ValueError) as error:
        if name == "X":
            raise
        raise type(error)(re.sub(r"\bX\b", name, str(error))) from error


def as_array(X: Any) -> Any:
    """Return tensors, and sequences that hold some, as an array, and anything else as it is."""
    if isinstance(X, Tensor):
        return np.asarray(_of_tensor(X))
    if isinstance(X, list | tuple) and _holds_tensors(X):
        return _of_sequence(X)
    return X


def _as_rows(X: Any) -> NDArray | Rows:
    if issparse(X) or (isinstance(X, Tensor) and X.layout != torch.strided):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use X.toarray(), or "
            "X.to_dense() of a tensor, to convert it."
        )
    rows: NDArray | Rows
    if isinstance(X, Rows):
        rows = X
    elif isinstance(X, Tensor):
        rows = _of_tensor(X)
    elif _is_stored(X):
        rows = StoredRows(X)
    else:
        rows = _of_array_like(X)
    if rows.dtype.kind not in _NUMBERS:
        _refuse(rows)
    return rows


def _of_tensor(X: Tensor) -> NDArray | Rows:
    dtype = X.dtype
    numpy_has_it = dtype.is_complex or dtype == torch.bool or _is_numpys(dtype)
    if X.device.type == "cpu" and numpy_has_it:
        return X.numpy(force=True)
    held = dtype if numpy_has_it else torch.float32
    if X.ndim == 0:
        return X.to(held).numpy(force=True)
    return TensorRows(X, torch.empty(0, dtype=held).numpy().dtype)


def _is_numpys(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype).numpy()
    except TypeError:  # bfloat16, float8
        return False
    return True


def _is_stored(X: Any) -> bool:
    """Whether X is an array in a file: it has a shape and is sliced, but computes nothing."""
    return (
        isinstance(getattr(X, "dtype", None), np.dtype)
        and isinstance(getattr(X, "shape", None), tuple)
        and len(X.shape) > 0
        and hasattr(X, "__getitem__")
        and not isinstance(X, np.ndarray)
        and not any(hasattr(X, f"__array_{name}__") for name in ("ufunc", "function", "namespace"))
    )


def _of_array_like(X: Any) -> NDArray:
    if isinstance(X, list | tuple):
        return _of_sequence(X)
    if _is_image(X):
        _refuse_images()
    if isinstance(X, np.matrix):
        raise TypeError("X must not be an np.matrix; convert it by np.asarray.")
    if np.ma.is_masked(X):
        raise ValueError("X has masked values; fill them by X.filled(...), or drop their rows.")
    array = _of_pandas(X) if hasattr(X, "iloc") and len(X.shape) == 2 else np.asarray(X)
    return _of_objects(array) if array.dtype == object else array


def _of_pandas(X: Any) -> NDArray:
    """A DataFrame's numbers; those of nullable and Arrow types would come as objects."""
    if all(isinstance(dtype, np.dtype) and dtype.kind not in "mM" for dtype in X.dtypes):
        return np.asarray(X)
    columns = [_of_column(X.iloc[:, i]) for i in range(X.shape[1])]
    for column in columns:
        if column.dtype.kind not in f"{_NUMBERS}O":
            _refuse(column)
    return np.column_stack(columns) if columns else np.empty(X.shape)


def _of_column(column: Any) -> NDArray:
    kind = getattr(column.dtype, "kind", "O")
    dtype = getattr(column.dtype, "numpy_dtype", None)  # of the nullable and Arrow types
    if kind in "mM":
        _refuse(np.empty(0, f"{kind}8[ns]"))
    if dtype is None or kind not in _NUMBERS:
        return np.asarray(column)
    if not column.isna().any():
        return column.to_numpy(dtype=dtype)
    return column.to_numpy(dtype=dtype if kind == "f" else np.float64, na_value=np.nan)


def _of_sequence(X: Sequence) -> NDArray:
    if any(map(_is_image, X)):
        _refuse_images()
    try:
        array = np.asarray(X)
    except (TypeError, RuntimeError):  # a tensor that requires grad, is bfloat16 or on a GPU
        if not _holds_tensors(X):
            raise
        return _of_sequence(_without_tensors(X))
    except ValueError:
        _refuse_shapes(X)
    return _of_objects(array) if array.dtype == object else array


def _of_objects(array: NDArray) -> NDArray:
    """Numbers that are held as objects, in the type that a list of them has."""
    if array.ndim == 0:
        _refuse(array)
    listed = array.tolist()
    if array.ndim == 1 and any(map(_is_image, listed)):
        _refuse_images()
    if _holds_tensors(listed):
        listed = _without_tensors(listed)
    try:
        numbers = np.asarray(listed)
    except ValueError:
        _refuse_shapes(listed)
    if numbers.dtype != object:
        return numbers
    held = {type(value) for value in numbers.flat}
    if any(issubclass(kind, str | bytes | PurePath) for kind in held) or numbers.ndim < 2:
        _refuse(np.array(listed, dtype=object))
    if any(issubclass(kind, date | time | timedelta) for kind in held):
        _refuse_dates(", ".join(sorted(kind.__name__ for kind in held)))
    if all(issubclass(kind, int) for kind in held):  # beyond 64 bits
        refuse_integers(max(map(abs, numbers.flat)))
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        numbers[pandas.isna(numbers)] = np.nan
    try:  # None, decimal numbers
        return numbers.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"X holds objects that are no numbers: {error}") from error


def _holds_tensors(X: Sequence) -> bool:
    return any(
        isinstance(item, Tensor) or (isinstance(item, list | tuple) and _holds_tensors(item))
        for item in X
    )


def _without_tensors(X: Sequence) -> list:
    return [
        np.asarray(_of_tensor(item))
        if isinstance(item, Tensor)
        else _without_tensors(item)
        if isinstance(item, list | tuple)
        else item
        for item in X
    ]


def _is_image(X: Any) -> bool:
    """Whether X is an image of Pillow, which is not imported for that."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(X, pillow.Image)


def _refuse_images() -> NoReturn:
    raise TypeError(
        "X holds PIL images, of which each has its own size and mode. Make them one array: "
        "X = np.stack([np.asarray(image.convert('RGB').resize((width, height))) for image in X]), "
        "then np.moveaxis(X, -1, 1); or keep file names, and give the transformer a reader, such "
        "as sk_fewshot.datasets.ImageReader(...)."
    )


def _refuse_shapes(X: Sequence) -> NoReturn:
    shapes: list[Any] = []
    for item in X:
        try:
            shape: Any = np.shape(_without_tensors([item])[0])
        except ValueError:  # within itself
            shape = "an inhomogeneous shape"
        if shape not in shapes:
            shapes.append(shape)
    named = " and ".join(str(shape) for shape in shapes[:2])
    raise ValueError(
        f"X must hold examples of one shape, got a sequence with {named}. Resize images to one "
        "size, or pad, before they are put together as np.stack(X)."
    )


def refuse_integers(largest: int) -> NoReturn:
    """Refuse integers of which float32 takes some for others."""
    raise ValueError(
        f"X holds integers up to {largest}, which float32 cannot tell apart from "
        f"{LARGEST_EXACT_INTEGER} on; scale X and pass floats."
    )


def _refuse_dates(held: str) -> NoReturn:
    raise TypeError(
        f"X must hold numbers, got dates or times ({held}); say what they count, such as "
        "(X - X.min()) / np.timedelta64(1, 'D') for days."
    )


def _refuse(rows: NDArray | Rows) -> NoReturn:
    """Say what X holds instead of numbers, and what to do."""
    dtype = rows.dtype
    if dtype.names is not None:
        raise TypeError(
            f"X must be a plain array, got a structured one with the fields {dtype.names}; convert "
            "it by numpy.lib.recfunctions.structured_to_unstructured."
        )
    if dtype.kind == "c":
        raise ValueError("Complex data not supported: X must hold real numbers.")
    if dtype.kind in "mM":
        _refuse_dates(str(dtype))
    objects = np.asarray(rows[:1] if rows.ndim else rows).ravel().tolist()
    texts = [value for value in objects if isinstance(value, str | bytes | PurePath)]
    if texts:
        raise NotNumbersError(f"X must hold numbers, got text ({texts[0]!r}): {_READER}")
    first = objects[:1]
    held = type(first[0]).__name__ if first else dtype
    raise NotNumbersError(
        f"X must be an array of numbers, a 2D array or images, got {held}: {_READER}"
    )
