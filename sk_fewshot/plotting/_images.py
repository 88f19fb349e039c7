"""Many small images in one axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RIGHT, WRONG = "tab:green", "tab:red"


def as_images(X: ArrayLike, image_shape: tuple[int, int, int] | None, name: str) -> NDArray:
    """Bring images into the form that matplotlib shows.

    Parameters
    ----------
    X : array-like of shape (n, H, W), (n, C, H, W) or, with `image_shape`, (n, C * H * W)
        One channel or three.
    image_shape : tuple of (C, H, W) or None
    name : str
        Of the argument, for errors.

    Returns
    -------
    ndarray of shape (n, H, W) or (n, H, W, 3)
        Colours that are floats outside [0, 1] are scaled into it, from the least to the largest.

    Raises
    ------
    ValueError
        If X has another shape.
    """
    images = np.asarray(X)
    if image_shape is not None and images.ndim == 2 and images.shape[1] == np.prod(image_shape):
        images = images.reshape(len(images), *image_shape)
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim == 3:
        return images
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"{name} must hold images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W), or flat "
            f"ones that go with image_shape={image_shape!r}, got shape {images.shape}."
        )
    images = images.transpose(0, 2, 3, 1)
    if images.dtype.kind == "f" and images.size and (images.min() < 0 or images.max() > 1):
        images = (images - images.min()) / np.ptp(images)
    return images


def image_grid(ax, n_rows: int, n_columns: int) -> NDArray:
    """Return empty axes (n_rows, n_columns) inside of `ax`, with room for a line above and below.

    `ax` itself becomes an invisible frame.
    """
    ax.set_axis_off()
    width, height = 1 / n_columns, 1 / n_rows
    cells = np.empty((n_rows, n_columns), dtype=object)
    for i, j in np.ndindex(cells.shape):
        low = 1 - (i + 1) * height
        cell = ax.inset_axes(
            (j * width + 0.05 * width, low + 0.2 * height, 0.9 * width, 0.6 * height)
        )
        cell.set_axis_off()
        cells[i, j] = cell
    return cells


def show_image(cell, image: NDArray, title: str, note: str = "", color: str = "black", **kwargs):
    """Show an image with a title above and a note below."""
    cell.set_axis_on()
    cell.set(xticks=[], yticks=[])
    cell.spines[:].set_color(color)
    cell.imshow(image, **kwargs)
    cell.set_title(title, color=color, fontsize="small", pad=2)
    cell.set_xlabel(note, color=color, fontsize="x-small", labelpad=2)


def grey_scale(*images: NDArray) -> dict:
    """Arguments of ``imshow`` by which equal pixels look equal in all images."""
    return {
        "cmap": "gray",
        "vmin": min(some.min() for some in images if some.size),
        "vmax": max(some.max() for some in images if some.size),
    }
