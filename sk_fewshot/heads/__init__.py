"""Heads: modules that score queries against a support set, in training and in prediction alike."""

from sk_fewshot.heads.prototypical import PrototypicalHead

__all__ = ["PrototypicalHead"]
