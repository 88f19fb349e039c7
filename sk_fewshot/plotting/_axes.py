"""Axes to draw into."""

from __future__ import annotations

from sklearn.utils._optional_dependencies import check_matplotlib_support


def axes_for(display: object, ax=None, figsize: tuple[float, float] | None = None):
    """Return the axes given, or those of a new figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    check_matplotlib_support(f"{type(display).__name__}.plot")
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize)[1]
