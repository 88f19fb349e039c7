"""Each method learns: it beats its untrained self and raw pixels on digits it has never seen."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sk_fewshot import (
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
)
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes

EPISODES = {"n_way": 5, "n_shot": 1, "n_query": 5, "n_episodes": 100, "random_state": 0}
SHAKE = RandomAffine()
TRAINING = {"augment": SHAKE, "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def base(digits):
    """Digits 0 to 4, each symmetry of the square a class."""
    images, y = digits
    X, y = symmetries_as_classes(images[y < 5], y[y < 5], kind="dihedral")
    return np.ascontiguousarray(X), y


@pytest.fixture(scope="module")
def novel(digits):
    """Digits 5 to 9, turned and shifted at random."""
    images, y = digits
    X = torch.from_numpy(images[y >= 5].copy())[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SHAKE(X).numpy(), y[y >= 5]


@pytest.fixture(scope="module")
def raw_pixels(novel):
    """Accuracy of raw pixels."""
    return episode_score(PrototypicalClassifier("passthrough"), *novel, **EPISODES).mean


@pytest.mark.parametrize(
    ("clf", "n_batches"),
    [
        (PrototypicalClassifier(PrototypicalTransformer(**TRAINING)), 200),
        (MatchingClassifier(MatchingTransformer(**TRAINING)), 150),
        (MatchingClassifier(MatchingTransformer(full_context=True, **TRAINING)), 200),
        (RelationClassifier(RelationTransformer(**TRAINING)), 200),
        (SiameseClassifier(SiameseTransformer(loss="bce", metric="cosine", **TRAINING)), 300),
    ],
    ids=["prototypical", "matching", "matching, full context", "relation", "siamese"],
)
def test_learning_beats_the_untrained_self_and_raw_pixels(clf, n_batches, base, novel, raw_pixels):
    untrained = clone(clf).set_params(encoder__batches_per_epoch=20, encoder__lr=1e-12)
    learned = clone(clf).set_params(encoder__batches_per_epoch=n_batches, encoder__lr=2e-3)
    before = episode_score(untrained.meta_fit(*base), *novel, **EPISODES).mean
    after = episode_score(learned.meta_fit(*base), *novel, **EPISODES).mean
    assert after > before + 0.02, (after, before)
    assert after > raw_pixels + 0.02, (after, raw_pixels)


def test_defaults_do_not_hurt(digits):
    images, y = digits
    X = images.reshape(-1, 64)
    many = {**EPISODES, "n_query": 15, "n_episodes": 1000}
    clf = PrototypicalClassifier(random_state=0).meta_fit(X[y < 5], y[y < 5])
    raw = PrototypicalClassifier("passthrough")
    learned, pixels = (episode_score(c, X[y >= 5], y[y >= 5], **many).mean for c in (clf, raw))
    assert learned >= pixels
