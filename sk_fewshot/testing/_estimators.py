"""Which checks an estimator has to pass, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import get_tags

from sk_fewshot.testing import _kind_checks, _shared_checks
from sk_fewshot.testing._trial import learns_encoder, takes_pairs

Check = Callable[[Any], None]


def few_shot_checks_generator(estimator: BaseEstimator) -> Iterator[tuple[BaseEstimator, Check]]:
    """Yield the checks that an estimator has to pass.

    Parameters
    ----------
    estimator : estimator
        An instance: a transformer, a few-shot classifier, or a classifier of pairs, which is one
        whose tag ``input_tags.two_d_array`` is False.

    Yields
    ------
    estimator : estimator
        The one given.
    check : callable
        Takes the estimator, which it clones, and raises an AssertionError if it fails.

    Raises
    ------
    TypeError
        If `estimator` is a class, or neither transforms nor classifies.

    Examples
    --------
    >>> from sk_fewshot import PrototypicalClassifier
    >>> from sk_fewshot.testing import few_shot_checks_generator
    >>> for estimator, check in few_shot_checks_generator(PrototypicalClassifier("passthrough")):
    ...     print(check.__name__)
    check_tags_are_truthful
    check_label_types_are_equal
    check_batching_of_queries_is_irrelevant
    check_pickled_is_equal
    check_clone_is_unfitted_and_equal
    check_failed_fit_leaves_the_state
    check_global_generators_are_untouched
    check_image_forms_are_equal
    check_order_of_support_is_irrelevant
    check_partial_fit_equals_fit
    check_episode_score_equals_cross_validation
    """
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise TypeError(f"estimator must be an instance of an estimator, got {estimator!r}.")
    if not is_classifier(estimator) and not hasattr(estimator, "transform"):
        raise TypeError(f"estimator must be a transformer or a classifier, got {estimator!r}.")
    yield from ((estimator, check) for check in _checks(estimator))


def check_few_shot_estimator(estimator: BaseEstimator) -> None:
    """Check that an estimator keeps the promises of this package.

    These come on top of scikit-learn's :func:`~sklearn.utils.estimator_checks.check_estimator`.

    Parameters
    ----------
    estimator : estimator
        As for :func:`few_shot_checks_generator`. It is cloned and trained some 20 times on 24
        images of 4 x 4 pixels, flat ones mostly, of 4 classes: give it short trainings, and a
        module, if any, that takes examples of any shape.

    Raises
    ------
    AssertionError
        If a promise is broken; a note names the check.
    TypeError
        As :func:`few_shot_checks_generator`.

    Examples
    --------
    >>> from sk_fewshot import PrototypicalClassifier, TripletTransformer
    >>> from sk_fewshot.testing import check_few_shot_estimator
    >>> encoder = TripletTransformer(max_epochs=1, batches_per_epoch=2)
    >>> check_few_shot_estimator(encoder)
    >>> check_few_shot_estimator(PrototypicalClassifier(encoder))
    """
    for _, check in few_shot_checks_generator(estimator):
        try:
            check(estimator)
        except Exception as error:
            error.add_note(f"{check.__name__} failed for {estimator!r}.")
            raise


def parametrize_with_few_shot_checks(estimators: Iterable[BaseEstimator]) -> Any:
    """Make a pytest decorator that runs every check of every estimator as a test of its own.

    Parameters
    ----------
    estimators : iterable of estimators
        As for :func:`check_few_shot_estimator`.

    Returns
    -------
    pytest.MarkDecorator
        Its arguments are `estimator` and `check`.

    Examples
    --------
    >>> from sk_fewshot import MatchingClassifier, PrototypicalClassifier
    >>> from sk_fewshot.testing import parametrize_with_few_shot_checks
    >>> @parametrize_with_few_shot_checks(
    ...     [PrototypicalClassifier("passthrough"), MatchingClassifier("passthrough")]
    ... )
    ... def test_promises(estimator, check):
    ...     check(estimator)
    """
    import pytest  # needed here alone

    cases = [
        pytest.param(estimator, check, id=f"{_on_one_line(estimator)}-{check.__name__}")
        for each in estimators
        for estimator, check in few_shot_checks_generator(each)
    ]
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _on_one_line(estimator: BaseEstimator) -> str:
    return "".join(repr(estimator).split())


def _checks(estimator: Any) -> Iterator[Check]:
    yield _shared_checks.check_tags_are_truthful
    yield _shared_checks.check_label_types_are_equal
    yield _shared_checks.check_batching_of_queries_is_irrelevant
    yield _shared_checks.check_pickled_is_equal
    yield _shared_checks.check_clone_is_unfitted_and_equal
    yield _shared_checks.check_failed_fit_leaves_the_state
    yield _shared_checks.check_global_generators_are_untouched
    if get_tags(estimator).input_tags.three_d_array:
        yield _shared_checks.check_image_forms_are_equal
    if not is_classifier(estimator):
        yield _kind_checks.check_embeddings_are_rows_of_finite_numbers
        yield _kind_checks.check_embeddings_go_under_a_head
        return
    yield _kind_checks.check_order_of_support_is_irrelevant
    if learns_encoder(estimator):
        yield _kind_checks.check_frozen_encoder_is_used_as_it_is
        yield _kind_checks.check_unfrozen_encoder_is_cloned
    if takes_pairs(estimator):
        yield _kind_checks.check_order_within_pairs_is_irrelevant
        return
    if hasattr(estimator, "partial_fit"):
        yield _kind_checks.check_partial_fit_equals_fit
    yield _kind_checks.check_episode_score_equals_cross_validation
