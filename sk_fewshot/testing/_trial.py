"""What the checks try an estimator on: small images of a few classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from sk_fewshot.metrics import make_pairs

SIDE = 4
FLAT, GREY, CHANNELS = (SIDE * SIDE,), (SIDE, SIDE), (1, SIDE, SIDE)
_CLASSES, _EXAMPLES, _PAIRS = 4, 6, 60


@dataclass(frozen=True)
class Trial:
    """An estimator and what to fit it on and to ask it.

    Attributes
    ----------
    estimator : estimator
        Unfitted and seeded. Its encoder, if it has one that learns, is frozen already, so that
        `fit` meets classes that are new to it.
    X : ndarray of shape (n_examples, ...) or (n_pairs, 2, ...)
    y : ndarray of int of shape (n_examples,) or (n_pairs,)
        0 .. n_classes - 1.
    queries : ndarray of shape (n_queries, ...) or (n_queries, 2, ...)
    """

    estimator: Any
    X: NDArray
    y: NDArray
    queries: NDArray

    def fitted(self) -> Any:
        """Return a fitted clone."""
        return clone(self.estimator).fit(self.X, self.y)

    def answers(self, fitted: Any, queries: NDArray | None = None) -> NDArray:
        """Embeddings or probabilities of the queries."""
        answer = fitted.predict_proba if is_classifier(fitted) else fitted.transform
        return np.asarray(answer(self.queries if queries is None else queries))


def prepare(
    estimator: BaseEstimator,
    form: tuple[int, ...] = FLAT,
    *,
    as_image: bool = False,
    freeze: bool = True,
) -> Trial:
    """Make a trial.

    Parameters
    ----------
    estimator : estimator
        Left as it is.
    form : tuple of int, default=FLAT
        The shape that an image of 4 x 4 pixels is given in.
    as_image : bool, default=False
        Whether flat rows are to be taken for images. They are anyway where the estimator has an
        `image_shape`.
    freeze : bool, default=True
        Whether an encoder that learns has learned on other classes before.
    """
    fresh = unfrozen(estimator)
    fresh.set_params(**dict.fromkeys(_names(fresh, "random_state"), 0))
    shape_names = _names(fresh, "image_shape")
    as_image |= any(fresh.get_params()[name] is not None for name in shape_names)
    shape = CHANNELS if as_image and form == FLAT else None
    fresh.set_params(**dict.fromkeys(shape_names, shape))
    X_base, y_base = _images(0, form)
    if freeze and learns_encoder(fresh):
        fresh.meta_fit(X_base, y_base)
    X, y = _images(1, form)
    queries, _ = _images(2, form)
    if takes_pairs(estimator):
        X, y = make_pairs(X, y, n_pairs=_PAIRS, random_state=0)
        queries = np.stack([queries[::2], queries[1::2]], axis=1)
    return Trial(fresh, X, y, queries)


def takes_pairs(estimator: BaseEstimator) -> bool:
    """Whether X has shape (n_pairs, 2, ...)."""
    return is_classifier(estimator) and not get_tags(estimator).input_tags.two_d_array


def learns_encoder(estimator: Any) -> bool:
    """Whether it is a classifier with an encoder that learns."""
    encoder = estimator.get_params(deep=False).get("encoder", "none")
    return hasattr(estimator, "meta_fit") and not isinstance(encoder, str)


def has_image_shape(estimator: Any) -> bool:
    """Whether flat rows can be taken for images, or need not."""
    passthrough = hasattr(estimator, "meta_fit") and not learns_encoder(estimator)
    return passthrough or bool(_names(unfrozen(estimator), "image_shape"))


def unfrozen(estimator: Any) -> Any:
    """Return a clone whose encoder is not fitted."""
    fresh = clone(estimator)
    encoder = fresh.get_params(deep=False).get("encoder")
    if isinstance(encoder, FrozenEstimator):
        fresh.set_params(encoder=clone(encoder.estimator))
    return fresh


def _names(estimator: BaseEstimator, parameter: str) -> list[str]:
    """Names of the parameters so called, its own and those of its parts."""
    return [name for name in estimator.get_params() if name.split("__")[-1] == parameter]


def _images(seed: int, form: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Images whose classes differ, in random order, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(_CLASSES), _EXAMPLES))
    X = 2 * rng.normal(size=(_CLASSES, *form))[y] + rng.normal(size=(len(y), *form))
    return X.astype(np.float32), y
