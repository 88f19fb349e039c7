"""Warnings at the caller's line."""

from __future__ import annotations

import sys
import warnings

_WITHIN = {"sk_fewshot", "sklearn", "skorch", "torch"}


def warn_caller(message: str) -> None:
    """Draw a UserWarning at the line that called into this package, by whatever way."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _root(frame.f_globals) in _WITHIN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _root(names: dict) -> str:
    return names.get("__name__", "").partition(".")[0]
