"""Fitted estimators as files that hold data and no code."""

from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._reading import load
from sk_fewshot.persistence._writing import save

__all__ = ["InvalidFileError", "load", "save"]
