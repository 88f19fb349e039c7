"""Galleries that are kept elsewhere than in this process, and what an engine for one provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray

from sk_fewshot.gallery._gallery import Gallery, MemoryGallery


class StoredGallery(Gallery):
    """A gallery that outlives this process and is shared by many.

    Each method reads or changes it as one transaction. Those that return a gallery change the one
    that all share, and return it.

    Attributes
    ----------
    dimension : int or None
        Length of the embeddings; None before it was begun or opened.
    """

    dimension: int | None

    @abstractmethod
    def begun(self, embeddings: NDArray, y: NDArray, ids: ArrayLike | None, *, joins: bool) -> Self:
        """Enrol the first examples of this process, creating the gallery where there is none.

        `joins`: beside the examples that are there, else in place of them.
        """

    @abstractmethod
    def opened(self) -> Self:
        """Take part in the gallery that is there.

        Raises
        ------
        ValueError
            If there is no gallery, or one that does not go with this classifier.
        """

    @property
    def is_large(self) -> bool:
        """True: it is searched where it is."""
        return True


class GalleryEngine(ABC):
    """Where galleries are kept, as the parameter `index` of a classifier names it."""

    @abstractmethod
    def gallery(self, kind: type[MemoryGallery], *, metric: Any, encoder: str) -> StoredGallery:
        """Return the gallery that this names, without looking whether it is there.

        Parameters
        ----------
        kind : type
            What it holds: :class:`ClassMeans` or :class:`Examples`.
        metric : str or callable
            What its rows are compared by.
        encoder : str
            Tells the encoder that its embeddings come from from every other.

        Raises
        ------
        ValueError
            If the engine cannot search by this metric.
        ImportError
            If a package is missing.
        """
