"""Transformers that are trained by a softmax over class weights, with a margin."""

from __future__ import annotations

from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.losses import EpisodeLoss
from sk_fewshot.transformers._batch import BatchTransformer


class MarginSoftmaxTransformer(BatchTransformer):
    """An encoder whose embeddings are compared by angle, trained against one weight a class.

    Held-out classes have no weights: they are judged by one-shot episodes with the cosine.
    """

    @property
    def _directional(self):
        return True

    def _make_validation_loss(self):
        return EpisodeLoss(PrototypicalHead("cosine"), n_shot=1)
