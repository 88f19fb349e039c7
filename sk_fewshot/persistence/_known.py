"""What a file may name, and which values it may give for each parameter."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
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
from sk_fewshot.distances import METRICS
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.gallery import ClassMeans, Examples
from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._rules import (
    ARRIVAL,
    BOOLEAN,
    CODES,
    COUNT,
    COUNTS,
    DEVICE,
    IMAGE_SHAPE,
    KEYS,
    LABELS,
    LARGEST_COUNT,
    NONE,
    NUMBER,
    PLAIN,
    ROWS,
    SEED,
    TEXT,
    Rule,
    among,
    integer,
    items,
    made_of,
    one_of,
    real,
)

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
_ENCODERS = {**_named(Conv4, MLP), **LAYERS}
_HEADS = _public(heads)
_LOSSES = _public(losses)
_OPTIMIZERS = _named(torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD)
_SCIKIT_LEARN = _named(FrozenEstimator, MinMaxScaler, Normalizer, PCA, Pipeline, StandardScaler)

ESTIMATORS: dict[str, Any] = {**_public(transformers), **_public(classifiers), **_SCIKIT_LEARN}
_GALLERIES = _named(ClassMeans, Examples)
OBJECTS = {**_HEADS, **_LOSSES, **_ENCODERS, **_GALLERIES, **_named(RandomAffine)}
CALLABLES = {**_ENCODERS, **_LOSSES, **_OPTIMIZERS}


def _is_callers_own(value: Any) -> bool:
    """Whether it is a class or function: one that `load` was given, if a file may not name it."""
    return callable(value) and hasattr(value, "__qualname__") and value not in CALLABLES.values()


def _is_setting_of_net(name: Any, value: Any) -> bool:
    return isinstance(name, str) and any(
        re.fullmatch(pattern, name, re.ASCII) and rule.accepts(value)
        for pattern, rule in _NET_PARAMS.items()
    )


def _are_steps(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(step, tuple)
        and len(step) == 2
        and TEXT.accepts(step[0])
        and (step[1] in (None, "passthrough") or isinstance(step[1], BaseEstimator))
        for step in value
    )


def _are_arguments(value: Any) -> bool:
    argument = PLAIN | among(CALLABLES) | _OWN
    return (
        isinstance(value, dict) and len(value) <= 100 and all(map(argument.accepts, value.values()))
    )


# Settings of skorch's net reach torch.compile, files and other processes; of these none does.
_NET_PARAMS = {
    r"optimizer__[a-z_]+": PLAIN,
    r"iterator_(train|valid)__(n_batches|seed)": SEED,
    r"callbacks__[a-z_]+": NONE,
    r"callbacks|train_split": NONE,
    r"warm_start": BOOLEAN,
    r"verbose": integer(0, 10),
}
_OWN = Rule("a class or function that load was given", _is_callers_own)
_METRIC = one_of(*METRICS) | NONE | _OWN
_ESTIMATOR = Rule("an estimator", lambda value: isinstance(value, BaseEstimator))
_NAMES = items(TEXT, 0, LARGEST_COUNT)
_SIZE = integer(-LARGEST_COUNT, LARGEST_COUNT)
_SPAN = integer(0, 1024)  # in pixels: torch walks through it, wherever it lies
_STEPS = integer(1, 100)  # that a prediction takes one after another

PARAMETERS: dict[str, Rule] = {
    "annealing": BOOLEAN,
    "augment": NONE | made_of(RandomAffine) | _OWN,
    "batches_per_epoch": COUNT,
    "calibration_pairs": NUMBER | NONE,
    "checkpoint": NONE,  # `fit` would write there
    "classes_per_batch": COUNT | NONE,
    "clip": BOOLEAN,
    "copy": BOOLEAN,
    "device": DEVICE,
    "embedding_dim": COUNT | NONE,
    "encoder": NONE | one_of("passthrough") | _ESTIMATOR,
    "estimator": _ESTIMATOR,
    "false_accept_rate": NUMBER | NONE,
    "feature_range": items(NUMBER, 2, 2),
    "frozen": TEXT | items(TEXT, 0, 1000) | NONE,
    "full_context": BOOLEAN,
    "image_shape": IMAGE_SHAPE | NONE,
    "index": one_of("faiss") | NONE,
    "iterated_power": one_of("auto") | _STEPS,
    "loss": TEXT | among(_LOSSES) | made_of(*_LOSSES.values()) | _OWN,
    "lr": NUMBER,
    "margin": real(0, 1000) | NONE,
    "max_epochs": COUNT,
    "memory": NONE,  # a folder of pickles
    "metric": _METRIC,
    "mining": TEXT | NONE,
    "module": NONE | among(_ENCODERS) | made_of(*_ENCODERS.values()) | _OWN,
    "module_params": NONE | Rule("plain values and known classes", _are_arguments),
    "n_components": one_of("mle") | NUMBER | NONE,
    "n_oversamples": COUNT,
    "n_query": COUNT | NONE,
    "n_shot": COUNT,
    "n_steps": _STEPS,
    "n_way": COUNT | NONE,
    "net_params": NONE
    | Rule(
        "settings of the optimizer",
        lambda value: (
            isinstance(value, dict)
            and all(_is_setting_of_net(name, setting) for name, setting in value.items())
        ),
    ),
    "norm": TEXT,
    "normalize": BOOLEAN | NONE,
    "optimizer": TEXT | among(_OPTIMIZERS) | _OWN,
    "pooling": TEXT,
    "power_iteration_normalizer": TEXT,
    "random_state": SEED | NONE,
    "reject_below": NUMBER | NONE,
    "samples_per_class": COUNT | NONE,
    "scale": NUMBER,
    "soft": BOOLEAN | NONE,
    "steps": Rule("pairs of a name and an estimator", _are_steps),
    "svd_solver": TEXT,
    "temperature": NUMBER | NONE,
    "tol": NUMBER,
    "transform_input": NONE | _NAMES,
    "unknown_label": NUMBER | TEXT | NONE,
    "validation_classes": NUMBER | NONE,
    "verbose": BOOLEAN | integer(0, 10),
    "whiten": BOOLEAN,
    "with_mean": BOOLEAN,
    "with_std": BOOLEAN,
}
ARGUMENTS: dict[str, Rule] = {
    "affine": BOOLEAN,
    "annealing": BOOLEAN,
    "arrival": ARRIVAL,
    "bias": BOOLEAN,
    "ceil_mode": BOOLEAN,
    "classes": LABELS,
    "codes": CODES,
    "comparator": made_of(losses.PairBCELoss) | NONE,
    "context": made_of(heads.FullContext) | NONE,
    "count_include_pad": BOOLEAN,
    "counts": COUNTS,
    "degrees": NUMBER,
    "dilation": _SPAN | items(_SPAN, 2, 2),
    "dim": _SIZE,
    "divisor_override": integer(1, LARGEST_COUNT) | NONE,
    "elementwise_affine": BOOLEAN,
    "embedding_dim": COUNT | NONE,
    "embedding_shape": COUNT | items(COUNT, 1, 3),
    "end_dim": _SIZE,
    "eps": real(1e-30, 1),
    "flip": NUMBER,
    "groups": COUNT,
    "head": made_of(*(cls for cls in _HEADS.values() if hasattr(cls, "score"))),
    "hidden": items(COUNT, 0, 100),
    "ids": KEYS,
    "image_shape": IMAGE_SHAPE,
    "in_channels": COUNT,
    "in_features": COUNT,
    "inplace": BOOLEAN,
    "kernel_size": _SPAN | items(_SPAN, 2, 2),
    "layers": Rule(
        "layers by name",
        lambda value: (
            isinstance(value, dict)
            and all(map(made_of(*_ENCODERS.values()).accepts, value.values()))
        ),
    ),
    "loss": TEXT,
    "margin": real(0, 1000),
    "metric": one_of(*METRICS) | _OWN,
    "mining": TEXT,
    "momentum": NUMBER | NONE,
    "n_classes": COUNT,
    "n_features": COUNT,
    "n_filters": COUNT,
    "n_hidden": COUNT,
    "n_poolings": COUNT | NONE,
    "n_shot": COUNT,
    "n_steps": _STEPS,
    "next_id": integer(0, 2**62),
    "normalize": BOOLEAN,
    "normalized_shape": COUNT | items(COUNT, 1, 4),
    "num_features": COUNT,
    "out_channels": COUNT,
    "out_features": COUNT,
    "output_size": NONE | _SPAN | items(NONE | _SPAN, 2, 2),
    "p": NUMBER,
    "padding": TEXT | _SPAN | items(_SPAN, 2, 2),
    "padding_mode": TEXT,
    "pooling": TEXT,
    "return_indices": BOOLEAN,
    "rows": ROWS,
    "scale": NUMBER | items(NUMBER, 2, 2),
    "shear": NUMBER,
    "soft": BOOLEAN,
    "start_dim": _SIZE,
    "sums": ROWS | NONE,
    "stride": _SPAN | items(_SPAN, 2, 2),
    "temperature": NUMBER | NONE,
    "track_running_stats": BOOLEAN,
    "translate": NUMBER,
    "unflattened_size": items(_SIZE, 1, 8),
}


def check_rules(cls: type, given: Mapping[str, Any]) -> None:
    """Check parameters of an estimator, or arguments of another class.

    Raises
    ------
    InvalidFileError
        If a value is none that a file may have, or there is no rule for the name: nothing is taken
        that nobody has thought of.
    """
    rules = PARAMETERS if issubclass(cls, BaseEstimator) else ARGUMENTS
    for name, value in given.items():
        if name not in rules:
            raise InvalidFileError(f"{cls.__name__}.{name} is nothing that a file may set.")
        if not rules[name].accepts(value):
            raise InvalidFileError(
                f"{cls.__name__}.{name} must be, in a file, {rules[name].words}; got "
                f"{reprlib.repr(value)}."
            )
