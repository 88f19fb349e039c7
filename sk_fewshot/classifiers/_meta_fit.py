"""Learning to compare ahead of the few examples."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from sk_fewshot.classifiers._encoder import encoder_input, fresh_encoder


class MetaFit:
    """Adds `meta_fit` to a classifier with parameters `encoder` and `random_state`."""

    _default_encoder: ClassVar[type[BaseEstimator]]

    encoder: Any
    random_state: Any

    def meta_fit(self, X, y) -> Self:
        """Learn to compare, once, from many labelled classes.

        Sets the parameter `encoder` to a frozen encoder trained on (X, y): clones and grid searches
        keep it. A frozen encoder is trained anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
            Examples of the base classes.
        y : array-like of shape (n_samples,)
            Labels of the base classes; they need not occur later.

        Returns
        -------
        self : object
            This classifier, ready for `fit`.

        Raises
        ------
        ValueError
            If `encoder` is "passthrough", which learns nothing; or as the encoder's `fit`.
        """
        self._validate_params()  # type: ignore[attr-defined]
        if isinstance(self.encoder, str):
            raise ValueError("meta_fit needs an encoder that learns, got encoder='passthrough'.")
        encoder = self.encoder.estimator if self._is_frozen() else self._unfitted_encoder()
        fitted = fresh_encoder(encoder, self.random_state).fit(encoder_input(encoder, X), y)
        self.encoder = FrozenEstimator(fitted)
        return self

    def _is_frozen(self) -> bool:
        return isinstance(self.encoder, FrozenEstimator)

    def _unfitted_encoder(self) -> BaseEstimator:
        return self._default_encoder() if self.encoder is None else self.encoder
