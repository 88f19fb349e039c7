"""PairClassifier: scikit-learn's contract written for pairs, then what is its own."""

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_random_state, get_tags

from sk_fewshot import ArcFaceTransformer, PairClassifier, SiameseTransformer
from sk_fewshot.classifiers._pair_calibration import choose_threshold, fit_probability
from sk_fewshot.classifiers._pair_encoder import hold_out
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss
from sk_fewshot.metrics import equal_error_rate, make_pairs, true_accept_rate
from sk_fewshot.transformers._siamese_pairs import GivenPairsLoss

TINY = {"max_epochs": 1, "batches_per_epoch": 3, "random_state": 0}
BLOBS, LABELS = make_blobs(60, n_features=6, centers=5, cluster_std=2.5, random_state=0)
PAIRS, SAME = make_pairs(BLOBS, LABELS, n_pairs=120, random_state=0)
for array in (BLOBS, LABELS, PAIRS, SAME):
    array.flags.writeable = False

CONFIGURATIONS = {
    "passthrough": PairClassifier("passthrough"),
    "unsupervised": PairClassifier(PCA(3)),
    "contrastive": PairClassifier(SiameseTransformer(**TINY), random_state=0),
    "bce": PairClassifier(SiameseTransformer(loss="bce", **TINY), random_state=0),
    "pipeline": PairClassifier(
        make_pipeline(StandardScaler(), SiameseTransformer(**TINY)), random_state=0
    ),
    "frozen": PairClassifier(FrozenEstimator(SiameseTransformer(**TINY).fit(BLOBS, LABELS))),
    "far": PairClassifier("passthrough", metric="cosine", false_accept_rate=0.1),
}


@pytest.fixture(params=CONFIGURATIONS)
def unfitted(request):
    return clone(CONFIGURATIONS[request.param])


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def fitted(request):
    return clone(CONFIGURATIONS[request.param]).fit(PAIRS, SAME)


# The contract


def test_constructor_only_stores_its_parameters():
    parameters = inspect.signature(PairClassifier).parameters
    clf = PairClassifier(**{name: object() for name in parameters})
    assert list(clf.get_params(deep=False)) == sorted(parameters)
    assert vars(clf) == clf.get_params(deep=False)


def test_tags_are_truthful():
    tags = get_tags(PairClassifier())
    assert is_classifier(PairClassifier())
    assert tags.target_tags.required
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.classifier_tags.multi_class


def test_unfitted_raises(unfitted):
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(unfitted, method)(PAIRS)


def test_fit_returns_self_and_changes_neither_parameters_nor_data(unfitted):
    before = unfitted.get_params(deep=False)
    X, y = PAIRS.copy(), SAME.copy()
    assert unfitted.fit(X, y) is unfitted
    assert all(unfitted.get_params(deep=False)[name] is value for name, value in before.items())
    unfitted.predict(X)
    assert_array_equal(X, PAIRS)
    assert_array_equal(y, SAME)


def test_clone_of_a_fitted_classifier_is_unfitted_and_equal(fitted):
    copy = clone(fitted)
    assert not hasattr(copy, "threshold_")
    assert_array_equal(
        copy.fit(PAIRS, SAME).decision_function(PAIRS), fitted.decision_function(PAIRS)
    )


def test_fit_twice_is_fit_once(fitted):
    expected = fitted.decision_function(PAIRS)
    assert_array_equal(fitted.fit(PAIRS, SAME).decision_function(PAIRS), expected)


def test_shapes_and_attributes(fitted):
    assert fitted.n_features_in_ == 6
    assert_array_equal(fitted.classes_, [0, 1])
    assert fitted.predict(PAIRS).shape == fitted.decision_function(PAIRS).shape == (120,)
    assert fitted.predict_proba(PAIRS).shape == (120, 2)
    assert fitted.predict(PAIRS[:1]).shape == (1,)
    assert fitted.score(PAIRS, SAME) == np.mean(fitted.predict(PAIRS) == SAME)


