"""Transformers: encoders that learn to compare from labelled examples."""

from sk_fewshot.transformers.prototypical import PrototypicalTransformer

__all__ = ["PrototypicalTransformer"]
