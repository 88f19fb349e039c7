"""Transformers that are trained by a loss on class-balanced batches."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

from sklearn.preprocessing import normalize
from sklearn.utils._param_validation import Interval
from torch import nn

from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.losses import EpisodeLoss
from sk_fewshot.transformers._base import BaseTransformer
from sk_fewshot.transformers._batch_size import classes_per_batch, examples_per_class

_BATCH = 72  # 18 classes x 4 examples, as Hermans, Beyer and Leibe (2017)
_EXAMPLES = 4
_TWO_OR_MORE = Interval(Integral, 2, None, closed="left")


class BatchTransformer(BaseTransformer):
    """An encoder trained by a loss on batches of P classes x K examples.

    A subclass declares the loss (`_make_loss`) and whether it compares only the directions of the
    embeddings (`_directional`), which then come normalised from `transform`.
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseTransformer._parameter_constraints,
        "classes_per_batch": [_TWO_OR_MORE, None],
        "samples_per_class": [_TWO_OR_MORE, None],
    }

    def __init__(self, *, classes_per_batch, samples_per_class, **shared):
        super().__init__(**shared)
        self.classes_per_batch = classes_per_batch
        self.samples_per_class = samples_per_class

    @property
    def _directional(self) -> bool:
        """Whether the loss ignores the lengths of the embeddings."""
        return False

    def _make_validation_loss(self) -> nn.Module | None:
        """One-shot episodes: the loss may have weights for the training classes alone."""
        return EpisodeLoss(PrototypicalHead("cosine" if self._directional else "sqeuclidean"))

    def transform(self, X):
        """Embed examples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
            As in `fit`; images may also come flat.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim)
            Embeddings, float64 for float64 input and float32 otherwise. Of length 1 where the loss
            compares only directions: Euclidean neighbours are then the neighbours by angle.
        """
        embeddings = self._embed(X)
        return normalize(embeddings, copy=False) if self._directional else embeddings

    def _batch_shape(self, counts):
        n_samples = self.samples_per_class or min(_EXAMPLES, counts.min())
        n_classes = classes_per_batch(
            "classes_per_batch", self.classes_per_batch, max(2, _BATCH // n_samples), counts
        )
        return n_classes, examples_per_class(
            "samples_per_class",
            self.samples_per_class,
            2,
            max(_EXAMPLES, _BATCH // n_classes),
            counts,
        )


def given(transformer: BatchTransformer, *names: str) -> dict[str, Any]:
    """Return the parameters of these names that are not None."""
    values = {name: getattr(transformer, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def refuse(transformer: BatchTransformer, names: tuple[str, ...], *, loss: str) -> None:
    """Raise a ValueError if a parameter that belongs to another loss was given."""
    for name, value in given(transformer, *names).items():
        raise ValueError(
            f"{name} belongs to loss={loss!r}; with loss={transformer.loss!r} it must be None, "
            f"got {name}={value!r}."
        )