def test_predictions_agree_with_each_other(fitted):
    decision, proba = fitted.decision_function(PAIRS), fitted.predict_proba(PAIRS)
    assert_array_equal(fitted.predict(PAIRS), (decision > 0).astype(int))
    assert_allclose(proba.sum(axis=1), 1)
    assert np.isfinite(decision).all()
    order = decision.argsort()
    assert (np.diff(proba[order, 1]) >= 0).all()


def test_predictions_do_not_depend_on_the_batch(fitted):
    expected = fitted.decision_function(PAIRS)
    one_by_one = np.concatenate([fitted.decision_function(pair[None]) for pair in PAIRS[:20]])
    assert_array_equal(one_by_one, expected[:20])
    order = np.random.default_rng(0).permutation(120)
    assert_array_equal(fitted.decision_function(PAIRS[order]), expected[order])


def test_the_order_within_a_pair_does_not_matter(fitted):
    swapped = PAIRS[:, ::-1]
    assert_allclose(fitted.decision_function(swapped), fitted.decision_function(PAIRS), rtol=1e-6)


def test_pickle_predicts_the_same(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copy.predict_proba(PAIRS), fitted.predict_proba(PAIRS))


def test_forms_of_the_same_numbers_give_the_same(fitted, tmp_path):
    expected = fitted.decision_function(PAIRS)
    np.save(tmp_path / "pairs.npy", PAIRS)
    forms = [
        PAIRS.tolist(),
        np.asfortranarray(PAIRS),
        torch.tensor(PAIRS),
        np.load(tmp_path / "pairs.npy", mmap_mode="r"),
    ]
    for X in forms:
        assert_allclose(fitted.decision_function(X), expected, rtol=1e-6)
    assert_allclose(fitted.decision_function(PAIRS.astype(np.float32)), expected, atol=1e-3)


def test_pairs_by_number_are_the_pairs(unfitted):
    numbered, same = make_pairs(BLOBS, LABELS)
    some = np.random.default_rng(0).permutation(len(same))[:200]  # 1,770 pairs of 60 examples
    numbered, same = numbered[some], same[some]
    expected = clone(unfitted).fit(np.asarray(numbered), same)
    clf = unfitted.fit(numbered, same)
    assert_array_equal(clf.decision_function(numbered), expected.decision_function(numbered))
    assert_array_equal(clf.predict_proba(numbered), expected.predict_proba(np.asarray(numbered)))
    assert clf.n_features_in_ == 6
    for few in (numbered[:1], numbered[3:7]):
        assert_array_equal(clf.predict(few), expected.predict(np.asarray(few)))


def test_pairs_by_number_embed_each_example_once(digits):
    images, y = digits
    seen = []
    encoder = FunctionTransformer(lambda X: (seen.append(len(X)), X.reshape(len(X), -1))[1])
    numbered, same = make_pairs(images[:50], y[:50])
    clf = PairClassifier(FrozenEstimator(encoder)).fit(numbered, same)
    clf.predict(numbered[:10])  # of the first and ten others
    assert seen == [50, 11]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, float])
def test_labels_come_back_in_the_type_they_came_in(unfitted, dtype):
    expected = clone(unfitted).fit(PAIRS, SAME)
    clf = unfitted.fit(PAIRS, SAME.astype(dtype))
    assert clf.predict(PAIRS).dtype == dtype
    assert_array_equal(clf.predict(PAIRS).astype(int), expected.predict(PAIRS))
    assert clf.score(PAIRS, SAME.astype(dtype)) == expected.score(PAIRS, SAME)


def test_labels_in_a_series_or_a_list(unfitted):
    expected = clone(unfitted).fit(PAIRS, SAME).decision_function(PAIRS)
    for y in (pd.Series(SAME), SAME.tolist()):
        assert_array_equal(clone(unfitted).fit(PAIRS, y).decision_function(PAIRS), expected)


