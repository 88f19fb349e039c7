"""SiameseTransformer, trained on given pairs."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sk_fewshot import PairClassifier, SiameseTransformer, load, save
from sk_fewshot.losses import ContrastiveLoss
from sk_fewshot.metrics import make_pairs

BRIEF = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}
RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(5), 6)
X = (RNG.normal(size=(5, 4))[Y] * 3 + RNG.normal(size=(30, 4))).astype(np.float32)
BY_NUMBER, SAME = make_pairs(X, Y)
PAIRS = np.asarray(BY_NUMBER)


@pytest.fixture
def fitted():
    return SiameseTransformer(**BRIEF).fit_pairs(PAIRS, SAME)


def test_it_returns_a_fitted_siamese_transformer(fitted):
    encoder = SiameseTransformer(**BRIEF)
    assert encoder.fit_pairs(PAIRS, SAME) is encoder
    assert type(encoder.loss_) is ContrastiveLoss
    assert_array_equal(encoder.classes_, [0, 1])
    assert encoder.n_features_in_ == 4
    assert encoder.transform(X).shape == (30, encoder.embedding_dim_)
    assert_array_equal(encoder.transform(X), fitted.transform(X))
    assert encoder.head_.comparator is None
    assert encoder.get_params() == SiameseTransformer(**BRIEF).get_params()


@pytest.mark.parametrize("loss", [{}, {"loss": "bce"}], ids=["contrastive", "bce"])
def test_it_learns(loss, digits):
    images, y = digits
    encoder = SiameseTransformer(**loss, max_epochs=1, batches_per_epoch=60, random_state=0)
    pairs, same = make_pairs(images[:1000], y[:1000], n_pairs=1500, random_state=0)
    X_test, y_test = make_pairs(images[1000:], y[1000:], n_pairs=500, random_state=0)

    def gap(encoder):
        """Mean distance of different pairs beside that of same ones."""
        first, second = np.asarray(X_test).swapaxes(0, 1)
        compare = encoder.loss_.pair_distance
        z = [torch.from_numpy(encoder.transform(e)).unsqueeze(1) for e in (first, second)]
        with torch.no_grad():
            d = compare(*z).flatten().numpy()
        return (d[y_test == 0].mean() - d[y_test == 1].mean()) / d.std()

    untrained = clone(encoder).set_params(batches_per_epoch=1, lr=1e-12)
    assert gap(encoder.fit_pairs(pairs, same)) > gap(untrained.fit_pairs(pairs, same)) + 0.15


@pytest.mark.parametrize(
    "same",
    [SAME == 1, SAME.astype(float), list(SAME), pd.Series(SAME), torch.from_numpy(SAME)],
    ids=["bool", "float", "list", "Series", "Tensor"],
)
def test_same_in_any_form(same, fitted):
    encoder = SiameseTransformer(**BRIEF).fit_pairs(PAIRS, same)
    assert_array_equal(encoder.transform(X), fitted.transform(X))


@pytest.mark.parametrize(
    "pairs",
    [BY_NUMBER, PAIRS.tolist(), torch.from_numpy(PAIRS), np.asfortranarray(PAIRS)],
    ids=["numbers", "list", "Tensor", "Fortran"],
)
def test_pairs_in_any_form(pairs, fitted):
    encoder = SiameseTransformer(**BRIEF).fit_pairs(pairs, SAME)
    assert_array_equal(encoder.transform(X), fitted.transform(X))


def test_a_pair_classifier_trains_by_it(fitted):
    clf = PairClassifier(SiameseTransformer(**BRIEF), calibration_pairs=None).fit(PAIRS, SAME)
    assert type(clf.encoder_) is SiameseTransformer
    assert_array_equal(clf.encoder_.transform(X), fitted.transform(X))


def test_any_encoder_with_fit_pairs_learns_from_pairs():
    class Own(SiameseTransformer):
        def fit_pairs(self, pairs, same):
            self.n_same_ = int(np.sum(same))
            return super().fit_pairs(pairs, same)

    clf = PairClassifier(Own(**BRIEF), calibration_pairs=None).fit(PAIRS, SAME)
    assert clf.encoder_.n_same_ == SAME.sum()


def test_images_of_pairs():
    images = np.random.default_rng(0).normal(size=(30, 8, 8)).astype(np.float32)
    pairs, same = make_pairs(images, Y)
    by_shape = SiameseTransformer(**BRIEF).fit_pairs(pairs, same)
    assert by_shape.image_shape_ == (1, 8, 8)
    flat = SiameseTransformer(image_shape=(1, 8, -1), **BRIEF)
    flat.fit_pairs(np.asarray(pairs).reshape(len(same), 2, 64), same)
    assert_array_equal(flat.transform(images), by_shape.transform(images))


@pytest.mark.parametrize("loss", ["contrastive", "bce"])
def test_it_is_pickled_saved_and_fitted_again(loss, tmp_path):
    encoder = SiameseTransformer(loss=loss, **BRIEF).fit_pairs(PAIRS, SAME)
    save(encoder, tmp_path / "encoder")
    for copied in (pickle.loads(pickle.dumps(encoder)), load(tmp_path / "encoder")):
        assert_array_equal(copied.transform(X), encoder.transform(X))
    assert_array_equal(clone(encoder).fit_pairs(PAIRS, SAME).transform(X), encoder.transform(X))
    assert len(encoder.fit(X, Y).classes_) == 5


def test_a_checkpoint_is_of_these_pairs(tmp_path, fitted):
    encoder = SiameseTransformer(checkpoint=tmp_path / "training", **BRIEF)
    assert_array_equal(encoder.fit_pairs(PAIRS, SAME).transform(X), fitted.transform(X))
    assert_array_equal(encoder.fit_pairs(PAIRS, SAME).transform(X), fitted.transform(X))
    with pytest.raises(ValueError, match="another training, which differs in"):
        encoder.fit_pairs(PAIRS, 1 - SAME)
    with pytest.raises(ValueError, match="another training, which differs in"):
        encoder.fit(X, Y)


LAST = np.r_[np.zeros(len(SAME) - 1, int), 1]


@pytest.mark.parametrize(
    ("pairs", "same", "message"),
    [
        (X, SAME, "pairs must hold pairs of examples"),
        (PAIRS[0], SAME, r"pass pairs\[:1\] instead of pairs\[0\]"),
        (PAIRS[:0], SAME[:0], "pairs must not be empty"),
        (PAIRS.astype(str), SAME, "must hold numbers"),
        (None, SAME, "pairs"),
        (np.where(PAIRS[3, 1, 2] == PAIRS, np.nan, PAIRS), SAME, "NaN"),
        (PAIRS, SAME[1:], "same must have shape"),
        (PAIRS, SAME[:, None], "same must have shape"),
        (PAIRS, None, "same must have shape"),
        (PAIRS, SAME + 1, "same must hold 1 or True"),
        (PAIRS, 2 * SAME - 1, "same must hold 1 or True"),
        (PAIRS, SAME * 0.5, "same must hold 1 or True"),
        (PAIRS, np.where(SAME, np.nan, 0), "same must hold 1 or True"),
        (PAIRS, SAME.astype(str), "same must hold 1 or True"),
        (PAIRS, SAME * 0, "two pairs or more of either kind .* got 0 same"),
        (PAIRS, SAME * 0 + 1, "two pairs or more of either kind .* and 0 different"),
        (PAIRS, LAST, "two pairs or more of either kind .* got 1 same"),
        (np.zeros((9, 2, 12, 12, 3)), np.arange(9) % 2, "channels last"),
    ],
)
def test_bad_pairs_are_named_and_leave_the_state(pairs, same, message, fitted):
    before = fitted.transform(X)
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.fit_pairs(pairs, same)
    assert_array_equal(fitted.transform(X), before)


def test_held_out_classes_are_refused():
    with pytest.raises(ValueError, match="validation_classes needs class labels"):
        SiameseTransformer(validation_classes=0.2, **BRIEF).fit_pairs(PAIRS, SAME)


def test_too_few_pairs_of_a_kind_for_samples_per_class():
    some = np.r_[np.flatnonzero(SAME == 1)[:3], np.flatnonzero(SAME == 0)]
    with pytest.raises(ValueError, match=r"samples_per_class needs 4 .* n_samples=3"):
        SiameseTransformer(samples_per_class=4, **BRIEF).fit_pairs(PAIRS[some], SAME[some])
