"""Losses on a batch of embeddings and labels, ``loss(embeddings, y) -> scalar``."""

from sk_fewshot.losses.am_softmax import AMSoftmaxLoss
from sk_fewshot.losses.arcface import ArcFaceLoss
from sk_fewshot.losses.contrastive import ContrastiveLoss
from sk_fewshot.losses.episode import EpisodeLoss
from sk_fewshot.losses.pair_bce import PairBCELoss
from sk_fewshot.losses.sphereface import SphereFaceLoss
from sk_fewshot.losses.supcon import SupConLoss
from sk_fewshot.losses.triplet import TripletLoss
from sk_fewshot.losses.triplet_ratio import TripletRatioLoss

__all__ = [
    "AMSoftmaxLoss",
    "ArcFaceLoss",
    "ContrastiveLoss",
    "EpisodeLoss",
    "PairBCELoss",
    "SphereFaceLoss",
    "SupConLoss",
    "TripletLoss",
    "TripletRatioLoss",
]
