"""Classifiers: label new classes from a few examples of each."""

from sk_fewshot.classifiers.prototypical import PrototypicalClassifier

__all__ = ["PrototypicalClassifier"]
