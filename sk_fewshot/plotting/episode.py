"""One episode in pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sk_fewshot.plotting._axes import axes_for
from sk_fewshot.plotting._images import (
    RIGHT,
    WRONG,
    as_images,
    grey_scale,
    image_grid,
    show_image,
)


class EpisodeDisplay:
    """The support images, and query images with what was predicted.

    Right predictions are green, wrong ones red with the true class below. It is recommended to use
    :meth:`from_estimator` or :meth:`from_predictions`; the parameters are stored as attributes.

    Parameters
    ----------
    support : ndarray of shape (n_support, H, W) or (n_support, H, W, 3)
        Support images.
    y_support : ndarray of shape (n_support,)
        Their classes.
    queries : ndarray of shape (n_queries, H, W) or (n_queries, H, W, 3)
        Query images.
    y_pred : ndarray of shape (n_queries,)
        Predicted classes.
    y_true : ndarray of shape (n_queries,) or None, default=None
        True classes.
    confidence : ndarray of shape (n_queries,) or None, default=None
        Probability of the predicted class.

    Attributes
    ----------
    support_axes_ : ndarray of matplotlib Axes of shape (n_support,)
    query_axes_ : ndarray of matplotlib Axes of shape (n_queries,)
    ax_ : matplotlib Axes
        The frame around all images.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PrototypicalClassifier
    >>> from sk_fewshot.plotting import EpisodeDisplay
    >>> digits = load_digits()
    >>> X, y = digits.images, digits.target
    >>> clf = PrototypicalClassifier("passthrough", metric="cosine").fit(X[:10], y[:10])
    >>> display = EpisodeDisplay.from_estimator(clf, X[:10], y[:10], X[10:30], y[10:30])
    >>> display.query_axes_[0].get_title()
    '0'
    """

    support_axes_: NDArray
    query_axes_: NDArray
    ax_: Any
    figure_: Any

    def __init__(
        self,
        *,
        support: NDArray,
        y_support: NDArray,
        queries: NDArray,
        y_pred: NDArray,
        y_true: NDArray | None = None,
        confidence: NDArray | None = None,
    ):
        self.support = support
        self.y_support = y_support
        self.queries = queries
        self.y_pred = y_pred
        self.y_true = y_true
        self.confidence = confidence

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X_support,
        y_support,
        X_query,
        y_query=None,
        *,
        image_shape=None,
        ax=None,
        n_columns=10,
        **kwargs,
    ) -> EpisodeDisplay:
        """Label queries and draw them under the support set.

        Parameters
        ----------
        estimator : classifier
            Fitted on the support set. Its confidence is shown if it has `predict_proba`.
        X_support : array-like of shape (n_support, H, W) or (n_support, C, H, W), or flat
            Support images.
        y_support : array-like of shape (n_support,)
            Their classes.
        X_query : array-like of shape (n_queries, H, W) or (n_queries, C, H, W), or flat
            Query images.
        y_query : array-like of shape (n_queries,) or None, default=None
            Their true classes.
        image_shape : tuple of (C, H, W) or None, default=None
            Shape of an image where they come flat.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        n_columns : int, default=10
            Images a row.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``, such as ``cmap="gray_r"``.

        Returns
        -------
        EpisodeDisplay

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X does not hold images, or the lengths of images and classes differ.
        """
        check_is_fitted(estimator)
        confidence = None
        if hasattr(estimator, "predict_proba"):
            confidence = estimator.predict_proba(X_query).max(axis=1)
        return cls.from_predictions(
            X_support,
            y_support,
            X_query,
            estimator.predict(X_query),
            y_true=y_query,
            confidence=confidence,
            image_shape=image_shape,
            ax=ax,
            n_columns=n_columns,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        X_support,
        y_support,
        X_query,
        y_pred,
        *,
        y_true=None,
        confidence=None,
        image_shape=None,
        ax=None,
        n_columns=10,
        **kwargs,
    ) -> EpisodeDisplay:
        """Draw queries with predictions under the support set.

        Parameters
        ----------
        X_support : array-like of shape (n_support, H, W) or (n_support, C, H, W), or flat
            Support images.
        y_support : array-like of shape (n_support,)
            Their classes.
        X_query : array-like of shape (n_queries, H, W) or (n_queries, C, H, W), or flat
            Query images.
        y_pred : array-like of shape (n_queries,)
            Predicted classes.
        y_true : array-like of shape (n_queries,) or None, default=None
            True classes.
        confidence : array-like of shape (n_queries,) or None, default=None
            Probabilities of the predicted classes.
        image_shape : tuple of (C, H, W) or None, default=None
            Shape of an image where they come flat.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        n_columns : int, default=10
            Images a row.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``, such as ``cmap="gray_r"``.

        Returns
        -------
        EpisodeDisplay

        Raises
        ------
        ValueError
            If X does not hold images, or the lengths of images and classes differ.
        """
        support = as_images(X_support, image_shape, "X_support")
        queries = as_images(X_query, image_shape, "X_query")
        y_support, y_pred = column_or_1d(y_support), column_or_1d(y_pred)
        y_true = None if y_true is None else column_or_1d(y_true)
        confidence = None if confidence is None else column_or_1d(confidence)
        check_consistent_length(support, y_support)
        check_consistent_length(queries, y_pred, y_true, confidence)
        display = cls(
            support=support,
            y_support=y_support,
            queries=queries,
            y_pred=y_pred,
            y_true=y_true,
            confidence=confidence,
        )
        return display.plot(ax=ax, n_columns=n_columns, **kwargs)

    def plot(self, ax=None, *, n_columns=10, **kwargs) -> EpisodeDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        n_columns : int, default=10
            Images a row.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.imshow``, such as ``cmap="gray_r"``.

        Returns
        -------
        EpisodeDisplay
        """
        n_above = math.ceil(len(self.support) / n_columns)
        n_rows = n_above + math.ceil(len(self.queries) / n_columns)
        self.ax_ = axes_for(self, ax, figsize=(n_columns, 1.3 * n_rows))
        self.figure_ = self.ax_.figure
        style = grey_scale(self.support, self.queries) | kwargs
        cells = image_grid(self.ax_, n_rows, n_columns)
        self.support_axes_ = cells[:n_above].ravel()[: len(self.support)]
        self.query_axes_ = cells[n_above:].ravel()[: len(self.queries)]
        for cell, image, label in zip(
            self.support_axes_, self.support, self.y_support, strict=True
        ):
            show_image(cell, image, str(label), **style)
        for i, (cell, image) in enumerate(zip(self.query_axes_, self.queries, strict=True)):
            note, color = self._verdict(i)
            show_image(cell, image, str(self.y_pred[i]), note, color, **style)
        return self

    def _verdict(self, i: int) -> tuple[str, str]:
        """What stands below the i-th query, and its colour."""
        parts, color = [], "black"
        if self.confidence is not None:
            parts.append(f"{self.confidence[i]:.0%}")
        if self.y_true is not None:
            right = np.equal(self.y_pred[i], self.y_true[i])
            color = RIGHT if right else WRONG
            if not right:
                parts.append(f"is {self.y_true[i]}")
        return ", ".join(parts), color
