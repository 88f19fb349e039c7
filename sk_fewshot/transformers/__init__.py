"""Transformers: encoders that learn to compare from labelled examples."""

from sk_fewshot.transformers.am_softmax import AMSoftmaxTransformer
from sk_fewshot.transformers.arcface import ArcFaceTransformer
from sk_fewshot.transformers.loss import LossTransformer
from sk_fewshot.transformers.matching import MatchingTransformer
from sk_fewshot.transformers.prototypical import PrototypicalTransformer
from sk_fewshot.transformers.relation import RelationTransformer
from sk_fewshot.transformers.siamese import SiameseTransformer
from sk_fewshot.transformers.sphereface import SphereFaceTransformer
from sk_fewshot.transformers.triplet import TripletTransformer

__all__ = [
    "AMSoftmaxTransformer",
    "ArcFaceTransformer",
    "LossTransformer",
    "MatchingTransformer",
    "PrototypicalTransformer",
    "RelationTransformer",
    "SiameseTransformer",
    "SphereFaceTransformer",
    "TripletTransformer",
]