def test_an_int_seed_repeats_and_leaves_the_global_generators_alone(unfitted):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    expected = clone(unfitted).fit(PAIRS, SAME).decision_function(PAIRS)
    assert_array_equal(unfitted.fit(PAIRS, SAME).decision_function(PAIRS), expected)
    assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


TOP = PAIRS.max() == PAIRS
BAD_INPUT = {
    "flat": (BLOBS, LABELS > 2, r"shape \(n_pairs, 2, n_features\).*got shape \(60, 6\)"),
    "triples": (np.zeros((4, 3, 6)), [0, 0, 1, 1], r"got shape \(4, 3, 6\)"),
    "data frame": (pd.DataFrame(BLOBS), LABELS > 2, r"got shape \(60, 6\)"),
    "sparse": (sparse.csr_array(BLOBS), LABELS > 2, "Sparse data was passed for X"),
    "empty": (PAIRS[:0], SAME[:0], r"X must not be empty, got shape \(0, 2, 6\)"),
    "no features": (PAIRS[:, :, :0], SAME, r"X must not be empty, got shape \(120, 2, 0\)"),
    "too many dimensions": (PAIRS.reshape(120, 2, 1, 1, 2, 3), SAME, r"\(240, 1, 1, 2, 3\)"),
    "NaN": (np.where(TOP, np.nan, PAIRS), SAME, "NaN"),
    "infinity": (np.where(TOP, np.inf, PAIRS), SAME, "infinity"),
    "complex": (PAIRS + 0j, SAME, "Complex data not supported"),
    "one class": (
        PAIRS,
        np.ones(120),
        r"two classes, 0 \(different\) and 1 \(same\), got.*\[1\.\]",
    ),
    "other labels": (PAIRS, 2 * SAME - 1, r"0 \(different\) and 1 \(same\), got.*\[-1  1\]"),
    "strings": (PAIRS, SAME.astype(str), r"got the labels \['0' '1'\]"),
    "three labels": (PAIRS, np.arange(120) % 3, r"got the labels \[0 1 2\]"),
    "lengths": (PAIRS, SAME[:-1], "inconsistent numbers of samples"),
    "no y": (PAIRS, None, "requires y to be passed"),
    "NaN in y": (PAIRS, np.where(SAME, np.nan, 0), "Input y contains NaN"),
}


@pytest.mark.parametrize("case", [c for c in BAD_INPUT if c != "too many dimensions"])
def test_bad_input_says_what_is_wrong(unfitted, case):
    X, y, message = BAD_INPUT[case]
    with pytest.raises((ValueError, TypeError), match=message):
        unfitted.fit(X, y)
    assert not [name for name in vars(unfitted) if name.endswith("_")]


def test_examples_of_too_many_dimensions_are_refused():
    X, y, message = BAD_INPUT["too many dimensions"]
    with pytest.raises(ValueError, match=message):
        PairClassifier("passthrough").fit(X, y)


def test_other_features_than_in_fit_are_refused(fitted):
    with pytest.raises(ValueError, match="features"):
        fitted.predict(PAIRS[:, :, :5])
    with pytest.raises(ValueError, match=r"got shape \(120, 6\)"):
        fitted.predict(PAIRS[:, 0])


def test_a_failed_fit_leaves_the_classifier_as_it_was(fitted):
    expected = fitted.decision_function(PAIRS)
    with pytest.raises(ValueError, match="got the labels"):
        fitted.fit(PAIRS, SAME + 1)
    assert_array_equal(fitted.decision_function(PAIRS), expected)


