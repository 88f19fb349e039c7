"""Few-shot and metric learning as scikit-learn estimators."""

from typing import TYPE_CHECKING, Any

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
from sk_fewshot.gallery import PostgresGallery
from sk_fewshot.transformers import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    LossTransformer,
    MatchingTransformer,
    PrototypicalTransformer,
    RelationTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)

if TYPE_CHECKING:
    from sk_fewshot.persistence import load, save

__all__ = [
    "AMSoftmaxTransformer",
    "ArcFaceTransformer",
    "EpisodeScores",
    "EpisodeSplit",
    "LossTransformer",
    "MatchingClassifier",
    "MatchingTransformer",
    "PairClassifier",
    "PostgresGallery",
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


def __getattr__(name: str) -> Any:
    """Import `load` and `save` when they are first asked for: what they need takes its time."""
    if name in ("load", "save"):
        from sk_fewshot import persistence

        return getattr(persistence, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
