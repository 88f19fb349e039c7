"""Displays in scikit-learn's convention; matplotlib is imported when something is drawn."""

from sk_fewshot.plotting.embedding import EmbeddingDisplay
from sk_fewshot.plotting.episode import EpisodeDisplay
from sk_fewshot.plotting.episode_scores import EpisodeScoresDisplay
from sk_fewshot.plotting.neighbors import NeighborsDisplay
from sk_fewshot.plotting.training_curve import TrainingCurveDisplay

__all__ = [
    "EmbeddingDisplay",
    "EpisodeDisplay",
    "EpisodeScoresDisplay",
    "NeighborsDisplay",
    "TrainingCurveDisplay",
]
