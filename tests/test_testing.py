"""The public checks pass what is right and catch what is wrong, each of them."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_fewshot import (
    PairClassifier,
    PrototypicalClassifier,
    SiameseTransformer,
    TripletTransformer,
)
from sk_fewshot.encoders import Conv4
from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.losses import TripletLoss
from sk_fewshot.testing import (
    check_few_shot_estimator,
    check_head,
    check_loss,
    few_shot_checks_generator,
    parametrize_with_few_shot_checks,
)
from sk_fewshot.testing.strategies import episodes, labelled_images, pairs, support_sets

TINY = {"max_epochs": 1, "batches_per_epoch": 2}


class Encoder(TripletTransformer):
    """A small right one, to break."""

    def __init__(self, *, max_epochs=1, batches_per_epoch=1, image_shape=None, random_state=None):
        super().__init__(
            max_epochs=max_epochs,
            batches_per_epoch=batches_per_epoch,
            image_shape=image_shape,
            random_state=random_state,
        )


class Classifier(PrototypicalClassifier):
    """Likewise."""

    _default_encoder = Encoder


class Pairs(PairClassifier):
    """Likewise."""

    _default_encoder = SiameseTransformer


class AnswersAtRandom(Encoder):
    def transform(self, X):
        embeddings = super().transform(X)
        return embeddings + np.random.default_rng().random(embeddings.shape, embeddings.dtype)


class PredictsCodes(Classifier):
    def predict(self, X):
        return np.searchsorted(self.classes_, super().predict(X))


class CentresTheBatch(Encoder):
    def transform(self, X):
        embeddings = super().transform(X)
        return embeddings - embeddings.mean(0)


class PicklesHalf(Classifier):
    def __getstate__(self):
        state = super().__getstate__().copy()
        if "_state" in state:
            state["_state"] = state["_state"] / 2
        return state


class ClonesWhatItLearned(Encoder):
    def __sklearn_clone__(self):
        return copy.copy(self)


class ForgetsToTidyUp(Classifier):
    def fit(self, X, y):
        self.seen_ = len(y)
        return super().fit(X, y)


class TakesMissingValues(Classifier):
    def fit(self, X, y):
        return super().fit(np.nan_to_num(X), y)


class MovesNumpysGenerator(Classifier):
    def fit(self, X, y):
        np.random.random()
        return super().fit(X, y)


class MovesTorchsGenerator(Encoder):
    def transform(self, X):
        torch.rand(())
        return super().transform(X)


class TurnsGreyImages(Classifier):
    def _embed(self, X, *, reset):
        X = np.asarray(X)
        return super()._embed(X[:, ::-1] if X.ndim == 3 else X, reset=reset)


class ReturnsDouble(Encoder):
    def transform(self, X):
        return super().transform(X).astype(float)


class CountsItsCalls(Encoder):
    def transform(self, X):
        self.calls_ = getattr(self, "calls_", 0) + 1
        return super().transform(X) * np.float32(self.calls_ % 3)


class LearnsFromTheFirstHalf(Classifier):
    def fit(self, X, y):
        return super().fit(X[: len(X) // 2], y[: len(y) // 2])


class ForgetsWhatItKnew(Classifier):
    def partial_fit(self, X, y, classes=None):
        return self.fit(X, y)


class TrainsTheFrozen(Classifier):
    def fit(self, X, y):
        if isinstance(self.encoder, FrozenEstimator):
            self.encoder.estimator.fit(X, y)
        return super().fit(X, y)


class TrainsTheParameter(Classifier):
    def fit(self, X, y):
        super().fit(X, y)
        if not isinstance(self.encoder, FrozenEstimator):
            self.encoder.fit(X, y)
        return self


class PredictsTheFirst(Classifier):
    def predict(self, X):
        return np.full(len(super().predict(X)), self.classes_[0])


class LooksAtTheFirstOfAPair(Pairs):
    def predict_proba(self, X):
        X = np.array(X)
        X[:, 0] *= 2
        return super().predict_proba(X)


BROKEN = {
    "check_tags_are_truthful": [AnswersAtRandom()],
    "check_label_types_are_equal": [PredictsCodes("passthrough")],
    "check_batching_of_queries_is_irrelevant": [CentresTheBatch()],
    "check_pickled_is_equal": [PicklesHalf("passthrough")],
    "check_clone_is_unfitted_and_equal": [ClonesWhatItLearned()],
    "check_failed_fit_leaves_the_state": [
        ForgetsToTidyUp("passthrough"),
        TakesMissingValues("passthrough"),
    ],
    "check_global_generators_are_untouched": [
        MovesNumpysGenerator("passthrough"),
        MovesTorchsGenerator(),
    ],
    "check_image_forms_are_equal": [TurnsGreyImages("passthrough")],
    "check_embeddings_are_rows_of_finite_numbers": [ReturnsDouble()],
    "check_embeddings_go_under_a_head": [CountsItsCalls()],
    "check_order_of_support_is_irrelevant": [LearnsFromTheFirstHalf("passthrough")],
    "check_partial_fit_equals_fit": [ForgetsWhatItKnew("passthrough")],
    "check_frozen_encoder_is_used_as_it_is": [TrainsTheFrozen(Encoder())],
    "check_unfrozen_encoder_is_cloned": [TrainsTheParameter(Encoder())],
    "check_episode_score_equals_cross_validation": [PredictsTheFirst("passthrough")],
    "check_order_within_pairs_is_irrelevant": [LooksAtTheFirstOfAPair("passthrough")],
}
RIGHT = [
    Encoder(),
    Classifier(Encoder()),
    Classifier("passthrough"),
    Pairs(SiameseTransformer(**TINY)),
]


@parametrize_with_few_shot_checks(RIGHT)
def test_what_is_right_passes(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [(name, estimator) for name, several in BROKEN.items() for estimator in several],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_check_catches_a_broken_estimator(name, estimator):
    (check,) = (c for _, c in few_shot_checks_generator(estimator) if c.__name__ == name)
    with pytest.raises(AssertionError):
        check(estimator)


def test_there_is_a_broken_estimator_for_every_check():
    names = [check.__name__ for each in RIGHT for _, check in few_shot_checks_generator(each)]
    assert set(names) == set(BROKEN)


def test_the_name_of_the_failed_check_is_told():
    with pytest.raises(AssertionError) as caught:
        check_few_shot_estimator(PredictsCodes("passthrough"))
    (note,) = caught.value.__notes__
    assert note.startswith("check_label_types_are_equal failed for PredictsCodes(")


def test_an_estimator_is_left_as_it_was():
    for encoder in (TripletTransformer(**TINY), FrozenEstimator(TripletTransformer(**TINY))):
        clf = Classifier(encoder)
        before = copy.deepcopy(vars(encoder))
        check_few_shot_estimator(clf)
        assert vars(clf) == vars(Classifier(encoder))
        assert str(vars(encoder)) == str(before)


def test_an_encoder_from_elsewhere_passes_under_a_head():
    check_few_shot_estimator(Classifier(StandardScaler()))


@pytest.mark.parametrize(
    "estimator",
    [Encoder, KNeighborsClassifier, LinearRegression(), nn.Linear(2, 2), "encoder", None],
)
def test_only_instances_of_estimators_are_taken(estimator):
    with pytest.raises(TypeError, match="estimator must be"):
        list(few_shot_checks_generator(estimator))


class Broken(nn.Module):
    """A loss or a head that is changed on its way out."""

    def __init__(self, inner, change):
        super().__init__()
        self.inner = inner
        self.change = change

    def forward(self, *inputs):
        return self.change(self.inner, *inputs)

    def loss(self, scores, y):
        return self.inner.loss(scores, y)


def distance(loss, z, y):
    """Infinite slope where two embeddings are equal."""
    differences = z[:, None] - z
    return differences.square().sum(-1).sqrt().mean()


def scaled_in_place(loss, z, y):
    with torch.no_grad():
        z *= 0.5
    return loss(z, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss, z, y: loss(z, y).expand(3), "must be a scalar"),
        (lambda loss, z, y: loss(z, y) / 0, "the loss must be finite"),
        (lambda loss, z, y: loss(z * 1e30, y), "the loss must be finite"),
        (distance, "the gradient of embeddings must be finite"),
        (lambda loss, z, y: loss(z, y) + loss(z.detach(), y), "differences"),
        (lambda loss, z, y: loss(z.nan_to_num(), y), "hides NaN"),
        (scaled_in_place, "changes the embeddings"),
    ],
)
def test_a_broken_loss_is_caught(change, message):
    check_loss(TripletLoss())
    with pytest.raises(AssertionError, match=message):
        check_loss(Broken(TripletLoss(metric="dot", normalize=False), change))


def first_example(head, queries, support, labels):
    rows = torch.stack([support[(labels == k).nonzero()[0, 0]] for k in range(3)])
    return head(queries, rows, torch.arange(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head, q, s, y: head(q, s, y).mT, "scores must have shape"),
        (lambda head, q, s, y: head(q, s, y) / 0, "scores must be finite"),
        (lambda head, q, s, y: head(q, s, y).detach() + 0 * q.sum(), "differences"),
        (first_example, "the order of the support rows"),
        (lambda head, q, s, y: head(q - q.mean(0), s, y), "the other queries"),
        (lambda head, q, s, y: head(q, s, y) + torch.arange(3), "how classes are numbered"),
    ],
)
def test_a_broken_head_is_caught(change, message):
    check_head(PrototypicalHead())
    with pytest.raises(AssertionError, match=message):
        check_head(Broken(PrototypicalHead(), change))


@given(support_sets(embedding_dim=3, max_classes=4, max_examples=2, dtype=torch.float64))
def test_support_sets(support_set):
    embeddings, labels = support_set
    assert embeddings.dtype == torch.float64
    assert embeddings.shape == (len(labels), 3)
    counts = labels.bincount()
    assert 2 <= len(counts) <= 4
    assert ((counts >= 1) & (counts <= 2)).all()


@given(episodes(scales=st.sampled_from([1e-15, 1e15])))
def test_episodes(episode):
    scores = PrototypicalHead()(episode.queries, episode.support, episode.support_labels)
    assert PrototypicalHead().loss(scores, episode.query_labels).isfinite()


@given(labelled_images())
@settings(max_examples=25)
def test_labelled_images(images):
    X, y = images
    assert X.dtype == np.float32
    assert X.ndim == 4
    assert 0 <= X.min() <= X.max() <= 1
    assert np.unique(y, return_counts=True)[1].min() >= 2
    assert Conv4(X.shape[1:]).eval()(torch.from_numpy(X)).shape[0] == len(y)


@given(pairs(example_shape=(1, 3, 4)), pairs())
@settings(max_examples=25)
def test_pairs(pairs_of_images, flat_pairs):
    for X, y in (pairs_of_images, flat_pairs):
        assert X.shape[:2] == (len(y), 2)
        assert set(y.tolist()) == {0, 1}
        clf = PairClassifier("passthrough").fit(X, y)
        np.testing.assert_array_equal(clone(clf).fit(X, y).predict(X), clf.predict(X))


@pytest.mark.parametrize("strategy", [support_sets(), episodes()])
def test_hard_cases_are_drawn(strategy):
    found = set()

    @given(strategy)
    @settings(max_examples=200)
    def look(drawn):
        rows = drawn[0] if len(drawn) == 2 else torch.cat(drawn[:2])
        unit = nn.functional.normalize(rows)
        cosines = (unit @ unit.T).fill_diagonal_(0)
        cases = {
            "zero": (rows == 0).all(1).any(),
            "equal": (torch.cdist(rows, rows).fill_diagonal_(1) == 0).any(),
            "opposite": (cosines < -0.9999).any(),
            "parallel": (cosines > 0.9999).any(),
        }
        found.update(name for name, there in cases.items() if there)

    look()
    assert found == {"zero", "equal", "opposite", "parallel"}


def test_hypothesis_and_pytest_are_imported_only_when_used():
    code = (
        "import sys; import sk_fewshot.testing as t; from sk_fewshot import PrototypicalClassifier;"
        "t.check_few_shot_estimator(PrototypicalClassifier('passthrough'));"
        "assert not {'hypothesis', 'pytest'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_examples_of_the_documentation_run():
    text = (Path(__file__).resolve().parents[1] / "docs" / "testing.md").read_text()
    names = {"__name__": "docs"}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    assert names["test_promises"].pytestmark[0].name == "parametrize"
    names["test_probabilities_add_up_to_one"]()
