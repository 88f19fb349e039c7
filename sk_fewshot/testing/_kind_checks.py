"""Checks of transformers, of few-shot classifiers, and of classifiers of pairs."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from sk_fewshot.classifiers import PrototypicalClassifier
from sk_fewshot.episodes import EpisodeSplit
from sk_fewshot.evaluation import episode_score
from sk_fewshot.testing._trial import prepare


def check_embeddings_are_rows_of_finite_numbers(transformer: Any) -> None:
    """One row an example, in the floating type of X."""
    trial = prepare(transformer)
    fitted = trial.fitted()
    for dtype in (np.float32, np.float64):
        embeddings = fitted.transform(trial.queries.astype(dtype))
        assert embeddings.ndim == 2
        assert len(embeddings) == len(trial.queries)
        assert embeddings.dtype == dtype
        assert np.isfinite(embeddings).all()


def check_embeddings_go_under_a_head(transformer: Any) -> None:
    """Frozen in a classifier, it gives the classifier its embeddings."""
    trial = prepare(transformer)
    fitted = trial.fitted()
    embeddings, queries = (fitted.transform(X) for X in (trial.X, trial.queries))
    over = PrototypicalClassifier(FrozenEstimator(fitted)).fit(trial.X, trial.y)
    plain = PrototypicalClassifier("passthrough").fit(embeddings, trial.y)
    assert_array_equal(over.predict_proba(trial.queries), plain.predict_proba(queries))


def check_order_of_support_is_irrelevant(classifier: Any) -> None:
    """Rows, or pairs, in another order give the same probabilities, up to rounding."""
    trial = prepare(classifier)
    fitted = trial.fitted()
    reverse = clone(trial.estimator).fit(trial.X[::-1].copy(), trial.y[::-1].copy())
    _assert_close(trial.answers(reverse), trial.answers(fitted))


def check_partial_fit_equals_fit(classifier: Any) -> None:
    """Enrolling further classes and examples bit by bit equals doing so at once.

    It also equals one fit on all, unless the classifier learned its head from the first ones.
    """
    trial = prepare(classifier)
    X, y = trial.X, trial.y
    late = y == y.max()
    first = ~late & (np.arange(len(y)) < len(y) * 3 // 4)
    later = ~late & ~first
    bit_by_bit, at_once = clone(trial.estimator), clone(trial.estimator)
    for part in (first, late, later):
        bit_by_bit.partial_fit(X[part], y[part])
    for part in (first, ~first):
        at_once.partial_fit(X[part], y[part])
    expected = [at_once]
    learns_head = getattr(trial.estimator, "_learns_head", None)
    if learns_head is None or not learns_head(trial.estimator.encoder):
        expected.append(trial.fitted())
    for other in expected:
        assert_array_equal(bit_by_bit.classes_, other.classes_)
        _assert_close(trial.answers(bit_by_bit), trial.answers(other))


def check_frozen_encoder_is_used_as_it_is(classifier: Any) -> None:
    """Neither `fit` nor a prediction changes a frozen encoder, and a clone keeps it."""
    trial = prepare(classifier)
    encoder, before = trial.estimator.encoder, pickle.dumps(trial.estimator.encoder)
    fitted = trial.estimator.fit(trial.X, trial.y)
    trial.answers(fitted)
    assert fitted.encoder is encoder
    assert pickle.dumps(encoder) == before, "the frozen encoder was changed"
    assert clone(fitted).encoder is encoder


def check_unfrozen_encoder_is_cloned(classifier: Any) -> None:
    """`fit` learns in a clone of an encoder that is not frozen: the parameter stays as it was."""
    trial = prepare(classifier, freeze=False)
    parameter = trial.estimator.encoder
    before = None if parameter is None else vars(parameter).copy()
    fitted = trial.estimator.fit(trial.X, trial.y)
    assert fitted.encoder is parameter
    assert parameter is None or vars(parameter) == before, "fit changed the parameter encoder"
    assert_array_equal(trial.answers(fitted), trial.answers(trial.fitted()))


def check_episode_score_equals_cross_validation(classifier: Any) -> None:
    """`EpisodeSplit` in scikit-learn's cross-validation gives the scores of `episode_score`."""
    trial = prepare(classifier)
    episodes = {"n_way": 3, "n_shot": 2, "n_query": 4, "n_episodes": 5, "random_state": 0}
    split = EpisodeSplit(**episodes)
    one_by_one = cross_val_score(trial.estimator, trial.X, trial.y, cv=split, error_score="raise")
    together = episode_score(trial.estimator, trial.X, trial.y, **episodes).scores
    assert_allclose(together, one_by_one)


def check_order_within_pairs_is_irrelevant(classifier: Any) -> None:
    """Which of two examples comes first changes no probability, up to rounding."""
    trial = prepare(classifier)
    fitted = trial.fitted()
    turned = trial.answers(fitted, trial.queries[:, ::-1].copy())
    _assert_close(turned, trial.answers(fitted))


def _assert_close(answers: NDArray, others: NDArray) -> None:
    """Check that answers are equal up to the rounding of sums in another order."""
    assert_allclose(answers, others, rtol=1e-4, atol=1e-6)
