"""Transformers that are trained by episodes."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import ClassVar

from sklearn.utils._param_validation import Interval
from torch import nn

from sk_fewshot.losses import EpisodeLoss
from sk_fewshot.transformers._base import POSITIVE, BaseTransformer
from sk_fewshot.transformers._batch_size import classes_per_batch, examples_per_class

_WAYS = 20
_QUERIES = 5


class EpisodicTransformer(BaseTransformer):
    """An encoder trained through the head that later predicts.

    A subclass declares the head (`_make_head`).
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseTransformer._parameter_constraints,
        "n_way": [Interval(Integral, 2, None, closed="left"), None],
        "n_shot": [POSITIVE],
        "n_query": [POSITIVE, None],
    }

    def __init__(self, *, n_way, n_shot, n_query, **shared):
        super().__init__(**shared)
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query

    @abstractmethod
    def _make_head(self, embedding_shape: tuple[int, ...]) -> nn.Module:
        """The head, for embeddings of this shape each."""

    @property
    def head_(self) -> nn.Module:
        """The head, with what it learned."""
        return self.loss_.get_submodule("head")

    def _make_loss(self, n_classes, embedding_shape):
        return EpisodeLoss(self._make_head(embedding_shape), self.n_shot)

    def _batch_shape(self, counts):
        n_way = classes_per_batch("n_way", self.n_way, _WAYS, counts)
        given = None if self.n_query is None else self.n_shot + self.n_query
        least, most = self.n_shot + 1, self.n_shot + _QUERIES
        return n_way, examples_per_class("n_shot + n_query", given, least, most, counts)
