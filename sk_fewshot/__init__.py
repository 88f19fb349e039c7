"""Few-shot and metric learning as scikit-learn estimators."""

from sk_fewshot._version import __version__
from sk_fewshot.classifiers import (
    MatchingClassifier,
    PairClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
)
from sk_fewshot.episodes import EpisodeSplit
from sk_fewshot.evaluation import EpisodeScores, episode_score
from sk_fewshot.persistence import load, save
from sk_fewshot.transformers import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    MatchingTransformer,
    PrototypicalTransformer,
    RelationTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)

__all__ = [
    "AMSoftmaxTransformer",
    "ArcFaceTransformer",
    "EpisodeScores",
    "EpisodeSplit",
    "MatchingClassifier",
    "MatchingTransformer",
    "PairClassifier",
    "PrototypicalClassifier",
    "PrototypicalTransformer",
    "RelationClassifier",
    "RelationTransformer",
    "SiameseClassifier",
    "SiameseTransformer",
    "SphereFaceTransformer",
    "TripletTransformer",
    "__version__",
    "episode_score",
    "load",
    "save",
]
