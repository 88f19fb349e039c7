"""scikit-learn's contract, for every public estimator that the package holds."""

import inspect
import pkgutil
from importlib import import_module

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import sk_fewshot
from sk_fewshot import RelationTransformer
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
                and not member.__name__.startswith("_")
            ):
                found.add(member)
    return sorted(found, key=lambda estimator: estimator.__name__)


ESTIMATORS = public_estimators()
# An estimator of pairs takes X of shape (n_pairs, 2, ...), which these checks cannot make; its
# contract is in tests/classifiers/test_pair.py.
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
    fit = BaseTransformer._train

    def briefly(self, X, codes):
        given = self.max_epochs, self.batches_per_epoch
        if self.max_epochs > 1:
            self.max_epochs, self.batches_per_epoch = 1, 2
        try:
            fit(self, X, codes)
        finally:
            self.max_epochs, self.batches_per_epoch = given

    monkeypatch.setattr(BaseTransformer, "_train", briefly)


@parametrize_with_checks([c for estimator in CHECKED for c in configurations(estimator)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_contract_covers_every_public_estimator():
    assert {e.__name__ for e in ESTIMATORS} == {
        name
        for name in sk_fewshot.__all__
        if inspect.isclass(getattr(sk_fewshot, name))
        and issubclass(getattr(sk_fewshot, name), BaseEstimator)
    }
    assert len(ESTIMATORS) - len(CHECKED) <= 1
    for estimator in CHECKED:
        for configuration in configurations(estimator):
            assert len(list(estimator_checks_generator(configuration))) > 40


def test_tags_are_truthful():
    for estimator in CHECKED:
        tags = get_tags(estimator())
        assert tags.input_tags.two_d_array
        assert tags.input_tags.three_d_array
        assert not tags.non_deterministic
        assert not tags.no_validation
        assert tags.requires_fit
