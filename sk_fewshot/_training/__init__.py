"""The training engine: an encoder, class-balanced batches and a loss, trained by skorch."""

from sk_fewshot._training.data import LabelledRows
from sk_fewshot._training.engine import split_classes, train

__all__ = ["LabelledRows", "split_classes", "train"]
