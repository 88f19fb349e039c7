"""What a file may name."""

from __future__ import annotations

import re
from typing import Any

import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from torch import nn

from sk_fewshot import classifiers, heads, losses, transformers
from sk_fewshot._version import __version__
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.gallery import ClassMeans, Examples

FORMAT = 1
VERSIONS = {
    "sk_fewshot": __version__,
    "torch": str(torch.__version__),
    "sklearn": sklearn.__version__,
}


def _named(*things: type) -> dict[str, type]:
    return {thing.__name__: thing for thing in things}


def _public(package: Any) -> dict[str, type]:
    return {name: getattr(package, name) for name in package.__all__}


LAYERS = _named(
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Conv2d,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.LayerNorm,
    nn.Linear,
    nn.MaxPool2d,
    nn.ReLU,
    nn.Sequential,
    nn.Tanh,
    nn.Unflatten,
)
_OPTIMIZERS = _named(torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD)
_SCIKIT_LEARN = _named(FrozenEstimator, MinMaxScaler, Normalizer, PCA, Pipeline, StandardScaler)

ESTIMATORS: dict[str, Any] = {**_public(transformers), **_public(classifiers), **_SCIKIT_LEARN}
OBJECTS = {
    **_public(heads),
    **_public(losses),
    **LAYERS,
    **_named(Conv4, MLP, RandomAffine, ClassMeans, Examples),
}
CALLABLES = {**_named(Conv4, MLP), **LAYERS, **_public(losses), **_OPTIMIZERS}


def may_be_fitted(estimator: BaseEstimator, name: str) -> bool:
    """Whether a file may set an attribute of this name: data in ``vars``, nothing of the class."""
    return (
        re.fullmatch(r"_[a-z]\w*|[a-z]\w*_", name, re.ASCII) is not None
        and name != "net_"
        and not hasattr(type(estimator), name)
    )
