"""scikit-learn's contract and our own, for every public estimator that the package holds."""

import inspect
import pkgutil
from importlib import import_module

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import sk_fewshot
from sk_fewshot import PairClassifier, RelationTransformer, SiameseTransformer
from sk_fewshot.testing import few_shot_checks_generator, parametrize_with_few_shot_checks
from sk_fewshot.transformers._base import BaseTransformer

TINY = {"max_epochs": 1, "batches_per_epoch": 2}


def public_estimators():
    """All concrete estimators of the package, found by walking it."""
    found = set()
    for module in pkgutil.walk_packages(sk_fewshot.__path__, "sk_fewshot."):
        if "._" in module.name:
            continue
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if (
                issubclass(member, BaseEstimator)
                and member.__module__ == module.name
                and not inspect.isabstract(member)
                and not member.__name__.startswith("_")
            ):
                found.add(member)
    return sorted(found, key=lambda estimator: estimator.__name__)


ESTIMATORS = public_estimators()
# scikit-learn's checks cannot make X of shape (n_pairs, 2, ...).
CHECKED = [e for e in ESTIMATORS if get_tags(e()).input_tags.two_d_array]


def configurations(estimator):
    """Small instances: default parameters but for the length of training, images, embeddings."""
    if issubclass(estimator, BaseTransformer):
        return [estimator(**TINY), images(estimator)]
    own = estimator._default_encoder
    return [
        estimator(),
        estimator("passthrough"),
        estimator(images(own)),
    ]


def images(transformer):
    """A small instance on images."""
    tiny = TINY
    if transformer is RelationTransformer:  # BatchNorms of maps need more to be usable at all
        tiny = {**TINY, "batches_per_epoch": 30}
    return transformer(image_shape=(1, 1, -1), **tiny)


@pytest.fixture(autouse=True)
def short_default_training(monkeypatch):
    """Shorten the training of encoders that are left to their defaults."""
    fit = BaseTransformer._learn

    def briefly(self, *args):
        given = self.max_epochs, self.batches_per_epoch
        if self.max_epochs > 1:
            self.max_epochs, self.batches_per_epoch = 1, 2
        try:
            fit(self, *args)
        finally:
            self.max_epochs, self.batches_per_epoch = given

    monkeypatch.setattr(BaseTransformer, "_learn", briefly)


def few_shot_configurations(estimator):
    """Small instances for the package's own checks, of which some freeze the encoder."""
    if issubclass(estimator, BaseTransformer):
        return [estimator(**TINY), estimator(image_shape=(1, 1, -1), **TINY)]
    own = SiameseTransformer if estimator is PairClassifier else estimator._default_encoder
    return [estimator("passthrough"), estimator(), estimator(own(image_shape=(1, 1, -1), **TINY))]


@parametrize_with_checks([c for estimator in CHECKED for c in configurations(estimator)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@parametrize_with_few_shot_checks(
    [c for estimator in ESTIMATORS for c in few_shot_configurations(estimator)]
)
def test_few_shot_contract(estimator, check):
    check(estimator)


def test_contract_covers_every_public_estimator():
    assert {e.__name__ for e in ESTIMATORS} == {
        name
        for name in sk_fewshot.__all__
        if inspect.isclass(getattr(sk_fewshot, name))
        and issubclass(getattr(sk_fewshot, name), BaseEstimator)
    }
    assert set(ESTIMATORS) - set(CHECKED) == {PairClassifier}
    for estimator in CHECKED:
        assert len(configurations(estimator)) >= 2
        for configuration in configurations(estimator):
            assert len(list(estimator_checks_generator(configuration))) > 40


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_number_of_few_shot_checks(estimator):
    collected = [
        len(list(few_shot_checks_generator(c))) for c in few_shot_configurations(estimator)
    ]
    if issubclass(estimator, BaseTransformer):
        assert collected == [10, 10]
    elif estimator is PairClassifier:
        assert collected == [10, 12, 12]
    else:
        assert collected == [11, 13, 13]


def test_tags_tell_of_flat_rows_and_images():
    for estimator in CHECKED:
        tags = get_tags(estimator())
        assert tags.input_tags.two_d_array
        assert tags.input_tags.three_d_array