@pytest.mark.parametrize(
    "parameters",
    [
        {"encoder": "pca"},
        {"encoder": object()},
        {"metric": "chebyshev"},
        {"false_accept_rate": 1.5},
        {"false_accept_rate": "low"},
        {"calibration_pairs": 0.0},
        {"device": 3},
        {"random_state": "seed"},
    ],
)
def test_bad_parameters_are_named(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of PairClassifier"):
        PairClassifier(**{"encoder": "passthrough"} | parameters).fit(PAIRS, SAME)


def test_cross_validation(unfitted):
    assert cross_val_score(unfitted, PAIRS, SAME, cv=3, error_score="raise").shape == (3,)
    proba = cross_val_predict(unfitted, PAIRS, SAME, cv=3, method="predict_proba")
    assert proba.shape == (120, 2)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "balanced_accuracy"])
def test_scorers(scoring):
    scores = cross_val_score(PairClassifier(PCA(3)), PAIRS, SAME, cv=3, scoring=scoring)
    assert np.isfinite(scores).all()


def test_grid_search():
    grid = {
        "metric": ["euclidean", "cosine", "manhattan", None],
        "encoder__n_components": [1, 3],
        "false_accept_rate": [None, 0.1],
    }
    search = GridSearchCV(PairClassifier(PCA(random_state=0)), grid, cv=3).fit(PAIRS, SAME)
    assert len(set(search.cv_results_["mean_test_score"])) > 4
    assert search.predict(PAIRS).shape == (120,)


def test_grid_over_what_the_encoder_learns():
    clf = PairClassifier(SiameseTransformer(**TINY), random_state=0)
    grid = [
        {"encoder__loss": ["contrastive"], "encoder__margin": [0.1, 10.0]},
        {"encoder__loss": ["bce"], "encoder__metric": ["cosine", "manhattan"]},
    ]
    search = GridSearchCV(clf, grid, cv=2, scoring="neg_log_loss").fit(PAIRS, SAME)
    assert len(set(search.cv_results_["mean_test_score"])) == 4


