"""Classifiers: label new classes from a few examples of each."""

from sk_fewshot.classifiers.matching import MatchingClassifier
from sk_fewshot.classifiers.pair import PairClassifier
from sk_fewshot.classifiers.prototypical import PrototypicalClassifier
from sk_fewshot.classifiers.relation import RelationClassifier
from sk_fewshot.classifiers.siamese import SiameseClassifier

__all__ = [
    "MatchingClassifier",
    "PairClassifier",
    "PrototypicalClassifier",
    "RelationClassifier",
    "SiameseClassifier",
]
