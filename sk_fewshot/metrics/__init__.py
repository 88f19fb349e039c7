"""Scores of verification and retrieval, and pairs to verify."""

from sk_fewshot.metrics._calibration import expected_calibration_error
from sk_fewshot.metrics._pairs import make_pairs
from sk_fewshot.metrics._retrieval import map_at_r, precision_at_1, r_precision, recall_at_k
from sk_fewshot.metrics._verification import equal_error_rate, true_accept_rate

__all__ = [
    "equal_error_rate",
    "expected_calibration_error",
    "make_pairs",
    "map_at_r",
    "precision_at_1",
    "r_precision",
    "recall_at_k",
    "true_accept_rate",
]
