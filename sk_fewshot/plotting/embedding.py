"""Embeddings in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.containers import as_rows
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._encoder import encode_examples
from sk_fewshot.plotting._axes import axes_for

_MOST_NAMED = 20  # classes in a legend


class EmbeddingDisplay:
    """Embeddings projected onto their first two principal components, with class prototypes.

    It is recommended to use :meth:`from_estimator` or :meth:`from_embeddings`; the parameters are
    stored as attributes.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        The projected embeddings.
    y : ndarray of shape (n_samples,) or None
        Their classes.
    prototypes : ndarray of shape (n_classes, 2) or None
        The projected prototypes.
    classes : ndarray of shape (n_classes,) or None
        The classes of the prototypes.
    explained_variance_ratio : ndarray of shape (2,)
        Share of the embeddings' variance along each component.

    Attributes
    ----------
    points_ : list of matplotlib PathCollection
        The embeddings of each class, in sorted order.
    prototypes_ : list of matplotlib PathCollection
        The prototype of each class.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PrototypicalClassifier
    >>> from sk_fewshot.plotting import EmbeddingDisplay
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> clf = PrototypicalClassifier("passthrough").fit(X[:10], y[:10])
    >>> display = EmbeddingDisplay.from_estimator(clf, X, y)
    >>> display.ax_.get_xlabel()
    'component 1 (31% of the variance)'
    """

    points_: list[Any]
    prototypes_: list[Any]
    ax_: Any
    figure_: Any

    def __init__(
        self,
        *,
        points: NDArray,
        y: NDArray | None = None,
        prototypes: NDArray | None = None,
        classes: NDArray | None = None,
        explained_variance_ratio: NDArray,
    ):
        self.points = points
        self.y = y
        self.prototypes = prototypes
        self.classes = classes
        self.explained_variance_ratio = explained_variance_ratio

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None, **kwargs) -> EmbeddingDisplay:
        """Embed examples and draw them.

        Parameters
        ----------
        estimator : classifier or transformer
            A fitted few-shot classifier, whose prototypes (the mean embeddings of its support set,
            where it keeps the examples) are drawn; or any fitted transformer: then the prototypes
            are the mean embeddings of the classes in y.
        X : array-like of shape (n_samples, ...)
            Examples, as the estimator takes them.
        y : array-like of shape (n_samples,) or None, default=None
            Their classes; None: all have one colour.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.scatter`` for the embeddings.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If embeddings have fewer than two dimensions.
        """
        check_is_fitted(estimator)
        prototypes = classes = None
        if isinstance(estimator, BaseFewShotClassifier):
            embeddings = estimator._embed(X, reset=False)
            prototypes, classes = _prototypes(estimator), estimator.classes_
        else:
            embeddings = encode_examples(estimator, X)
            if y is not None:
                y = column_or_1d(y)
                check_consistent_length(embeddings, y)
                classes, codes = np.unique(y, return_inverse=True)
                prototypes = _means(embeddings, codes)
        return cls.from_embeddings(
            embeddings, y, prototypes=prototypes, classes=classes, ax=ax, **kwargs
        )

    @classmethod
    def from_embeddings(
        cls,
        embeddings,
        y=None,
        *,
        prototypes=None,
        classes=None,
        ax=None,
        **kwargs,
    ) -> EmbeddingDisplay:
        """Draw embeddings.

        Parameters
        ----------
        embeddings : array-like of shape (n_samples, embedding_dim)
        y : array-like of shape (n_samples,) or None, default=None
            Their classes.
        prototypes : array-like of shape (n_classes, embedding_dim) or None, default=None
        classes : array-like of shape (n_classes,) or None, default=None
            The classes of the prototypes.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.scatter`` for the embeddings.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If there are fewer than two embeddings or dimensions, or lengths differ.
        """
        embeddings = check_array(
            np.asarray(as_rows(embeddings, "embeddings")),
            dtype=[np.float64, np.float32],
            ensure_min_samples=2,
            ensure_min_features=2,
            estimator=cls.__name__,
            input_name="embeddings",
        )
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(embeddings, y)
        if (prototypes is None) != (classes is None):
            raise ValueError("prototypes and classes go together: pass both of them or neither.")
        pca = PCA(2, random_state=0).set_output(transform="default").fit(embeddings)
        if prototypes is not None:
            prototypes, classes = np.asarray(prototypes), column_or_1d(classes)
            check_consistent_length(prototypes, classes)
            prototypes = pca.transform(prototypes)
        display = cls(
            points=pca.transform(embeddings),
            y=y,
            prototypes=prototypes,
            classes=classes,
            explained_variance_ratio=pca.explained_variance_ratio_,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs) -> EmbeddingDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.scatter`` for the embeddings.

        Returns
        -------
        EmbeddingDisplay
        """
        self.ax_ = axes_for(self, ax)
        self.figure_ = self.ax_.figure
        self.points_, self.prototypes_ = [], []
        style = {"s": 12, "alpha": 0.6} | kwargs
        if self.y is None:
            self.points_.append(self.ax_.scatter(*self.points.T, color="tab:gray", **style))
            labels = np.array([]) if self.classes is None else self.classes
        else:
            known = [self.y] if self.classes is None else [self.y, self.classes]
            labels = np.unique(np.concatenate(known))
        colors = dict(zip(labels.tolist(), _colors(len(labels)), strict=True))
        for label in [] if self.y is None else np.unique(self.y).tolist():
            members = self.points[self.y == label]
            self.points_.append(
                self.ax_.scatter(*members.T, color=colors[label], label=str(label), **style)
            )
        if self.prototypes is not None and self.classes is not None:
            for label, place in zip(self.classes.tolist(), self.prototypes, strict=True):
                self.prototypes_.append(
                    self.ax_.scatter(
                        *place, color=colors[label], marker="X", s=120, edgecolor="black", zorder=3
                    )
                )
        shares = [f"{share:.0%} of the variance" for share in self.explained_variance_ratio]
        self.ax_.set(xlabel=f"component 1 ({shares[0]})", ylabel=f"component 2 ({shares[1]})")
        if self.y is not None and len(labels) <= _MOST_NAMED:
            self.ax_.legend(fontsize="small")
        return self


def _prototypes(clf) -> NDArray:
    """Mean support embedding (n_classes, d) of each class."""
    if hasattr(clf, "prototypes_"):
        return clf.prototypes_
    return _means(clf.support_embeddings_, clf.support_codes_)


def _means(embeddings: NDArray, codes: NDArray) -> NDArray:
    """Means (n_classes, d) of the rows with each code."""
    return np.stack([embeddings[codes == code].mean(0) for code in range(codes.max() + 1)])


def _colors(n: int):
    """As many colours (n, 4), told apart as well as their number allows."""
    import matplotlib as mpl

    if n <= _MOST_NAMED:
        return mpl.colormaps["tab10" if n <= 10 else "tab20"](np.arange(n))
    return mpl.colormaps["turbo"](np.linspace(0, 1, n))
