"""Strangers: what rejects them, how they are labelled, and how the threshold is calibrated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_fewshot import (
    EpisodeSplit,
    MatchingClassifier,
    MatchingTransformer,
    PrototypicalClassifier,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
    load,
    save,
)
from sk_fewshot.classifiers._rejection import false_accept_threshold, false_rejection_threshold

D, N_CLASSES, N_SHOT = 12, 6, 5
RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.normal(size=(3 * N_CLASSES, D))
Y = np.repeat(np.arange(len(CENTRES)), 2 * N_SHOT)
X = (CENTRES[Y] + RNG.normal(size=(len(Y), D))).astype(np.float32)
ENROLLED = (Y < N_CLASSES) & (np.arange(len(Y)) % 2 == 0)
QUERIES = ~ENROLLED & (Y < N_CLASSES)
SOME, OTHERS = (Y >= N_CLASSES) & (Y < 2 * N_CLASSES), Y >= 2 * N_CLASSES  # strangers

BRIEF = {"max_epochs": 1, "batches_per_epoch": 20, "random_state": 0}
CLASSIFIERS = {
    "prototypical": PrototypicalClassifier("passthrough"),
    "prototypical, cosine": PrototypicalClassifier("passthrough", metric="cosine"),
    "matching": MatchingClassifier("passthrough", metric="euclidean"),
    "matching, full context": MatchingClassifier(
        MatchingTransformer(full_context=True, **BRIEF)
    ).meta_fit(X[SOME], Y[SOME]),
    "relation, mse": RelationClassifier(RelationTransformer(**BRIEF)).meta_fit(X[SOME], Y[SOME]),
    "relation, softmax": RelationClassifier(RelationTransformer(loss="softmax", **BRIEF)).meta_fit(
        X[SOME], Y[SOME]
    ),
    "siamese": SiameseClassifier("passthrough", metric="manhattan"),
    "siamese, bce": SiameseClassifier(SiameseTransformer(loss="bce", **BRIEF)).meta_fit(
        X[SOME], Y[SOME]
    ),
}
DISTANCES = ["prototypical", "matching", "siamese"]  # meaningful untrained


@pytest.fixture(params=CLASSIFIERS)
def clf(request):
    """A classifier that has enrolled some classes."""
    return clone(CLASSIFIERS[request.param]).fit(X[ENROLLED], Y[ENROLLED])


def test__predict__rejects_exactly_the_queries_under_the_threshold(clf):
    closed, scores = clf.predict(X), clf.score_samples(X)
    assert scores.shape == Y.shape
    threshold = float(np.median(scores))
    opened = clf.set_params(reject_below=threshold).predict(X)
    assert_array_equal(opened, np.where(scores < threshold, -1, closed))
    assert (opened == -1).any()
    assert (opened != -1).any()
    assert opened.dtype == closed.dtype


def test__reject_below__changes_nothing_but_predict(clf):
    methods = ["predict_proba", "decision_function", "score_samples"]
    methods += [m for m in ("kneighbors", "predict_top_k") if hasattr(clf, m)]
    expected = [getattr(clf, method)(X) for method in methods]
    clf.set_params(reject_below=0.0)
    for method, before in zip(methods, expected, strict=True):
        np.testing.assert_equal(getattr(clf, method)(X), before)
    assert_array_equal(clf.classes_, np.arange(N_CLASSES))


@pytest.mark.parametrize("name", ["prototypical", "prototypical, cosine", "matching", "siamese"])
def test__score_samples__is_minus_the_distance_to_the_nearest(name):
    clf = clone(CLASSIFIERS[name]).fit(X[ENROLLED], Y[ENROLLED])
    rows = getattr(clf, "prototypes_", X[ENROLLED])
    metric = {"manhattan": "cityblock"}.get(clf.metric, clf.metric)
    nearest = cdist(X.astype(float), rows.astype(float), metric).min(axis=1)
    np.testing.assert_allclose(clf.score_samples(X), -nearest, rtol=1e-4, atol=1e-6)
    assert_array_equal(clf.score_samples(X), -clf.kneighbors(X, 1)[0][:, 0])


@pytest.mark.parametrize("name", DISTANCES)
def test__score_samples__tells_far_from_near_where_probabilities_are_sure(name):
    clf = clone(CLASSIFIERS[name]).fit(X[ENROLLED], Y[ENROLLED])
    far = 10 * CENTRES[:N_CLASSES].astype(np.float32)
    assert clf.predict_proba(far).max(axis=1).min() > 0.6
    assert clf.score_samples(far).max() < clf.score_samples(X[QUERIES]).min() - 50


def test__score_samples__does_not_depend_on_temperature_and_other_queries(clf):
    scores = clf.score_samples(X)
    assert_array_equal(clf.score_samples(X[::-1])[::-1], scores)
    assert_array_equal(np.concatenate([clf.score_samples(x[None]) for x in X[:5]]), scores[:5])
    if hasattr(clf, "temperature"):
        soft = clone(clf).set_params(temperature=7.0).fit(X[ENROLLED], Y[ENROLLED])
        np.testing.assert_allclose(soft.score_samples(X), scores, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:false_accept_rate:UserWarning")
@given(
    n=st.integers(1, 80),
    seed=st.integers(0, 1000),
    rate=st.sampled_from([0, 0.01, 0.07, 0.29, 0.5, 0.99]),
    levels=st.sampled_from([None, 1]),
)
@settings(max_examples=60)
def test__calibrate_rejection__is_the_least_strict_threshold_that_holds(n, seed, rate, levels):
    rng = np.random.default_rng(seed)
    strangers = rng.normal(size=(n, 1)).astype(np.float32)
    if levels:
        strangers = np.round(strangers)  # many ties
    clf = PrototypicalClassifier("passthrough").fit(np.zeros((1, 1), np.float32), ["me"])
    assert clf.calibrate_rejection(strangers, false_accept_rate=rate) is clf
    accepted = clf.predict(strangers) == "me"
    # one more stranger, drawn alike, is accepted with probability (accepted + 1) / (n + 1) at most
    assert accepted.sum() + 1 <= max(1, rate * (n + 1) + 1e-6)
    allowed = max(1, int(np.round(rate * (n + 1), 6)))
    scores = np.sort(clf.score_samples(strangers))[::-1]
    assert np.float32(clf.reject_below) == np.nextafter(scores[allowed - 1], np.float32(np.inf))


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
def test__calibrate_rejection__leaves_out_the_own_class(clf, rate):
    X_own, y_own = X[ENROLLED], Y[ENROLLED]
    scores = []
    for k in range(N_CLASSES):
        others = ENROLLED & (k != Y)
        scores.append(clone(clf).fit(X[others], Y[others]).score_samples(X_own[y_own == k]))
    expected = false_accept_threshold(np.concatenate(scores), np.sort(y_own), rate, residents=True)
    clf.calibrate_rejection(X_own, y_own, false_accept_rate=rate)
    assert clf.reject_below == pytest.approx(expected, rel=1e-5)


def test__calibrate_rejection__leaves_out_classes_of_any_size():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(5), [1, 90, 3, 70, 12])
    X = rng.normal(size=(len(y), 2)).astype(np.float32)
    for name in DISTANCES:
        clf = clone(CLASSIFIERS[name]).fit(X, y)
        codes = np.arange(len(y)) * 7 % 5  # of any class, in any order
        scores = clf._best_scores_without_class(X, codes)
        for k in range(5):
            expected = clone(clf).fit(X[y != k], y[y != k]).score_samples(X[codes == k])
            np.testing.assert_allclose(scores[codes == k], expected, rtol=1e-5, atol=1e-6)


def test__calibrate_rejection__from_too_few_residents_rejects_every_query(clf):
    with pytest.warns(
        UserWarning, match=r"from 6 enrolled people \(classes\): it takes 199"
    ) as seen:
        clf.calibrate_rejection(X[ENROLLED], Y[ENROLLED])
    assert seen[0].filename == __file__
    assert (clf.predict(X) == -1).all()
    assert (clf.predict(X * 1e-3) == -1).all()
    clf.set_params(reject_below=None).partial_fit(X[SOME], Y[SOME])  # goes on


def test__calibrate_rejection__takes_strangers_where_they_are_enough(clf):
    given = clone(clf).fit(X[ENROLLED], Y[ENROLLED])
    both = given.calibrate_rejection(X, Y, false_accept_rate=0.1).reject_below
    strangers = Y >= N_CLASSES  # 12 people
    alone = given.calibrate_rejection(X[strangers], Y[strangers], false_accept_rate=0.1)
    assert both == alone.reject_below
    few = (Y < N_CLASSES) | (Y == N_CLASSES)  # one stranger, but residents enough for 0.3
    by_residents = given.calibrate_rejection(X[few], Y[few], false_accept_rate=0.3).reject_below
    residents = given.calibrate_rejection(X[Y < N_CLASSES], Y[Y < N_CLASSES], false_accept_rate=0.3)
    assert by_residents == residents.reject_below
    with pytest.warns(UserWarning, match="from 1 strangers: it takes 9"):
        given.calibrate_rejection(X[few], Y[few], false_accept_rate=0.1)
    scores = given.score_samples(X[Y == N_CLASSES])
    assert given.reject_below == np.nextafter(scores.max(), np.inf, dtype=scores.dtype)


def test__calibrate_rejection__counts_people_not_photographs(clf):
    by_photograph = clone(clf).fit(X[ENROLLED], Y[ENROLLED])
    by_photograph.calibrate_rejection(X[SOME], false_accept_rate=0.02)  # 60 photographs
    with pytest.warns(UserWarning, match="from 6 strangers: it takes 49"):
        clf.calibrate_rejection(X[SOME], Y[SOME], false_accept_rate=0.02)
    assert clf.reject_below >= by_photograph.reject_below


# Rejections of known queries


def test__false_rejection_rate__leaves_out_each_example_alone(clf):
    X_own, y_own = X[ENROLLED].astype(np.float64), Y[ENROLLED]
    fitted = clone(clf).fit(X_own, y_own)
    scores = [
        clone(clf)
        .fit(np.delete(X_own, i, axis=0), np.delete(y_own, i))
        .score_samples(X_own[i : i + 1])
        for i in range(len(y_own))
    ]
    for rate in (0.05, 0.2, 0.6):
        expected = false_rejection_threshold(np.concatenate(scores), y_own, rate)
        fitted.calibrate_rejection(X_own, y_own, false_rejection_rate=rate)
        assert fitted.reject_below == pytest.approx(expected, rel=1e-4)


def test__false_rejection_rate__of_fresh_examples_is_that_of_any_query(clf):
    scores = clf.score_samples(X[QUERIES])
    expected = false_rejection_threshold(scores, Y[QUERIES], 0.25)
    clf.calibrate_rejection(X[QUERIES], Y[QUERIES], false_rejection_rate=0.25)
    assert clf.reject_below == expected
    assert (clf.predict(X[QUERIES]) == -1).mean() <= 0.25


def test__false_rejection_rate__of_classes_of_one_example_needs_fresh_ones(clf):
    one = np.unique(Y[ENROLLED], return_index=True)[1]
    alone = clone(clf)
    alone.fit(X[ENROLLED][one], Y[ENROLLED][one])
    with pytest.raises(ValueError, match="two or more of a class: the only example"):
        alone.calibrate_rejection(X[ENROLLED][one], Y[ENROLLED][one], false_rejection_rate=0.2)
    alone.calibrate_rejection(X[QUERIES], Y[QUERIES], false_rejection_rate=0.2)


def test__false_rejection_rate__duplicates_are_left_out_one_by_one():
    X_twice = np.repeat(X[ENROLLED], 2, axis=0)
    y_twice = np.repeat(Y[ENROLLED], 2)
    for name in ("matching", "siamese"):
        clf = clone(CLASSIFIERS[name]).fit(X_twice, y_twice)
        clf.calibrate_rejection(X_twice, y_twice, false_rejection_rate=0.1)
        assert clf.reject_below == pytest.approx(0, abs=1e-6)  # the twin is at distance 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": None}, "y must hold classes that are enrolled, .* got y=None"),
        ({"y": Y}, "y must hold classes that are enrolled, .* got others among them"),
        ({"false_accept_rate": 0.1}, "cannot both be given"),
        ({"false_rejection_rate": 1}, "'false_rejection_rate' parameter"),
        ({"false_rejection_rate": "few"}, "'false_rejection_rate' parameter"),
    ],
)
def test__false_rejection_rate__bad_arguments_are_named(clf, arguments, message):
    given = {"y": Y % N_CLASSES, "false_rejection_rate": 0.1, **arguments}
    with pytest.raises(ValueError, match=message):
        clf.calibrate_rejection(X, **given)
    assert clf.reject_below is None


@pytest.mark.parametrize("name", DISTANCES)
def test__calibrated_threshold__keeps_other_strangers_out(name):
    clf = clone(CLASSIFIERS[name]).fit(X[ENROLLED], Y[ENROLLED])
    clf.calibrate_rejection(X[SOME], false_accept_rate=0.05)
    assert (clf.predict(X[OTHERS]) != -1).mean() <= 0.1
    assert (clf.predict(X[QUERIES]) == Y[QUERIES]).mean() > 0.8
    with_strangers = np.where(Y < N_CLASSES, Y, -1)
    assert clf.score(X[QUERIES | OTHERS], with_strangers[QUERIES | OTHERS]) > 0.85


def test__calibrate_rejection__survives_clone_save_and_grid_search(clf, tmp_path):
    clf.calibrate_rejection(X[SOME], false_accept_rate=0.2)
    expected = clf.predict(X)
    assert_array_equal(clone(clf).fit(X[ENROLLED], Y[ENROLLED]).predict(X), expected)
    save(clf, tmp_path / "door")
    assert_array_equal(load(tmp_path / "door").predict(X), expected)
    grid = {"reject_below": [None, clf.reject_below, 1e9]}
    episodes = EpisodeSplit(n_way=3, n_shot=2, n_query=2, n_episodes=3, random_state=0)
    search = GridSearchCV(clf, grid, cv=episodes, error_score="raise").fit(X, Y)
    assert search.cv_results_["mean_test_score"][2] == 0
    assert search.best_params_["reject_below"] != 1e9


def test__episode_score__counts_rejected_queries_as_wrong(clf):
    episodes = {"n_way": 3, "n_shot": 2, "n_query": 2, "n_episodes": 3, "random_state": 0}
    assert episode_score(clone(clf), X, Y, **episodes).mean > 0.3
    assert episode_score(clone(clf).set_params(reject_below=1e9), X, Y, **episodes).mean == 0


@pytest.mark.parametrize(
    ("classes", "given", "label"),
    [
        (np.arange(N_CLASSES), None, -1),
        (np.arange(N_CLASSES, dtype=np.uint8), None, -1),
        (np.arange(N_CLASSES, dtype=np.int8), 1000, 1000),
        (np.arange(N_CLASSES, dtype=np.uint64), None, -1),
        (np.arange(-1, N_CLASSES - 1), None, -2),
        (np.arange(N_CLASSES) + 0.0, None, -1),
        (np.array(["unknown", *"abcde"]), None, "unknown_"),
        (np.array(list("abcdef")), None, "unknown"),
        (np.array(list("abcdef")), "a stranger", "a stranger"),
        (np.array(list("abcdef"), dtype=object), None, "unknown"),
    ],
)
def test__unknown_label__stands_in_one_array_with_the_classes(clf, classes, given, label):
    clf.set_params(reject_below=1e9, unknown_label=given).fit(X[ENROLLED], classes[Y[ENROLLED]])
    predicted = clf.predict(X[:7])
    assert predicted.tolist() == [label] * 7
    assert predicted.dtype.kind == classes.dtype.kind.replace("u", "i")
    clf.set_params(reject_below=-1e9)
    assert set(clf.predict(X).tolist()) <= set(classes.tolist())


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        (np.arange(N_CLASSES), "unknown"),
        (np.arange(N_CLASSES), True),
        (np.arange(N_CLASSES), 0.5),
        (np.array(list("abcdef")), -1),
        (np.array(list("abcdef"), dtype=object), -1),
        (np.arange(N_CLASSES) > 2, None),
        (np.arange(N_CLASSES) > 2, True),
    ],
)
def test__unknown_label__of_another_kind_is_refused(clf, classes, label):
    message = r"unknown_label=.* cannot stand in one array with the classes, which are"
    unfitted = clone(clf).set_params(reject_below=0, unknown_label=label)
    with pytest.raises(ValueError, match=message):
        unfitted.fit(X[ENROLLED], classes[Y[ENROLLED]])
    assert not hasattr(unfitted, "classes_")
    clf.fit(X[ENROLLED], classes[Y[ENROLLED]]).set_params(unknown_label=label)
    clf.predict(X)  # not used yet
    with pytest.raises(ValueError, match=message):
        clf.calibrate_rejection(X[SOME])
    assert clf.reject_below is None
    with pytest.raises(ValueError, match=message):
        clf.set_params(reject_below=0).predict(X)


def test__unknown_label__may_be_no_class(clf):
    clf.set_params(reject_below=0.0, unknown_label=3)
    with pytest.raises(ValueError, match="unknown_label=3 is one of the classes enrolled"):
        clf.predict(X)
    clf.set_params(unknown_label=N_CLASSES)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="unknown_label=6 is one of the classes enrolled"):
        clf.partial_fit(X, Y)
    assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"false_accept_rate": 1}, "'false_accept_rate' parameter"),
        ({"false_accept_rate": -0.1}, "'false_accept_rate' parameter"),
        ({"false_accept_rate": float("nan")}, "'false_accept_rate' parameter"),
        ({"y": Y[:3]}, "inconsistent numbers of samples"),
        ({"X": X[:, :2]}, "features"),
        ({"X": X * np.nan}, "NaN"),
        ({"X": X[:0]}, "minimum of 1 is required"),
    ],
)
def test__calibrate_rejection__bad_arguments_are_named(clf, arguments, message):
    with pytest.raises(ValueError, match=message):
        clf.calibrate_rejection(**{"X": X, **arguments})
    assert clf.reject_below is None


def test__calibrate_rejection__needs_another_class_to_compare_with():
    clf = PrototypicalClassifier("passthrough").fit(X[:2], [0, 0])
    with pytest.raises(ValueError, match="only class"):
        clf.calibrate_rejection(X[:2], [0, 0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5"])
def test__reject_below__must_be_a_finite_number(value):
    with pytest.raises(ValueError, match="'reject_below' parameter"):
        PrototypicalClassifier("passthrough", reject_below=value).fit(X, Y)


@parametrize_with_checks(
    [
        clone(c).set_params(encoder="passthrough", reject_below=-1e30)
        for c in (
            PrototypicalClassifier(),
            MatchingClassifier(),
            SiameseClassifier(metric="euclidean"),
        )
    ]
)
def test_scikit_learn_contract_with_a_threshold(estimator, check):
    check(estimator)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test__reject_below__that_nothing_reaches_accepts_nobody(clf, value):
    clf.set_params(reject_below=value)
    assert (clf.predict(X) == -1).all()
