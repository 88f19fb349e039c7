"""Queries and the support images nearest to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sk_fewshot.classifiers import PrototypicalClassifier
from sk_fewshot.classifiers._nearest import NearestClassifier
from sk_fewshot.plotting._axes import axes_for
from sk_fewshot.plotting._images import (
    RIGHT,
    WRONG,
    as_images,
    grey_scale,
    image_grid,
    show_image,
)


class NeighborsDisplay:
    """A row for each query: the query, then its nearest support images, the nearest first.

    Neighbours of the query's class are green, others red, if the query's class is known. It is
    recommended to use :meth:`from_estimator` or :meth:`from_neighbors`; the parameters are stored
    as attributes.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, H, W) or (n_queries, H, W, 3)
        Query images.
    support : ndarray of shape (n_support, H, W) or (n_support, H, W, 3)
        Support images.
    distances : ndarray of shape (n_queries, n_neighbors)
        From each query to its neighbours.
    indices : ndarray of int of shape (n_queries, n_neighbors)
        Of the neighbours in `support`.
    y : ndarray of shape (n_queries,) or None, default=None
        Classes of the queries.
    y_support : ndarray of shape (n_support,) or None, default=None
        Classes of the support images.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_queries, 1 + n_neighbors)
        The query's and those of its neighbours.
    ax_ : matplotlib Axes
        The frame around all images.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import MatchingClassifier
    >>> from sk_fewshot.plotting import NeighborsDisplay
    >>> digits = load_digits()
    >>> X, y = digits.images, digits.target
    >>> clf = MatchingClassifier("passthrough").fit(X[:100], y[:100])
    >>> display = NeighborsDisplay.from_estimator(
    ...     clf, X[100:102], X[:100], y_support=y[:100], n_neighbors=3
    ... )
    >>> display.axes_.shape
    (2, 4)
    """

    axes_: NDArray
    ax_: Any
    figure_: Any

    def __init__(
        self,
        *,
        queries: NDArray,
        support: NDArray,
        distances: NDArray,
        indices: NDArray[np.intp],
        y: NDArray | None = None,
        y_support: NDArray | None = None,
    ):
        self.queries = queries
        self.support = support
        self.distances = distances
        self.indices = indices
        self.y = y
        self.y_support = y_support

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        X_support,
        *,
        y=None,
        y_support=None,
        n_neighbors=5,
        image_shape=None,
        ax=None,
        **kwargs,
    ) -> NeighborsDisplay:
        """Find the nearest support images by a classifier's encoder and metric, and draw them.

        Parameters
        ----------
        estimator : classifier
            A fitted one that has `kneighbors`: Prototypical, Matching or Siamese.
        X : array-like of shape (n_queries, H, W) or (n_queries, C, H, W), or flat
            Query images.
        X_support : array-like of shape (n_support, H, W) or (n_support, C, H, W), or flat
            Images to search, such as the support set.
        y : array-like of shape (n_queries,) or None, default=None
            Classes of the queries.
        y_support : array-like of shape (n_support,) or None, default=None
            Classes of the support images.
        n_neighbors : int, default=5
            Neighbours of each query.
        image_shape : tuple of (C, H, W) or None, default=None
            Shape of an image where they come flat.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``.

        Returns
        -------
        NeighborsDisplay

        Raises
        ------
        TypeError
            If the estimator is no such classifier.
        NotFittedError
            If it is not fitted.
        ValueError
            If `n_neighbors` exceeds the number of support images, or X does not hold images.
        """
        if not isinstance(estimator, NearestClassifier):
            raise TypeError(
                "estimator must be a few-shot classifier that has kneighbors (Prototypical, "
                f"Matching or Siamese), got {type(estimator).__name__}. Pass what another search "
                "found to from_neighbors."
            )
        check_is_fitted(estimator)
        support = estimator._embed(X_support, reset=False)
        # Each support image is a class of its own, whose prototype it is.
        gallery = PrototypicalClassifier(
            "passthrough", metric=estimator.head_.distance, device=estimator.device
        ).fit(support, np.arange(len(support)))
        distances, indices = gallery.kneighbors(estimator._embed(X, reset=False), n_neighbors)
        return cls.from_neighbors(
            X,
            X_support,
            distances,
            indices,
            y=y,
            y_support=y_support,
            image_shape=image_shape,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_neighbors(
        cls,
        X,
        X_support,
        distances,
        indices,
        *,
        y=None,
        y_support=None,
        image_shape=None,
        ax=None,
        **kwargs,
    ) -> NeighborsDisplay:
        """Draw what a search found, such as scikit-learn's ``kneighbors``.

        Parameters
        ----------
        X : array-like of shape (n_queries, H, W) or (n_queries, C, H, W), or flat
            Query images.
        X_support : array-like of shape (n_support, H, W) or (n_support, C, H, W), or flat
            The images searched.
        distances : array-like of shape (n_queries, n_neighbors)
            From each query to its neighbours.
        indices : array-like of int of shape (n_queries, n_neighbors)
            Of the neighbours in `X_support`.
        y : array-like of shape (n_queries,) or None, default=None
            Classes of the queries.
        y_support : array-like of shape (n_support,) or None, default=None
            Classes of the support images.
        image_shape : tuple of (C, H, W) or None, default=None
            Shape of an image where they come flat.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``.

        Returns
        -------
        NeighborsDisplay

        Raises
        ------
        ValueError
            If X does not hold images, or shapes do not go together.
        """
        queries = as_images(X, image_shape, "X")
        support = as_images(X_support, image_shape, "X_support")
        distances, indices = np.asarray(distances), np.asarray(indices)
        if distances.ndim != 2 or distances.shape != indices.shape:
            raise ValueError(
                "distances and indices must both have shape (n_queries, n_neighbors), got "
                f"{distances.shape} and {indices.shape}."
            )
        y = None if y is None else column_or_1d(y)
        y_support = None if y_support is None else column_or_1d(y_support)
        check_consistent_length(queries, distances, y)
        check_consistent_length(support, y_support)
        if y is not None and y_support is None:
            raise ValueError("y says which neighbours are right only with y_support, got None.")
        display = cls(
            queries=queries,
            support=support,
            distances=distances,
            indices=indices,
            y=y,
            y_support=y_support,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs) -> NeighborsDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``.

        Returns
        -------
        NeighborsDisplay
        """
        n_queries, n_neighbors = self.indices.shape
        self.ax_ = axes_for(self, ax, figsize=(1.2 * (1 + n_neighbors), 1.5 * n_queries))
        self.figure_ = self.ax_.figure
        style = grey_scale(self.queries, self.support) | kwargs
        self.axes_ = image_grid(self.ax_, n_queries, 1 + n_neighbors)
        for i, row in enumerate(self.axes_):
            title = "query" if self.y is None else f"query: {self.y[i]}"
            show_image(row[0], self.queries[i], title, **style)
            for cell, j, distance in zip(row[1:], self.indices[i], self.distances[i], strict=True):
                title, color = "", "black"
                if self.y_support is not None:
                    title = str(self.y_support[j])
                    if self.y is not None:
                        color = RIGHT if self.y_support[j] == self.y[i] else WRONG
                show_image(cell, self.support[j], title, f"{distance:.3g}", color, **style)
        return self
