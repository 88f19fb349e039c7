"""What a fitted estimator holds: which attributes, of which kind, with lengths that agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from sk_fewshot import classifiers as _classifiers
from sk_fewshot import heads as _heads
from sk_fewshot import losses as _losses
from sk_fewshot import transformers as _transformers
from sk_fewshot.gallery import ClassMeans, Examples
from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._rules import (
    COUNT,
    IMAGE_SHAPE,
    LABELS,
    LARGEST_COUNT,
    MOST_FEATURES,
    NONE,
    NUMBER,
    PLAIN,
    TEXT,
    Rule,
    array,
    made_of,
    one_of,
    real,
)


@dataclass(frozen=True)
class Length:
    """An integer that says how long a side is; sides of one name are of one length."""

    side: str


@dataclass(frozen=True)
class Sides:
    """An array that a rule accepts, or None, whose sides have names."""

    names: tuple[str, ...]
    rule: Rule
    or_none: bool = False


Attributes = dict[str, Rule | Length | Sides]


def _numbers(*sides: str, low: float = -inf, or_none: bool = False) -> Sides:
    return Sides(sides, array("f", len(sides), low), or_none)


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= LARGEST_COUNT
        and all(isinstance(epoch, dict) and PLAIN.accepts(epoch) for epoch in value)
    )


_NAMES = Rule(
    "an array of texts",
    lambda value: (
        isinstance(value, np.ndarray) and value.dtype == object and set(map(type, value)) == {str}
    ),
)
_OUTPUT = Rule(
    "a kind of output",
    lambda value: (
        isinstance(value, dict)
        and set(value) <= {"transform"}
        and all(one_of("default", "pandas", "polars").accepts(kind) for kind in value.values())
    ),
)
_ESTIMATOR = Rule("an estimator", lambda value: isinstance(value, BaseEstimator))
_FEATURES: Attributes = {"n_features_in_": Length("features")}
_CLASSIFIER: Attributes = {"encoder_": one_of("passthrough") | _ESTIMATOR}

_ANY: Attributes = {  # that an estimator may have or not
    **_FEATURES,
    "feature_names_in_": Sides(("features",), _NAMES),
    "image_shape_": IMAGE_SHAPE | NONE,
    "_sklearn_output_config": _OUTPUT,
}


def _of_transformer(*losses: type) -> Attributes:
    return {
        **_FEATURES,
        "classes_": LABELS,
        "image_shape_": IMAGE_SHAPE | NONE,
        "loss_": made_of(*losses),
        "history_": Rule("a list of what was noted of each epoch", _is_history),
        "n_iter_": COUNT,
        "_n_features_out": Length("outputs"),
    }


def _of_classifier(gallery: type, head: type) -> Attributes:
    return {**_CLASSIFIER, "gallery_": made_of(gallery), "head_": made_of(head)}


_EVERY_LOSS = [getattr(_losses, name) for name in _losses.__all__]
FITTED: dict[type, Attributes] = {
    _transformers.SiameseTransformer: _of_transformer(_losses.ContrastiveLoss, _losses.PairBCELoss),
    _transformers.LossTransformer: _of_transformer(*_EVERY_LOSS),
    _transformers.TripletTransformer: _of_transformer(*_EVERY_LOSS),
    _transformers.SphereFaceTransformer: _of_transformer(_losses.SphereFaceLoss),
    _transformers.AMSoftmaxTransformer: _of_transformer(_losses.AMSoftmaxLoss),
    _transformers.ArcFaceTransformer: _of_transformer(_losses.ArcFaceLoss),
    _transformers.PrototypicalTransformer: _of_transformer(_losses.EpisodeLoss),
    _transformers.MatchingTransformer: _of_transformer(_losses.EpisodeLoss),
    _transformers.RelationTransformer: _of_transformer(_losses.EpisodeLoss),
    _classifiers.PrototypicalClassifier: _of_classifier(ClassMeans, _heads.PrototypicalHead),
    _classifiers.MatchingClassifier: _of_classifier(Examples, _heads.MatchingHead),
    _classifiers.RelationClassifier: _of_classifier(Examples, _heads.RelationHead),
    _classifiers.SiameseClassifier: _of_classifier(Examples, _heads.SiameseHead),
    _classifiers.PairClassifier: {
        **_CLASSIFIER,
        **_FEATURES,
        "classes_": Sides(("two",), LABELS),
        "threshold_": NUMBER,
        "slope_": real(0),
        "intercept_": NUMBER,
    },
    StandardScaler: {
        **_FEATURES,
        "mean_": _numbers("features", or_none=True),
        "var_": _numbers("features", low=0, or_none=True),
        "scale_": _numbers("features", low=0, or_none=True),
        "n_samples_seen_": NUMBER | array("if", 1, 0),
    },
    MinMaxScaler: {
        **_FEATURES,
        "n_samples_seen_": NUMBER,
        "data_max_": _numbers("features"),
        "data_min_": _numbers("features"),
        "data_range_": _numbers("features", low=0),
        "min_": _numbers("features"),
        "scale_": _numbers("features"),
    },
    Normalizer: _FEATURES,
    PCA: {
        **_FEATURES,
        "components_": _numbers("components", "features"),
        "explained_variance_": _numbers("components", low=0),
        "explained_variance_ratio_": _numbers("components"),
        "mean_": _numbers("features"),
        "n_components_": Length("components"),
        "n_samples_": COUNT,
        "noise_variance_": NUMBER,
        "singular_values_": _numbers("components"),
        "_fit_svd_solver": TEXT,
    },
}


def check_fitted(cls: type, fitted: Mapping[str, Any]) -> None:
    """Check the fitted attributes of an estimator: all of them, or none.

    Raises
    ------
    InvalidFileError
        If one is missing, unknown or of another kind, or lengths disagree.
    """
    needed = FITTED.get(cls, {})
    grammar = {**_ANY, **needed}
    lengths = {"two": 2}
    for name, value in fitted.items():
        if name not in grammar:
            raise InvalidFileError(f"{cls.__name__} has no fitted attribute {name!r}.")
        _check(f"{cls.__name__}.{name}", value, grammar[name], lengths)
    if fitted.keys() - {"_sklearn_output_config"} and (missing := needed.keys() - fitted.keys()):
        raise InvalidFileError(f"{cls.__name__} lacks {sorted(missing)}.")


def _check(
    where: str, value: Any, expected: Rule | Length | Sides, lengths: dict[str, int]
) -> None:
    if isinstance(expected, Length):
        if type(value) is not int or not 1 <= value <= MOST_FEATURES:
            raise InvalidFileError(f"{where} must be an integer from 1 to {MOST_FEATURES}.")
        sides = {expected.side: value}
    elif isinstance(expected, Sides):
        if value is None and expected.or_none:
            return
        if not expected.rule.accepts(value) or value.ndim != len(expected.names):
            raise InvalidFileError(f"{where} must be {expected.rule.words}.")
        sides = dict(zip(expected.names, value.shape, strict=True))
    elif not expected.accepts(value):
        raise InvalidFileError(f"{where} must be {expected.words}.")
    else:
        return
    for side, length in sides.items():
        if lengths.setdefault(side, length) != length:
            raise InvalidFileError(
                f"{where} has {length} {side}, where others have {lengths[side]}."
            )
