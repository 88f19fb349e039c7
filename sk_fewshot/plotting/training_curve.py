"""Losses along a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sk_fewshot.classifiers._encoder import last_step
from sk_fewshot.plotting._axes import axes_for


class TrainingCurveDisplay:
    """Training loss of each epoch and, where classes were held out, their loss.

    It is recommended to use :meth:`from_estimator` or :meth:`from_history`; the parameters are
    stored as attributes.

    Parameters
    ----------
    epochs : ndarray of int of shape (n_epochs,)
    train_loss : ndarray of shape (n_epochs,)
    valid_loss : ndarray of shape (n_epochs,) or None, default=None

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        Of the training loss and, if there is one, the loss on held-out classes.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PrototypicalTransformer
    >>> from sk_fewshot.plotting import TrainingCurveDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = PrototypicalTransformer(max_epochs=2, batches_per_epoch=5, random_state=0)
    >>> display = TrainingCurveDisplay.from_estimator(encoder.fit(X, y))
    >>> display.lines_[0].get_xdata()
    array([1, 2])
    """

    lines_: list[Any]
    ax_: Any
    figure_: Any

    def __init__(self, *, epochs: NDArray, train_loss: NDArray, valid_loss: NDArray | None = None):
        self.epochs = epochs
        self.train_loss = train_loss
        self.valid_loss = valid_loss

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs) -> TrainingCurveDisplay:
        """Draw the training of a fitted transformer, or of a classifier's.

        Parameters
        ----------
        estimator : transformer or classifier
            A transformer with `history_`, also within a Pipeline or FrozenEstimator, or a
            classifier after `meta_fit`.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError
            If it keeps no `history_`, as one that learns without epochs.
        """
        encoder = getattr(estimator, "encoder_", getattr(estimator, "encoder", estimator))
        trained = last_step(encoder)
        if not isinstance(trained, str) and trained is not None:
            check_is_fitted(trained)
        if not hasattr(trained, "history_"):
            raise ValueError(
                "estimator must have learned by epochs (have history_), as this package's "
                f"transformers do in fit and its classifiers in meta_fit, got {estimator!r}."
            )
        return cls.from_history(trained.history_, ax=ax, **kwargs)

    @classmethod
    def from_history(
        cls, history: Sequence[dict[str, Any]], *, ax=None, **kwargs
    ) -> TrainingCurveDisplay:
        """Draw a training.

        Parameters
        ----------
        history : list of dict
            Of each epoch "epoch", "train_loss" and, where classes were held out, "valid_loss".
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        ValueError
            If the history is empty.
        """
        if not history:
            raise ValueError("history must hold one epoch or more, got none.")
        columns = {
            name: [epoch[name] for epoch in history]
            for name in ("epoch", "train_loss", "valid_loss")
            if name in history[0]
        }
        display = cls(
            epochs=np.asarray(columns["epoch"]),
            train_loss=np.asarray(columns["train_loss"]),
            valid_loss=np.asarray(columns["valid_loss"]) if "valid_loss" in columns else None,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs) -> TrainingCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        TrainingCurveDisplay
        """
        self.ax_ = axes_for(self, ax)
        self.figure_ = self.ax_.figure
        style = {"marker": "."} | kwargs
        self.lines_ = self.ax_.plot(
            self.epochs, self.train_loss, **{"label": "training classes"} | style
        )
        if self.valid_loss is not None:
            self.lines_ += self.ax_.plot(
                self.epochs, self.valid_loss, **style | {"label": "held-out classes"}
            )
        self.ax_.set(xlabel="epoch", ylabel="loss")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.legend()
        return self
