"""Checks for people who write their own estimators, losses, heads and encoders.

:mod:`sk_fewshot.testing.strategies` draws what these take, by hypothesis.
"""

from sk_fewshot.testing._estimators import (
    check_few_shot_estimator,
    few_shot_checks_generator,
    parametrize_with_few_shot_checks,
)
from sk_fewshot.testing._modules import check_head, check_loss

__all__ = [
    "check_few_shot_estimator",
    "check_head",
    "check_loss",
    "few_shot_checks_generator",
    "parametrize_with_few_shot_checks",
]
