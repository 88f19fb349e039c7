"""The training engine: an encoder, class-balanced batches and a loss, trained by skorch."""

from sk_fewshot._training.data import LabelledRows
from sk_fewshot._training.engine import OPTIMIZERS, split_classes, train

__all__ = ["OPTIMIZERS", "LabelledRows", "split_classes", "train"]