def test_displays_of_scikit_learn(fitted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from sklearn.calibration import CalibrationDisplay
    from sklearn.metrics import DetCurveDisplay, RocCurveDisplay

    for display in (RocCurveDisplay, DetCurveDisplay, CalibrationDisplay):
        assert display.from_estimator(fitted, PAIRS, SAME).ax_ is not None
    pyplot.close("all")


# Probability and threshold


@st.composite
def distances_of_pairs(draw):
    """Distances that often tie, and which of the pairs are the same: both kinds are there."""
    n = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    same = rng.permutation(np.arange(n) < draw(st.integers(1, n - 1)))
    return rng.integers(-5, 6, size=n) / 4 + draw(st.sampled_from([0.0, 1e3])), same


def every_decision(distances):
    """What all thresholds there are accept."""
    return [distances < threshold for threshold in [*distances, np.inf]]


@given(distances_of_pairs())
def test_threshold_tells_most_pairs_right(pairs):
    distances, same = pairs
    accepted = distances < choose_threshold(distances, same, None)
    n_right = np.sum(accepted == same)
    best = [a for a in every_decision(distances) if np.sum(a == same) >= n_right]
    assert n_right == max(np.sum(a == same) for a in best)
    assert accepted.sum() == min(a.sum() for a in best)


RATES = st.sampled_from([0.0, 0.01, 0.1, 0.2, 1 / 3, 0.5, 1.0])


@given(distances_of_pairs(), RATES)
def test_threshold_accepts_most_at_a_false_accept_rate(pairs, rate):
    distances, same = pairs
    n = np.sum(~same)
    allowed = int(rate * (n + 1) + 1e-9) - 1  # of the n, so that one more is accepted at the rate
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        accepted = distances < choose_threshold(distances, same, rate)
    assert bool(caught) == (allowed < 0)
    allowed = max(allowed, 0)
    assert accepted[~same].sum() <= allowed
    assert accepted[same].mean() == true_accept_rate(
        same, -distances, false_accept_rate=allowed / n
    )


@given(distances_of_pairs(), RATES)
def test_one_more_different_pair_is_accepted_at_the_rate(pairs, rate):
    distances, same = pairs
    different = distances[~same]
    accepted = []
    for i, new in enumerate(different):
        others = np.r_[np.delete(different, i), distances[same]]
        if len(different) > 1:
            kinds = np.r_[np.zeros(len(different) - 1, bool), np.ones(same.sum(), bool)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                accepted.append(new < choose_threshold(others, kinds, rate))
    assert not accepted or np.mean(accepted) <= max(rate, 1 / len(different)) + 1e-9


def test_a_false_accept_rate_that_too_few_pairs_can_tell_draws_a_warning():
    strict = PairClassifier("passthrough", false_accept_rate=1e-3)
    message = r"false_accept_rate=0.001 cannot be told from 60 different pairs: needs 999"
    with pytest.warns(UserWarning, match=message) as caught:
        strict.fit(PAIRS, SAME)
    assert caught[0].filename == __file__
    assert not strict.predict(PAIRS)[SAME == 0].any()


def test_threshold_lies_midway_between_the_pairs_it_parts():
    assert choose_threshold(np.array([1.0, 2.0, 4.0, 5.0]), np.array([1, 1, 0, 0]) == 1, None) == 3


@given(distances_of_pairs(), st.sampled_from([1e-6, 1.0, 1e6]))
def test_probability_is_a_falling_logistic_curve_in_any_unit(pairs, unit):
    distances, same = pairs
    slope, intercept = fit_probability(distances, same)
    slope_in_unit, intercept_in_unit = fit_probability(distances * unit, same)
    assert slope >= 0
    assert slope_in_unit * unit == pytest.approx(slope, rel=1e-4, abs=1e-4)
    assert intercept_in_unit == pytest.approx(intercept, rel=1e-4, abs=1e-4)


def test_probability_of_many_pairs_is_logistic_regression():
    rng = np.random.default_rng(0)
    same = rng.random(20_000) < 0.3
    distances = rng.normal(np.where(same, 2.0, 5.0), 1.5)
    reference = LogisticRegression(C=1e9).fit(distances[:, None], same)
    slope, intercept = fit_probability(distances, same)
    assert slope == pytest.approx(-reference.coef_.item(), rel=1e-2)
    assert intercept == pytest.approx(reference.intercept_.item(), rel=1e-2)


@pytest.mark.parametrize("apart", [0.2, 1.0, 10.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_probability_is_that_of_scikit_learns_sigmoid_calibration(apart, share):
    rng = np.random.default_rng(0)
    same = np.arange(200) < share * 200
    distances = rng.normal(np.where(same, 0, apart))
    linear = LogisticRegression().fit(distances[:, None], same)
    sigmoid = CalibratedClassifierCV(FrozenEstimator(linear), method="sigmoid")
    expected = sigmoid.fit(distances[:, None], same).predict_proba(distances[:, None])[:, 1]
    slope, intercept = fit_probability(distances, same)
    assert_allclose(expit(intercept - slope * distances), expected, atol=1e-4)


def test_calibrated_probabilities_match_frequencies():
    rng = np.random.default_rng(0)
    same = rng.random(20_000) < 0.4
    distances = np.abs(rng.normal(np.where(same, 1.0, 2.0), 0.5))
    pairs = np.stack([np.zeros_like(distances), distances], axis=1)[..., None]  # (n, 2, 1)
    proba = PairClassifier("passthrough").fit(pairs, same).predict_proba(pairs)[:, 1]
    for low in np.arange(0, 1, 0.2):
        bucket = (proba >= low) & (proba < low + 0.2)
        assert proba[bucket].mean() == pytest.approx(same[bucket].mean(), abs=0.05)


def test_an_encoder_worse_than_chance_gives_the_mean_of_platts_targets():
    distances, same = np.array([5.0, 6.0, 1.0, 2.0, 3.0]), np.array([1, 1, 0, 0, 0]) == 1
    slope, intercept = fit_probability(distances, same)
    assert slope == 0
    assert expit(intercept) == pytest.approx((2 * 3 / 4 + 3 * 1 / 5) / 5)


def test_false_accept_rate_moves_the_threshold_only():
    accuracy = PairClassifier("passthrough").fit(PAIRS, SAME)
    strict = PairClassifier("passthrough", false_accept_rate=1 / 61).fit(PAIRS, SAME)
    assert not strict.predict(PAIRS)[SAME == 0].any()
    assert strict.threshold_ < accuracy.threshold_
    assert_array_equal(strict.predict_proba(PAIRS), accuracy.predict_proba(PAIRS))


# Distances and encoders

SCIPY_METRICS = {
    "euclidean": lambda a, b: cdist(a, b).item(),
    "sqeuclidean": lambda a, b: cdist(a, b, "sqeuclidean").item(),
    "manhattan": lambda a, b: cdist(a, b, "cityblock").item(),
    "cosine": lambda a, b: cdist(a, b, "cosine").item(),
    "dot": lambda a, b: -(a @ b.T).item(),
}


@pytest.mark.parametrize("metric", SCIPY_METRICS)
def test_distances_are_those_of_scipy(metric):
    clf = PairClassifier("passthrough", metric=metric).fit(PAIRS, SAME)
    expected = [SCIPY_METRICS[metric](first[None], second[None]) for first, second in PAIRS]
    distances = clf.threshold_ - clf.decision_function(PAIRS)
    assert_allclose(distances, expected, rtol=1e-6, atol=1e-9)
    log_odds = np.log(clf.predict_proba(PAIRS)[:, 1] / clf.predict_proba(PAIRS)[:, 0])
    assert_allclose(log_odds, clf.intercept_ - clf.slope_ * np.array(expected), atol=1e-6)


def test_a_callable_metric():
    def chebyshev(x, y):
        return torch.cdist(x, y, p=torch.inf)

    clf = PairClassifier("passthrough", metric=chebyshev).fit(PAIRS, SAME)
    expected = np.abs(PAIRS[:, 0] - PAIRS[:, 1]).max(axis=1)
    assert_allclose(clf.threshold_ - clf.decision_function(PAIRS), expected)


def test_default_metric_is_how_the_encoder_learned_to_compare():
    siamese = SiameseTransformer(loss="bce", **TINY).fit(BLOBS, LABELS)
    first, second = (torch.tensor(siamese.transform(PAIRS[:, i]))[:, None] for i in (0, 1))
    with torch.no_grad():
        logits = siamese.loss_.pair_logits(first, second).flatten().numpy()
    clf = PairClassifier(FrozenEstimator(siamese)).fit(PAIRS, SAME)
    assert_allclose(clf.decision_function(PAIRS) - clf.threshold_, logits, rtol=1e-5, atol=1e-6)

    cosine = FrozenEstimator(SiameseTransformer(metric="cosine", **TINY).fit(BLOBS, LABELS))
    by_default, explicit = (
        PairClassifier(cosine, metric=metric).fit(PAIRS, SAME) for metric in (None, "cosine")
    )
    assert_array_equal(by_default.decision_function(PAIRS), explicit.decision_function(PAIRS))


def test_a_frozen_encoder_is_used_as_it_is():
    encoder = FrozenEstimator(SiameseTransformer(**TINY).fit(BLOBS, LABELS))
    weights = [p.detach().clone() for p in encoder.module_.parameters()]
    clf = PairClassifier(encoder).fit(PAIRS, SAME)
    assert clf.encoder_ is encoder
    assert all(map(torch.equal, encoder.module_.parameters(), weights))


def test_an_unfitted_frozen_encoder_raises():
    with pytest.raises(NotFittedError):
        PairClassifier(FrozenEstimator(PCA())).fit(PAIRS, SAME)


def test_a_fitted_encoder_that_is_not_frozen_draws_a_warning():
    with pytest.warns(UserWarning, match="PCA is already fitted"):
        PairClassifier(PCA(2).fit(BLOBS)).fit(PAIRS, SAME)


@pytest.mark.parametrize(
    "encoder",
    [
        LinearDiscriminantAnalysis(),
        make_pipeline(LinearDiscriminantAnalysis(), StandardScaler()),
        ArcFaceTransformer(),
        make_pipeline(StandardScaler(), ArcFaceTransformer()),
    ],
)
def test_an_encoder_that_needs_class_labels_points_to_meta_fit(encoder):
    clf = PairClassifier(encoder)
    with pytest.raises(ValueError, match="learns from class labels, which pairs do not have"):
        clf.fit(PAIRS, SAME)


def test_meta_fit_learns_from_labelled_examples_and_survives_clone():
    clf = PairClassifier(LinearDiscriminantAnalysis()).meta_fit(BLOBS, LABELS)
    assert isinstance(clf.encoder, FrozenEstimator)
    assert clone(clf).fit(PAIRS, SAME).encoder_ is clf.encoder
    assert clone(clf).fit(PAIRS, SAME).score(PAIRS, SAME) > 0.8
    assert isinstance(
        clf.meta_fit(BLOBS, LABELS).encoder.estimator, LinearDiscriminantAnalysis
    )  # anew


def test_meta_fit_of_the_default_encoder_is_the_siamese_transformer():
    clf = PairClassifier(SiameseTransformer(**TINY))
    assert isinstance(clf.meta_fit(BLOBS, LABELS).encoder.estimator, SiameseTransformer)
    with pytest.raises(ValueError, match="got encoder='passthrough'"):
        PairClassifier("passthrough").meta_fit(BLOBS, LABELS)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
@pytest.mark.parametrize("encoder", ["passthrough", PCA(3), SiameseTransformer(**TINY)])
def test_pairs_of_images(digits, encoder, shape):
    images, y = digits
    X, same = make_pairs(images.reshape(-1, *shape)[:200], y[:200], n_pairs=60, random_state=0)
    clf = PairClassifier(encoder, random_state=0).fit(X, same)
    assert clf.n_features_in_ == 64
    assert clf.predict(X).shape == (60,)


# Training on pairs


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("make", [ContrastiveLoss, lambda metric: PairBCELoss(4, metric)])
def test_loss_of_given_pairs_is_the_mean_of_the_loss_of_each(make, metric):
    rng = np.random.default_rng(0)
    embeddings = torch.tensor(rng.normal(size=(20, 4)) / 3, requires_grad=True)
    same = torch.tensor(rng.integers(0, 2, 10))
    of_pair = make(metric=metric)
    one_by_one = [
        of_pair(embeddings[2 * i : 2 * i + 2], torch.tensor([1, int(same[i])])) for i in range(10)
    ]
    expected = torch.stack(one_by_one).mean()
    loss = GivenPairsLoss(of_pair)(embeddings, same)
    assert_allclose(loss.item(), expected.item(), rtol=1e-6)
    gradients = (torch.autograd.grad(value, embeddings)[0] for value in (loss, expected))
    assert_allclose(*gradients, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", [{"margin": 10}, {"loss": "bce"}], ids=["contrastive", "bce"])
def test_training_on_pairs_beats_raw_pixels_and_the_untrained_encoder(digits, loss):
    images, y = digits
    X, same = make_pairs(images, y, n_pairs=2000, random_state=0)
    train, test = slice(None, 1500), slice(1500, None)
    brief = {"max_epochs": 1, "batches_per_epoch": 40, "samples_per_class": 18}

    def error(encoder):
        clf = PairClassifier(encoder, random_state=0).fit(X[train], same[train])
        return equal_error_rate(same[test], clf.decision_function(X[test]))

    trained = error(SiameseTransformer(**brief, **loss))
    assert trained < error("passthrough") - 0.05
    assert trained < error(SiameseTransformer(lr=1e-12, **brief, **loss)) - 0.05


def test_the_encoder_trained_on_pairs_is_a_siamese_transformer():
    encoder = PairClassifier(SiameseTransformer(**TINY)).fit(PAIRS, SAME).encoder_
    assert type(encoder) is SiameseTransformer
    assert isinstance(encoder.loss_, ContrastiveLoss)
    assert encoder.transform(BLOBS).shape == (60, encoder.embedding_dim_)
    clone(encoder).fit(BLOBS, LABELS)


def test_a_batch_holds_as_many_same_as_different_pairs():
    encoder = SiameseTransformer(samples_per_class=2, **TINY)
    seen = []
    encoder.set_params(augment=lambda batch: (seen.append(batch), batch)[1])
    mostly_different, y = make_pairs(BLOBS, LABELS)
    known = {pair.tobytes(): label for pair, label in zip(mostly_different.astype("f4"), y)}
    PairClassifier(encoder, random_state=0).fit(mostly_different, y)
    for batch in seen:  # (8, 6): the members of a pair follow each other
        pairs = batch.numpy().reshape(4, 2, 6)
        assert sorted(known[pair.tobytes()] for pair in pairs) == [0, 0, 1, 1]
    assert len(seen) == 3


@given(st.integers(4, 30), st.integers(4, 30), st.floats(0.05, 0.5))
def test_calibration_pairs_are_a_share_of_either_kind(n_same, n_different, share):
    same = np.r_[np.ones(n_same, bool), np.zeros(n_different, bool)]
    unseen = hold_out(same, share, check_random_state(0))
    for kind in (same, ~same):
        assert unseen[kind].sum() == max(1, round(share * kind.sum()))


def test_the_encoder_does_not_see_the_calibration_pairs():
    clf = PairClassifier(SiameseTransformer(**TINY), random_state=0).fit(PAIRS, SAME)
    unseen = hold_out(SAME == 1, 0.2, check_random_state(0))
    altered = PAIRS + np.where(unseen, 1e-3, 0)[:, None, None]
    other = clone(clf).fit(altered, SAME)
    weights = [list(c.encoder_.module_.parameters()) for c in (clf, other)]
    assert all(map(torch.equal, *weights))
    everything = clone(clf).set_params(calibration_pairs=None)
    weights = [
        list(clone(everything).fit(X, SAME).encoder_.module_.parameters()) for X in (PAIRS, altered)
    ]
    assert not all(map(torch.equal, *weights))


def test_too_few_pairs_to_train_and_calibrate_says_so():
    few = np.r_[np.flatnonzero(SAME == 1)[:2], np.flatnonzero(SAME == 0)]
    clf = PairClassifier(SiameseTransformer(**TINY))
    with pytest.raises(ValueError, match=r"calibration_pairs=0.2 leaves 1 of the 2 same pairs"):
        clf.fit(PAIRS[few], SAME[few])
    clf.set_params(calibration_pairs=None).fit(PAIRS[few], SAME[few])


def test_validation_classes_are_refused():
    clf = PairClassifier(SiameseTransformer(validation_classes=0.2, **TINY))
    with pytest.raises(ValueError, match="validation_classes needs class labels"):
        clf.fit(PAIRS, SAME)


def test_meta_fit_on_images_flattens_them_for_encoders_of_rows(digits):
    images, y = digits
    images, y = images[:100], y[:100]
    clf = PairClassifier(PCA(5, random_state=0)).meta_fit(images, y)
    by_rows = PairClassifier(PCA(5, random_state=0)).meta_fit(images.reshape(-1, 64), y)
    X, same = make_pairs(images, y, n_pairs=50, random_state=0)
    assert_array_equal(
        clf.fit(X, same).decision_function(X), by_rows.fit(X, same).decision_function(X)
    )
