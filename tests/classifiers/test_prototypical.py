"""PrototypicalClassifier: encoders of every kind, enrolment, scores, scikit-learn's tools."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import EpisodeSplit, PrototypicalClassifier, PrototypicalTransformer

TINY = {"max_epochs": 1, "batches_per_epoch": 5}


@pytest.fixture(scope="module")
def novel(digits):
    """Flat digits of classes 5 to 9: support and queries."""
    images, y = digits
    X, y = images[y >= 5].reshape(-1, 64), y[y >= 5]
    return X[:60], y[:60], X[60:200], y[60:200]


@pytest.fixture(scope="module")
def trained(digits):
    """An encoder trained on flat digits of classes 0 to 4."""
    images, y = digits
    base = y < 5
    return PrototypicalTransformer(**TINY, random_state=0).fit(
        images[base].reshape(-1, 64), y[base]
    )


def test_scores_are_negative_distances_to_the_class_means(novel):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier("passthrough").fit(X.astype(np.float64), y)
    means = np.stack([X[y == k].mean(axis=0, dtype=np.float64) for k in range(5, 10)])
    distances = ((queries[:, None].astype(np.float64) - means) ** 2).sum(-1)
    np.testing.assert_allclose(clf.prototypes_, means, rtol=1e-12)
    np.testing.assert_allclose(clf.decision_function(queries.astype(float)), -distances)
    np.testing.assert_allclose(clf.predict_proba(queries.astype(float)), softmax(-distances, 1))
    np.testing.assert_array_equal(clf.class_counts_, np.bincount(y)[5:])


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # NearestCentroid's own
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_labels_are_those_of_the_nearest_centroid(novel, metric):
    X, y, queries, _ = novel
    ours = PrototypicalClassifier("passthrough", metric=metric).fit(X, y).predict(queries)
    np.testing.assert_array_equal(ours, NearestCentroid().fit(X, y).predict(queries))


def test_two_classes_have_one_column_of_decisions(novel):
    X, y, queries, _ = novel
    pair = np.isin(y, (5, 8))
    clf = PrototypicalClassifier("passthrough").fit(X[pair], y[pair])
    decisions = clf.decision_function(queries)
    assert decisions.shape == (len(queries),)
    np.testing.assert_array_equal(clf.predict(queries), np.where(decisions > 0, 8, 5))
    odds = clf.predict_proba(queries.astype(float))
    np.testing.assert_allclose(np.log(odds[:, 1] / odds[:, 0]), decisions, rtol=1e-3)


@given(split=st.integers(1, 59), seed=st.integers(0, 99), n_labels=st.integers(1, 9))
@settings(max_examples=30)
def test_enrolling_in_parts_equals_one_fit(split, seed, n_labels):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = rng.integers(n_labels, size=60)
    whole = PrototypicalClassifier("passthrough").fit(X, y)
    parts = PrototypicalClassifier("passthrough").partial_fit(X[:split], y[:split])
    parts.partial_fit(X[split:], y[split:])
    np.testing.assert_array_equal(parts.classes_, whole.classes_)
    np.testing.assert_array_equal(parts.prototypes_, whole.prototypes_)
    np.testing.assert_array_equal(parts.class_counts_, whole.class_counts_)
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "manhattan"])
def test_predictions_depend_on_neither_order_nor_batching(novel, trained, metric):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier(FrozenEstimator(trained), metric=metric).fit(X, y)
    proba = clf.predict_proba(queries)
    one_by_one = np.concatenate([clf.predict_proba(queries[i : i + 1]) for i in range(140)])
    np.testing.assert_array_equal(one_by_one, proba)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = clone(clf).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.predict_proba(queries), proba, rtol=1e-4)


def test_frozen_encoder_is_used_as_it_is(novel, trained):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier(FrozenEstimator(trained)).fit(X, y)
    assert clf.encoder_.estimator is trained
    by_hand = PrototypicalClassifier("passthrough").fit(trained.transform(X), y)
    np.testing.assert_array_equal(
        clf.predict_proba(queries), by_hand.predict_proba(trained.transform(queries))
    )


def test_meta_fit_freezes_and_survives_clone(digits, novel):
    images, y = digits
    base = y < 5
    X, labels, queries, _ = novel
    clf = PrototypicalClassifier(PrototypicalTransformer(**TINY), random_state=0)
    assert clf.meta_fit(images[base].reshape(-1, 64), y[base]) is clf
    assert isinstance(clf.encoder, FrozenEstimator)
    first = clf.fit(X, labels).predict_proba(queries)
    np.testing.assert_array_equal(clone(clf).fit(X, labels).predict_proba(queries), first)
    again = PrototypicalClassifier(PrototypicalTransformer(**TINY), random_state=0)
    again.meta_fit(images[base].reshape(-1, 64), y[base])
    np.testing.assert_array_equal(again.fit(X, labels).predict_proba(queries), first)
    weights = clf.encoder.estimator.module_
    clf.meta_fit(images[base].reshape(-1, 64), y[base])
    assert clf.encoder.estimator.module_ is not weights


def test_grid_over_a_frozen_encoders_parameters_is_refused(novel, trained):
    X, y, _, _ = novel
    clf = PrototypicalClassifier(FrozenEstimator(trained))
    grid = GridSearchCV(clf, {"encoder__lr": [1, 2]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="cannot set parameters of the inner estimator"):
        grid.fit(X, y)


def test_unfrozen_encoder_is_cloned_and_fitted_on_the_support_set(novel):
    X, y, queries, _ = novel
    encoder = PrototypicalTransformer(**TINY)
    clf = PrototypicalClassifier(encoder, random_state=0).fit(X, y)
    assert clf.encoder_ is not encoder
    assert not hasattr(encoder, "module_")
    assert list(clf.encoder_.classes_) == [5, 6, 7, 8, 9]
    again = PrototypicalClassifier(encoder, random_state=0).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(queries), clf.predict_proba(queries))


def test_support_of_one_example_a_class_cannot_train_and_says_what_can(novel):
    X, y, _, _ = novel
    _, first = np.unique(y, return_index=True)
    with pytest.raises(ValueError, match="meta_fit"):
        PrototypicalClassifier().fit(X[first], y[first])
    PrototypicalClassifier("passthrough").fit(X[first], y[first])


def test_fitted_but_unfrozen_encoder_draws_a_warning(novel, trained):
    X, y, _, _ = novel
    with pytest.warns(UserWarning, match="PrototypicalTransformer is already fitted; a clone"):
        PrototypicalClassifier(trained).fit(X, y)


def test_unfitted_frozen_encoder_is_an_error(novel):
    X, y, _, _ = novel
    with pytest.raises(ValueError, match="not fitted yet"):
        PrototypicalClassifier(FrozenEstimator(PCA(2))).fit(X, y)


def test_any_transformer_serves_as_encoder(novel):
    X, y, queries, labels = novel
    pca = PCA(20, whiten=True)
    frozen = FrozenEstimator(clone(pca).fit(X))
    pipeline = make_pipeline(StandardScaler(), PCA(10))
    for encoder in (pca, frozen, pipeline):
        clf = PrototypicalClassifier(encoder).fit(X, y)
        assert clf.n_features_in_ == 64
        assert clf.score(queries, labels) > 0.6


def test_images_reach_each_kind_of_encoder(digits):
    images, y = digits
    few = slice(0, 100)
    flat = images.reshape(-1, 64)
    for encoder in ("passthrough", PCA(5, random_state=0)):
        clf = PrototypicalClassifier(encoder).fit(images[few], y[few])
        by_rows = PrototypicalClassifier(encoder).fit(flat[few], y[few])
        np.testing.assert_array_equal(clf.predict(images), by_rows.predict(flat))
    conv = PrototypicalTransformer(**TINY, random_state=0).fit(images[few], y[few])
    clf = PrototypicalClassifier(FrozenEstimator(conv)).fit(images[few], y[few])
    np.testing.assert_array_equal(clf.predict(images), clf.predict(flat))
    unfrozen = PrototypicalClassifier(PrototypicalTransformer(**TINY)).fit(images[few], y[few])
    assert unfrozen.encoder_.image_shape_ == (1, 8, 8)
    with pytest.raises(ValueError, match="must hold images of shape"):
        PrototypicalClassifier("passthrough").fit(images, y).predict(images[:, :4])


class CountingEncoder(TransformerMixin, BaseEstimator):
    """Keeps count of its fits, over all clones."""

    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X)


def test_grid_over_metric_trains_no_frozen_encoder(novel):
    X, y, _, _ = novel
    frozen = FrozenEstimator(CountingEncoder().fit(X))
    assert CountingEncoder.fits == 1
    grid = GridSearchCV(PrototypicalClassifier(frozen), {"metric": ["sqeuclidean", "cosine"]}, cv=2)
    grid.fit(X, y)
    assert CountingEncoder.fits == 1
    grid.set_params(estimator__encoder=CountingEncoder()).fit(X, y)
    assert CountingEncoder.fits == 1 + 2 * 2 + 1


def test_grid_over_metric_is_bitwise_the_same_in_two_processes(digits, trained):
    images, y = digits
    X, y = images[y >= 5].reshape(-1, 64), y[y >= 5]
    metrics = {"metric": ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]}
    episodes = EpisodeSplit(n_way=5, n_shot=1, n_episodes=20, random_state=0)
    clf = PrototypicalClassifier(FrozenEstimator(trained))
    one, two = (
        GridSearchCV(clf, metrics, cv=episodes, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2)
    )
    for split in range(20):
        scores = f"split{split}_test_score"
        np.testing.assert_array_equal(one.cv_results_[scores], two.cv_results_[scores])
    assert one.best_params_ == two.best_params_
    np.testing.assert_array_equal(
        one.best_estimator_.predict_proba(X), two.best_estimator_.predict_proba(X)
    )


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))],
    ids=["deepcopy", "pickle"],
)
def test_copies_predict_bitwise_the_same(novel, trained, copied):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier(FrozenEstimator(trained), metric="cosine").fit(X, y)
    np.testing.assert_array_equal(copied(clf).predict_proba(queries), clf.predict_proba(queries))


def test_joblib_dump_and_workers(novel, trained, tmp_path):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier(FrozenEstimator(trained)).fit(X, y)
    joblib.dump(clf, tmp_path / "clf.joblib")
    expected = clf.predict_proba(queries)
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "clf.joblib").predict_proba(queries), expected
    )
    for result in joblib.Parallel(n_jobs=2)(
        joblib.delayed(clf.predict_proba)(queries) for _ in range(2)
    ):
        np.testing.assert_array_equal(result, expected)


def test_module_defined_in_a_notebook_travels_to_workers(novel):
    X, y, _, _ = novel
    namespace = {"__name__": "__main__", "nn": torch.nn}
    exec(
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(64, 8)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n",
        namespace,
    )
    clf = PrototypicalClassifier(PrototypicalTransformer(**TINY, module=namespace["Net"]))
    scores = cross_val_score(clf, X, y, cv=2, n_jobs=2, error_score="raise")
    assert scores.shape == (2,)
    fitted = PrototypicalTransformer(**TINY, module=namespace["Net"]).fit(X, y)
    frozen = PrototypicalClassifier(FrozenEstimator(fitted))
    assert cross_val_score(frozen, X, y, cv=2, n_jobs=2, error_score="raise").shape == (2,)


def test_data_frames_pass_through_to_the_encoder(novel):
    X, y, queries, _ = novel
    names = [f"pixel{i}" for i in range(64)]
    frame, query_frame = (pd.DataFrame(rows, columns=names) for rows in (X, queries))
    encoder = PrototypicalTransformer(**TINY, random_state=0).fit(frame, y)
    for kind in (FrozenEstimator(encoder), PrototypicalTransformer(**TINY), "passthrough"):
        clf = PrototypicalClassifier(kind).fit(frame, y)
        assert list(clf.feature_names_in_) == names
        assert clf.predict(query_frame).shape == (140,)
        clf.fit(X, y) if kind == "passthrough" else None
    assert not hasattr(clf, "feature_names_in_")


def test_encoder_with_pandas_output_is_not_changed(novel, trained):
    X, y, queries, _ = novel
    encoder = copy.deepcopy(trained).set_output(transform="pandas")
    clf = PrototypicalClassifier(FrozenEstimator(encoder)).fit(X, y)
    expected = PrototypicalClassifier(FrozenEstimator(trained)).fit(X, y)
    np.testing.assert_array_equal(clf.predict(queries), expected.predict(queries))
    assert isinstance(encoder.transform(X), pd.DataFrame)


def test_temperature_divides_the_scores(novel):
    X, y, queries, _ = novel
    plain = PrototypicalClassifier("passthrough").fit(X, y).decision_function(queries)
    cool = PrototypicalClassifier("passthrough", temperature=0.5).fit(X, y)
    np.testing.assert_allclose(cool.decision_function(queries), 2 * plain, rtol=1e-5)


def test_cosine_temperature_is_the_encoders_own(digits, novel):
    images, y = digits
    X, labels, queries, _ = novel
    encoder = PrototypicalTransformer(metric="cosine", **TINY, random_state=0)
    encoder.fit(images[y < 5].reshape(-1, 64), y[y < 5])
    learned = encoder.head_.log_temperature.exp().item()
    assert learned != pytest.approx(0.1, rel=1e-4)
    for frozen in (FrozenEstimator(encoder), FrozenEstimator(make_pipeline(encoder))):
        clf = PrototypicalClassifier(frozen, metric="cosine").fit(X, labels)
        fixed = clone(clf).set_params(temperature=learned).fit(X, labels)
        np.testing.assert_allclose(
            clf.predict_proba(queries), fixed.predict_proba(queries), rtol=1e-4
        )


def test_confident_cosine_probabilities_are_possible():
    X = np.eye(5)
    proba = PrototypicalClassifier("passthrough", metric="cosine").fit(X, range(5)).predict_proba(X)
    assert proba.diagonal().min() > 0.99


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "pass"}, "'encoder' parameter"),
        ({"encoder": object()}, "'encoder' parameter"),
        ({"metric": "l2"}, "'metric' parameter"),
        ({"temperature": 0}, "'temperature' parameter"),
        ({"temperature": float("nan")}, "'temperature' parameter"),
        ({"device": "gpu"}, "device must be"),
    ],
)
def test_bad_parameters_are_named(novel, params, message):
    X, y, queries, _ = novel
    with pytest.raises(ValueError, match=message):
        PrototypicalClassifier(**{"encoder": "passthrough", **params}).fit(X, y).predict(queries)


def test_labels_outside_classes_are_refused(novel):
    X, y, _, _ = novel
    with pytest.raises(ValueError, match=r"labels that are not in classes=\[5, 6\]: \[7 8 9\]"):
        PrototypicalClassifier("passthrough").partial_fit(X, y, classes=[5, 6])


def test_failed_enrolment_leaves_the_classifier_as_it_was(novel):
    X, y, queries, _ = novel
    clf = PrototypicalClassifier("passthrough").fit(X, y)
    before = clf.predict_proba(queries)
    for rows, labels in ((X[:2, :5], [0, 1]), (X[:2], [0]), (X[:2] * np.nan, [0, 1])):
        with pytest.raises(ValueError):
            clf.partial_fit(rows, labels)
        np.testing.assert_array_equal(clf.predict_proba(queries), before)


@pytest.mark.cuda
def test_cuda_gives_the_same_labels(novel):
    X, y, queries, _ = novel
    on_cuda = PrototypicalClassifier("passthrough", device="cuda").fit(X, y)
    on_cpu = PrototypicalClassifier("passthrough", device="cpu").fit(X, y)
    np.testing.assert_allclose(
        on_cuda.predict_proba(queries), on_cpu.predict_proba(queries), rtol=1e-4, atol=1e-6
    )
