"""What a classifier asks of a gallery, and what all galleries in memory share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sk_fewshot._utils.device import on_device, torch_dtype
from sk_fewshot._utils.switches import inference_mode, whatever_the_switches
from sk_fewshot.distances import Metric
from sk_fewshot.gallery._approximate import approximate_index, nearest_by_index
from sk_fewshot.gallery._search import nearest

LARGE = 1024  # rows, from which on an index is used where there is one


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest rows of a gallery to each query, the nearest first.

    Parameters
    ----------
    distances : ndarray of shape (n_queries, k)
    labels : ndarray of shape (n_queries, k)
        Their classes.
    keys : ndarray of shape (n_queries, k)
        What `kneighbors` returns for them: ids of examples, or indices of classes.
    """

    distances: NDArray
    labels: NDArray
    keys: NDArray


class Gallery(ABC):
    """What a classifier asks of a gallery, wherever it is kept.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted, each once.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sk_fewshot.gallery import ClassMeans
    >>> gallery = ClassMeans.of(np.eye(3), np.array([4, 5, 6]))
    >>> gallery.neighbors(np.eye(3)[:1], 1, "euclidean", device=torch.device("cpu")).labels
    array([[4]])
    """

    classes: Any

    @property
    @abstractmethod
    def is_large(self) -> bool:
        """Whether a search finds the nearest row sooner than the scores of all classes do."""

    @abstractmethod
    def in_memory(self) -> MemoryGallery:
        """Return all of it, as it is at this moment, in memory."""

    @abstractmethod
    def enrolled(self, embeddings: NDArray, y: NDArray, ids: ArrayLike | None = None) -> Self:
        """Return a gallery with further embeddings (n, d) of the classes y (n,)."""

    @abstractmethod
    def without_class(self, label: Any) -> Self:
        """Return a gallery without a class."""

    @abstractmethod
    def without(self, ids: ArrayLike) -> Self:
        """Return a gallery without the examples of these ids."""

    @abstractmethod
    def neighbors(
        self,
        queries: NDArray,
        k: int,
        metric: Metric,
        *,
        device: torch.device,
        approximate: bool = False,
    ) -> Neighbors:
        """Find the k nearest rows to each query.

        Of rows at equal distances the first class comes first, then the one that was enrolled
        first.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, d)
        k : int
        metric : str or callable
        device : torch.device
            Where distances are computed.
        approximate : bool, default=False
            Search a large gallery by FAISS.

        Raises
        ------
        ValueError
            If k is not between 1 and the number of rows.
        """


class MemoryGallery(Gallery):
    """Embeddings and their classes in memory. Nothing changes it: enrolment returns another.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted, each once.
    rows : ndarray of shape (n_rows, d)
        What queries are compared with, sorted by class.
    codes : ndarray of int of shape (n_rows,)
        The class of each row, as an index into `classes`.
    keys : ndarray of shape (n_rows,)
        What `kneighbors` returns for each row.
    arrival : ndarray of int of shape (n_rows,) or None
        Of rows at equal distances the one with the smallest number comes first; None: the first.
    """

    classes: NDArray
    rows: NDArray
    codes: Any
    arrival: Any

    @property
    @abstractmethod
    def keys(self) -> NDArray:
        """What `kneighbors` returns for each row, (n_rows,)."""

    @classmethod
    @abstractmethod
    def of(cls, embeddings: NDArray, y: NDArray, ids: ArrayLike | None = None) -> Self:
        """Return a gallery of support embeddings (n, d) of the classes y (n,)."""

    @property
    def is_large(self) -> bool:
        """Whether there are so many rows that a search pays."""
        return len(self.rows) >= LARGE

    def in_memory(self) -> Self:
        """Return itself."""
        return self

    def neighbors(self, queries, k, metric, *, device, approximate=False) -> Neighbors:
        """Find the k nearest rows to each query, as :class:`Gallery` says."""
        check_n_neighbors(k, len(self.rows))
        distances, positions = self.nearest(
            queries, k, metric, device=device, approximate=approximate
        )
        return Neighbors(distances, self.classes[self.codes[positions]], self.keys[positions])

    @whatever_the_switches
    def nearest(
        self,
        queries: NDArray,
        k: int,
        metric: Metric,
        *,
        device: torch.device,
        approximate: bool = False,
    ) -> tuple[NDArray, NDArray[np.intp]]:
        """Find the k nearest rows to each query.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, d)
        k : int
            At most n_rows.
        metric : str or callable
        device : torch.device
            Where distances are computed.
        approximate : bool, default=False
            Search a large gallery by an index.

        Returns
        -------
        distances : ndarray of shape (n_queries, k)
            The smallest first.
        positions : ndarray of int of shape (n_queries, k)
            Indices of the rows. Of rows at equal distances the first class comes first, then the
            one that was enrolled first.
        """
        dtype = np.result_type(queries, np.float32)
        tensors = on_device(queries, device).double(), on_device(self.rows, device)
        precedence = None
        if self.arrival is not None:
            by_class = self.codes * (self.arrival.max() + 1) + self.arrival
            precedence = on_device(by_class, device)
        with inference_mode():
            if approximate and len(self.rows) >= LARGE:
                index = approximate_index(self, self.rows, metric)
                found = nearest_by_index(
                    *tensors,
                    k,
                    index=index,
                    metric=metric,
                    dtype=torch_dtype(dtype),
                    precedence=precedence,
                )
            else:
                found = nearest(
                    *tensors, k, metric=metric, dtype=torch_dtype(dtype), precedence=precedence
                )
        distances, positions = (part.cpu().numpy() for part in found)
        return distances.astype(dtype, copy=False), positions


def check_n_neighbors(k: int, n_rows: int) -> None:
    """Check that a gallery has as many rows as are asked for.

    Raises
    ------
    ValueError
        If it has not.
    """
    if not 1 <= k <= n_rows:
        raise ValueError(
            f"Expected 1 <= n_neighbors <= {n_rows}, the number of embeddings enrolled, "
            f"but n_neighbors = {k}."
        )


def check_lengths(gallery: MemoryGallery, **parts: NDArray) -> None:
    """Check that a gallery's parts fit one another.

    Raises
    ------
    ValueError
        If they do not.
    """
    n_rows = len(gallery.rows)
    if gallery.rows.ndim != 2 or not n_rows or gallery.classes.ndim != 1:
        raise ValueError(
            f"A gallery needs classes (n_classes,) and rows (n_rows, d), got shapes "
            f"{gallery.classes.shape} and {gallery.rows.shape}."
        )
    for name, part in parts.items():
        if part.shape[:1] != (n_rows,):
            raise ValueError(f"{name} must have {n_rows} rows, got shape {part.shape}.")
