"""Whether the parts of a loaded estimator fit one another, so that it answers."""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import Any

import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from sk_fewshot.classifiers import PairClassifier
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._encoder import last_step
from sk_fewshot.classifiers._scoring import enrolled_state
from sk_fewshot.gallery._inner_products import InnerProducts
from sk_fewshot.gallery._labels import unknown_label
from sk_fewshot.heads import MatchingHead, RelationHead, SiameseHead
from sk_fewshot.losses import PairBCELoss
from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._costs import Allowance, check_relations
from sk_fewshot.transformers._base import BaseTransformer


class _NotFittedError(InvalidFileError):
    """An encoder that cannot encode yet."""


Width = int | None  # of what an estimator takes or returns; None: any


def complete(estimator: BaseEstimator, allowance: Allowance) -> None:
    """Check an estimator, fitted or not, and set what the file leaves out because it follows.

    Raises
    ------
    InvalidFileError, ValueError
        If its parts do not fit one another.
    """
    if isinstance(estimator, BaseFewShotClassifier) and "gallery_" in vars(estimator):
        _check_few_shot_classifier(estimator, allowance)
        cpu = torch.device("cpu")
        estimator._state = enrolled_state(estimator.head_, estimator.gallery_, cpu)
    elif isinstance(estimator, PairClassifier) and "encoder_" in vars(estimator):
        _check_pair_classifier(estimator)
    elif isinstance(estimator, BaseTransformer) and "loss_" in vars(estimator):
        _check_equal("its loss", _of_loss(estimator.loss_), estimator.embedding_dim_)
        _check_image_shape(estimator)
    elif isinstance(estimator, FrozenEstimator | Pipeline):
        with suppress(_NotFittedError):
            _widths(estimator)
    elif isinstance(estimator, StandardScaler) and "n_features_in_" in vars(estimator):
        for wanted, name in ((estimator.with_mean, "mean_"), (estimator.with_std, "scale_")):
            if wanted and getattr(estimator, name) is None:
                raise InvalidFileError(f"StandardScaler.{name} must not be None.")


def _check_few_shot_classifier(classifier: Any, allowance: Allowance) -> None:
    width = classifier.gallery_.rows.shape[1]
    _check_equal("its encoder", _returned(classifier), width)
    head = classifier.head_
    if isinstance(head, MatchingHead) and head.context is not None:
        _check_equal("its context", head.context.embedding_dim, width)
    if isinstance(head, SiameseHead):
        _check_equal("its comparator", _of_loss(head.comparator), width)
    if isinstance(head, RelationHead):
        _check_equal("its comparator", prod(head.comparator.map_shape), width)
        check_relations(head, len(classifier.classes_), allowance)
    elif classifier.index is not None and not InnerProducts.rank(head.metric):
        raise InvalidFileError(f"there is no index for metric={head.metric!r}.")
    if classifier.reject_below is not None:
        unknown_label(classifier.unknown_label, classifier.classes_)


def _check_pair_classifier(classifier: Any) -> None:
    width = _returned(classifier)
    if classifier.metric is None and classifier.encoder_ != "passthrough":
        loss = getattr(last_step(classifier.encoder_), "loss_", None)
        if isinstance(loss, PairBCELoss):
            _check_equal("its loss", _of_loss(loss), width)


def _returned(classifier: Any) -> Width:
    """Length of the embeddings that a classifier's encoder returns."""
    if isinstance(classifier.encoder_, str):
        if missing := {"image_shape_", "n_features_in_"} - vars(classifier).keys():
            raise InvalidFileError(f"{type(classifier).__name__} lacks {sorted(missing)}.")
        _check_image_shape(classifier)
        return classifier.n_features_in_
    taken, returned = _widths(classifier.encoder_)
    _check_equal("its encoder", taken, getattr(classifier, "n_features_in_", None))
    return returned


def _widths(encoder: Any) -> tuple[Width, Width]:
    """Numbers that a fitted encoder takes and returns for each example.

    Raises
    ------
    InvalidFileError
        If it is no encoder, not fitted, or steps do not fit one another.
    """
    fitted = vars(encoder)
    if isinstance(encoder, FrozenEstimator):
        return _widths(encoder.estimator)
    if isinstance(encoder, Pipeline):
        first: Width = None
        last: Width = None
        if not encoder.steps:
            raise InvalidFileError("it has a Pipeline without steps.")
        for _, step in encoder.steps:
            if step in (None, "passthrough"):
                continue
            taken, returned = _widths(step)
            _check_equal("a step of its Pipeline", taken, last)
            first, last = first or taken, returned or last
        return first, last
    if isinstance(encoder, BaseTransformer) and "module_" in fitted:
        return encoder.n_features_in_, encoder.embedding_dim_
    if isinstance(encoder, PCA) and "components_" in fitted:
        return encoder.n_features_in_, encoder.n_components_
    if isinstance(encoder, StandardScaler | MinMaxScaler) and "scale_" in fitted:
        return encoder.n_features_in_, encoder.n_features_in_
    if isinstance(encoder, Normalizer):
        return fitted.get("n_features_in_"), fitted.get("n_features_in_")
    raise _NotFittedError(f"its encoder {type(encoder).__name__} is not fitted.")


def _of_loss(loss: Any) -> Width:
    """Length of the embeddings that a loss or comparator takes; None: any."""
    return getattr(loss, "embedding_dim", None)


def _check_image_shape(estimator: Any) -> None:
    shape = getattr(estimator, "image_shape_", None)
    if shape is not None:
        _check_equal("its image_shape_", prod(shape), estimator.n_features_in_)


def _check_equal(what: str, width: Width, other: Width) -> None:
    if None not in (width, other) and width != other:
        raise InvalidFileError(f"{what} is made for {width} numbers, not for {other}.")
