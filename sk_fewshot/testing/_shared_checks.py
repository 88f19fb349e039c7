"""Checks of every estimator, whatever it is."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sk_fewshot.testing._trial import (
    CHANNELS,
    FLAT,
    GREY,
    Trial,
    has_image_shape,
    prepare,
    takes_pairs,
)


def check_tags_are_truthful(estimator: Any) -> None:
    """It needs `fit`, validates, and a seed decides what it answers."""
    tags = get_tags(estimator)
    assert tags.requires_fit, "requires_fit"
    assert not tags.no_validation, "no_validation"
    assert not tags.non_deterministic, "non_deterministic"
    trial = prepare(estimator)
    assert_array_equal(trial.answers(trial.fitted()), trial.answers(trial.fitted()))


def check_image_forms_are_equal(estimator: Any) -> None:
    """Images may come as (n, H, W) or (n, C, H, W), and flat where the estimator can be told."""
    grey = prepare(estimator, GREY)
    fitted = grey.fitted()
    expected = grey.answers(fitted)
    n_leading = grey.queries.ndim - len(GREY)
    for form in (FLAT, CHANNELS):
        queries = grey.queries.reshape(*grey.queries.shape[:n_leading], *form)
        assert_array_equal(grey.answers(fitted, queries), expected)
    others = [prepare(estimator, CHANNELS)]
    if has_image_shape(estimator):
        others.append(prepare(estimator, FLAT, as_image=True))
    for other in others:
        assert_array_equal(other.answers(other.fitted()), expected)


def check_label_types_are_equal(estimator: Any) -> None:
    """Labels are names: their type and values change nothing else."""
    four = prepare(estimator)
    two = Trial(four.estimator, four.X, four.y % 2, four.queries)
    kinds = [(two, [np.array([False, True])])]
    if not takes_pairs(estimator):
        kinds.append((four, [np.array([-7, 3, 40, 1000]), np.array(["a", "b", "cd", "e"])]))
    for trial, several in kinds:
        by_code = trial.fitted()
        for names in several:
            by_name = clone(trial.estimator).fit(trial.X, names[trial.y])
            assert_array_equal(by_name.classes_, names)
            assert_array_equal(trial.answers(by_name), trial.answers(by_code))
            if is_classifier(by_name):
                predicted = by_name.predict(trial.queries)
                assert_array_equal(predicted, names[by_code.predict(trial.queries)])
                assert predicted.dtype == names.dtype


def check_batching_of_queries_is_irrelevant(estimator: Any) -> None:
    """A query gets bitwise the same answer alone, among others and in another order."""
    trial = prepare(estimator)
    fitted = trial.fitted()
    expected = trial.answers(fitted)
    alone = [trial.answers(fitted, query[None]) for query in trial.queries]
    assert_array_equal(np.concatenate(alone), expected)
    assert_array_equal(trial.answers(fitted, trial.queries[::-1])[::-1], expected)
    many = np.concatenate([trial.queries] * 20)
    assert_array_equal(trial.answers(fitted, many), np.concatenate([expected] * 20))


def check_pickled_is_equal(estimator: Any) -> None:
    """A fitted estimator answers bitwise the same after pickling."""
    trial = prepare(estimator)
    fitted = trial.fitted()
    copy = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(trial.answers(copy), trial.answers(fitted))


def check_clone_is_unfitted_and_equal(estimator: Any) -> None:
    """A clone of a fitted estimator has met no class, and learns the same."""
    trial = prepare(estimator)
    fitted = trial.fitted()
    copy = clone(fitted)
    assert not _is_fitted(copy), "the clone of a fitted estimator is fitted"
    assert_array_equal(trial.answers(copy.fit(trial.X, trial.y)), trial.answers(fitted))


def check_failed_fit_leaves_the_state(estimator: Any) -> None:
    """What refuses NaN is as it was before, fitted or not, and `partial_fit` likewise."""
    trial = prepare(estimator)
    broken = trial.X.copy()
    broken[-1] = np.nan
    fresh = clone(trial.estimator)
    before = vars(fresh).copy()
    _check_refuses(fresh.fit, broken, trial.y)
    assert vars(fresh).keys() == before.keys(), "a failed fit left attributes"
    fitted = trial.fitted()
    before, expected = vars(fitted).copy(), trial.answers(fitted)
    for method in ("fit", "partial_fit"):
        if hasattr(fitted, method):
            _check_refuses(getattr(fitted, method), broken, trial.y)
            changed = [name for name in before if vars(fitted).get(name) is not before[name]]
            assert not changed, f"a failed {method} changed {changed}"
            assert_array_equal(trial.answers(fitted), expected)


def check_global_generators_are_untouched(estimator: Any) -> None:
    """Neither torch's nor numpy's global generator moves in `fit` or in an answer."""
    trial = prepare(estimator)
    numpys, torchs = _numpys_state(), torch.get_rng_state()
    trial.answers(trial.fitted())
    assert _numpys_state() == numpys, "numpy's generator moved"
    assert torch.equal(torch.get_rng_state(), torchs), "torch's generator moved"


def _check_refuses(fit: Any, X: NDArray, y: NDArray) -> None:
    try:
        fit(X, y)
    except ValueError:
        return
    raise AssertionError(f"{fit.__name__} takes NaN")


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _numpys_state() -> bytes:
    return pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
