"""Heads: modules that score queries against a support set, in training and in prediction alike."""

from sk_fewshot.heads.full_context import FullContext
from sk_fewshot.heads.matching import MatchingHead
from sk_fewshot.heads.prototypical import PrototypicalHead
from sk_fewshot.heads.relation import RelationHead
from sk_fewshot.heads.siamese import SiameseHead

__all__ = ["FullContext", "MatchingHead", "PrototypicalHead", "RelationHead", "SiameseHead"]
