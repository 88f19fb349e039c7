"""The training engine: an encoder, class-balanced batches and a loss, trained by skorch."""

from sk_fewshot._training.checkpoint import Checkpoint
from sk_fewshot._training.data import LabelledRows
from sk_fewshot._training.engine import OPTIMIZERS, split_classes, train
from sk_fewshot._training.fingerprint import digest, digest_of_rows
from sk_fewshot._training.frozen import freeze
from sk_fewshot._training.workers import Workers

__all__ = [
    "OPTIMIZERS",
    "Checkpoint",
    "LabelledRows",
    "Workers",
    "digest",
    "digest_of_rows",
    "freeze",
    "split_classes",
    "train",
]
