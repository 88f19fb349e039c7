"""Bad calls over all public names: each is refused by an error that names what is wrong.

None is accepted in silence, and none ends in a torch or numpy error from deep inside. The table
gives a call and what its message must tell; hypothesis then draws further values and places.
"""

import functools
import math
import pkgutil
from importlib import import_module

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from torch import nn

import sk_fewshot
from sk_fewshot import (
    EpisodeSplit,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseTransformer,
    TripletTransformer,
    episode_score,
    heads,
    losses,
)
from sk_fewshot.augmentation import RandomAffine, normalize_moments, symmetries_as_classes
from sk_fewshot.datasets import (
    ClassSplit,
    ExamplePairs,
    ImageReader,
    fetch_omniglot,
    fetch_omniglot_one_shot,
    list_images,
    load_image_folder,
)
from sk_fewshot.distances import METRICS, paired_distances, pairwise_distances, unit
from sk_fewshot.encoders import MLP, Conv4, encode, folded
from sk_fewshot.episodes import ClassBalancedSampler
from sk_fewshot.gallery import ClassMeans, Examples, PostgresGallery
from sk_fewshot.metrics import (
    equal_error_rate,
    expected_calibration_error,
    make_pairs,
    map_at_r,
    precision_at_1,
    r_precision,
    recall_at_k,
    true_accept_rate,
)
from sk_fewshot.testing import (
    check_few_shot_estimator,
    check_head,
    check_loss,
    few_shot_checks_generator,
    parametrize_with_few_shot_checks,
    strategies,
)

NAN, INF = math.nan, math.inf
D = 6
TINY = {"max_epochs": 1, "batches_per_epoch": 1, "random_state": 0}
RNG = np.random.default_rng(0)
Y = np.repeat([0, 1, 2], 4)
X = (RNG.normal(size=(3, D))[Y] * 3 + RNG.normal(size=(12, D))).astype(np.float32)
IMAGES = RNG.random((12, 4, 5)).astype(np.float32)
X_PAIRS = np.concatenate([np.stack([X, X + 0.1], 1), np.stack([X, X[::-1]], 1)])
Y_PAIRS = np.repeat([1, 0], 12)

TRANSFORMERS = [getattr(sk_fewshot, n) for n in sk_fewshot.__all__ if n.endswith("Transformer")]
CLASSIFIERS = [
    getattr(sk_fewshot, n)
    for n in sk_fewshot.__all__
    if n.endswith("Classifier") and n != "PairClassifier"
]

CASES = []


def bad(name, call, *args, message, **kwargs):
    """Add a call to the table."""
    CASES.append(pytest.param(functools.partial(call, *args, **kwargs), message, id=name))


def with_cell(value, X=X):
    """X as float64 with one number replaced."""
    X = X.astype(np.float64)
    X[1, ..., 2] = value
    return X


class Returns(nn.Module):
    """An encoder that returns whatever a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.function(x + self.weight)


class Encodes(TransformerMixin, BaseEstimator):
    """An encoder from elsewhere that returns whatever a function makes of its input."""

    def __init__(self, function=None):
        self.function = function

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X):
        return self.function(np.asarray(X))


# What is wrong with X, and scikit-learn's words for it or ours.
BAD_X = {
    "nan": (with_cell(NAN), "Input X contains NaN"),
    "inf": (with_cell(INF), "Input X contains infinity"),
    "-inf": (with_cell(-INF), "Input X contains infinity"),
    "complex": (X.astype(complex), "Complex data not supported"),
    "strings": (np.full(X.shape, "a"), r"X must hold numbers, got text \('a'\)"),
    "1-D": (X[:, 0], "Expected 2D array"),
    "scalar": (np.float64(1), "Expected 2D array"),
    "None": (None, "Expected 2D array|None"),
    "ragged": ([[1.0, 2.0], [1.0]], "inhomogeneous|sequence"),
    "5-D": (X.reshape(12, 1, 1, 1, D), "X must be flat"),
    "no feature": (X[:, :0], "0 feature"),
    "beyond float32": (with_cell(1e300), "X holds values too large for float32: 1e"),
    "large integer": (np.full(X.shape, 2**24 + 1), "X holds integers up to"),
    "large integers in a list": ([[2**40] * D] * 12, "X holds integers up to"),
    "sparse": (scipy.sparse.csr_matrix(X), "[Ss]parse"),
    "a dict": ({"a": 1}, "dict|2D array"),
}
EMPTY = {
    "no row": (X[:0], r"0 sample"),
    "an empty list": ([], "Expected 2D array|0 sample"),
}
BAD_Y = {
    "None": (None, "y"),
    "short": (Y[:-1], "inconsistent numbers of samples"),
    "long": (np.r_[Y, 0], "inconsistent numbers of samples"),
    "2-D": (np.stack([Y, Y], 1), "y should be a 1d array|shape"),
    "nan": (np.where(Y == 0, NAN, Y), "y contains NaN"),
    "inf": (np.where(Y == 0, INF, Y), "y contains infinity"),
    "continuous": (np.linspace(0, 1, 12), "Unknown label type: continuous"),
    "complex": (Y + 1j, "[Cc]omplex|Unknown label type"),
    "mixed": (np.array([0, "a", None] * 4, dtype=object), "y|label"),
    "a number": (3, "y|1d array|Singleton"),
}
TOO_FEW = {
    "one class": (np.zeros(12, int), "at least two classes"),
    "one example a class": (np.arange(12), "smallest class has n_samples=1"),
}

# Values that no argument of this name takes.
POSITIVE_INT = [0, -1, 1.5, "3", None, NAN]
COUNT = [0, -1, 2.5, "3", NAN]
POSITIVE = [0, -1.0, NAN, INF, "a"]
DEVICES = ["gpu", "cuda:x", 3, None]
BAD_PARAMETERS = {
    "module": [3, "conv", Returns(lambda x: x.sum(1)), Returns(lambda x: x[:1]), lambda: 3],
    "module_params": [3, [1], "a"],
    "embedding_dim": [0, -2, 2.5, "a", NAN],
    "image_shape": [(2, 3), (1, 0, 6), (1, 2.0, 3), "abc", 5, (-1, -1, 6), (1, 7, 11), (1, 6, -2)],
    "frozen": ["learned", 3, ["nothing.*"], [3]],
    "augment": ["flip", 3, lambda x: x[:1], lambda x: x.numpy(), lambda x: x[..., :-1]],
    "optimizer": ["adamm", 3, None],
    "lr": [*POSITIVE, None],
    "max_epochs": POSITIVE_INT,
    "batches_per_epoch": POSITIVE_INT,
    "validation_classes": [0, 1, -0.5, 1.5, NAN, "a", 0.9],
    "net_params": [[1], "a", 3],
    "device": DEVICES,
    "checkpoint": [3, ["a"]],
    "verbose": ["a", -1],
    "random_state": ["a", -1, 1.5],
    "n_way": [1, *COUNT, 4],
    "n_shot": [*COUNT, None, 4],
    "n_query": [*COUNT, 4],
    "classes_per_batch": [1, *COUNT, 4],
    "samples_per_class": [1, *COUNT, 5],
    "metric": ["l2", 3, lambda a, b: a, lambda a, b: 3.0],
    "index": ["hnsw", 3, True],
    "loss": ["l2", 3, None],
    "pooling": ["max", 3],
    "mining": ["soft", 3],
    "normalize": ["yes", 3],
    "soft": ["yes", 3],
    "annealing": ["yes", 3],
    "full_context": ["yes", 3],
    "n_steps": POSITIVE_INT,
    "scale": POSITIVE,
    "margin": [-1, NAN, INF, "a"],
    "temperature": POSITIVE,
    "reject_below": [NAN, INF, "a"],
    "unknown_label": [1, "stranger", 0.5, [1]],
    "false_accept_rate": [-0.1, 1.1, NAN, "a"],
    "calibration_pairs": [0, 1, -1, NAN, "a"],
    "encoder": [3, "pass", LinearRegression(), PrototypicalTransformer],
}
SAYS = {  # where the message names what was looked at instead
    "module": "module|one embedding",
    "augment": "augment",
    "encoder": "encoder",
}


def fit(estimator, params, X, y, **more):
    return estimator(**{**more, **params}).fit(X, y)


@functools.cache
def fitted(estimator):
    """A fitted instance that nothing here changes."""
    if estimator is PairClassifier:
        return estimator("passthrough").fit(X_PAIRS, Y_PAIRS)
    if estimator in CLASSIFIERS:
        trained = estimator._default_encoder(**TINY).fit(X, Y)
        return estimator(FrozenEstimator(trained)).fit(X, Y)
    return estimator(**TINY).fit(X, Y)


def ask(estimator, method, *args, **kwargs):
    return getattr(fitted(estimator), method)(*args, **kwargs)


def unfitted(estimator, method, *args):
    return getattr(estimator(), method)(*args)


def label(value):
    return getattr(value, "__name__", None) or str(value)[:20]


for t in TRANSFORMERS:
    name = t.__name__
    for parameter in t().get_params(deep=False):
        for value in BAD_PARAMETERS[parameter]:
            says = SAYS.get(parameter, parameter)
            call = functools.partial(fit, t, {parameter: value}, X, Y, **TINY)
            bad(f"{name}({parameter}={label(value)})", call, message=says)
    for what, (value, says) in {**BAD_X, **EMPTY}.items():
        bad(f"{name}.fit(X: {what})", fit, t, TINY, value, Y, message=says)
    for what, (value, says) in {**BAD_Y, **TOO_FEW}.items():
        bad(f"{name}.fit(y: {what})", fit, t, TINY, X, value, message=says)
    for what, (value, says) in BAD_X.items():
        bad(f"{name}.transform(X: {what})", ask, t, "transform", value, message=f"{says}|X must be")
    bad(f"{name}.transform(width)", ask, t, "transform", X[:, 1:], message="X has 5 features")
    bad(f"{name}.transform unfitted", unfitted, t, "transform", X, message="not fitted yet")

for c in CLASSIFIERS:
    name = c.__name__
    for parameter in c().get_params(deep=False):
        for value in BAD_PARAMETERS[parameter]:
            if parameter == "metric" and callable(value):
                continue  # is found out when it is called, below
            params = {"encoder": "passthrough", parameter: value}
            if parameter == "unknown_label":
                params["reject_below"] = 0.0
            bad(
                f"{name}({parameter}={label(value)})",
                fit,
                c,
                params,
                X,
                Y,
                message=SAYS.get(parameter, parameter),
            )
    frozen = fitted(c).encoder
    for what, (value, says) in {**BAD_X, **EMPTY}.items():
        says = f"{says}|X must be"
        bad(f"{name}.fit(X: {what})", fit, c, {"encoder": frozen}, value, Y, message=says)
        bad(f"{name}.partial_fit(X: {what})", ask, c, "partial_fit", value, Y, message=says)
    for what, (value, says) in BAD_Y.items():
        bad(f"{name}.fit(y: {what})", fit, c, {"encoder": frozen}, X, value, message=says)
        bad(f"{name}.partial_fit(y: {what})", ask, c, "partial_fit", X, value, message=says)
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        for what in ("nan", "inf", "complex", "1-D", "5-D", "beyond float32"):
            value, says = BAD_X[what]
            says = f"{says}|X must be"
            bad(f"{name}.{method}(X: {what})", ask, c, method, value, message=says)
        bad(f"{name}.{method}(width)", ask, c, method, X[:, 1:], message="X has 5 features")
        bad(f"{name}.{method} unfitted", unfitted, c, method, X, message="not fitted yet")
    bad(f"{name}.remove_class", ask, c, "remove_class", 7, message="label must be one of")
    bad(f"{name}.remove_class([0])", ask, c, "remove_class", [0], message="label must be one of")
    bad(f"{name}.remove_class unfitted", unfitted, c, "remove_class", 0, message="not fitted yet")
    strings = Y.astype(str)
    bad(
        f"{name}.partial_fit(kind)", ask, c, "partial_fit", X, strings, message="y must hold labels"
    )
    for rate in (-0.1, 1, NAN, "a"):
        bad(
            f"{name}.calibrate_rejection({rate})",
            ask,
            c,
            "calibrate_rejection",
            X,
            message="false_accept_rate",
            false_accept_rate=rate,
        )
    bad(
        f"{name}.calibrate_rejection(y)",
        ask,
        c,
        "calibrate_rejection",
        X,
        Y[1:],
        message="inconsistent numbers",
    )
    for what, function, says in (
        ("nan", lambda X: X * NAN, r"encoder.transform\(X\) contains NaN"),
        ("1-D", lambda X: X[:, 0], r"encoder.transform\(X\) must have shape"),
        ("strings", lambda X: X.astype(str).astype(object) + "a", "could not convert string"),
        ("short", lambda X: X[1:], "encoder returned 11 rows for 12 examples"),
        ("complex", lambda X: X.astype(complex), "Complex data not supported"),
    ):
        encoder = {"encoder": Encodes(function)}
        bad(f"{name} encoder: {what}", fit, c, encoder, X, Y, message=says)
    passthrough = c("passthrough")
    bad(f"{name}.meta_fit", passthrough.meta_fit, X, Y, message="encoder='passthrough'")
    unfrozen = c(frozen.estimator.__class__(**TINY))
    one = np.zeros(12, int)
    bad(f"{name}.meta_fit(y)", unfrozen.meta_fit, X, one, message="at least two classes")

for what in ("Prototypical", "Matching", "Siamese"):
    c = getattr(sk_fewshot, f"{what}Classifier")
    for metric in (*BAD_PARAMETERS["metric"][2:], lambda a, b: a @ b.mT * NAN):
        own = c("passthrough", metric=metric).fit(X, Y)
        for method in ("predict", "predict_proba", "score_samples"):
            call = getattr(own, method)
            bad(f"{c.__name__}(metric).{method}", call, X, message="metric must")
    huge = np.full_like(X, 1e30)
    bad(
        f"{c.__name__}.fit(X: 1e30)",
        c("passthrough").fit,
        huge,
        Y,
        message="Embeddings must have a length of",
    )
    for k in (0, -1, 13, 1.5, "a", None):
        for method in ("kneighbors", "predict_top_k"):
            if hasattr(c, method):
                bad(f"{what}.{method}({k})", ask, c, method, X, k, message="n_neighbors|k")

PAIR = PairClassifier
for parameter in PAIR().get_params(deep=False):
    for value in BAD_PARAMETERS[parameter]:
        params = {"encoder": "passthrough", parameter: value}
        if parameter == "calibration_pairs":
            params["encoder"] = SiameseTransformer(**TINY)
        call = functools.partial(fit, PAIR, params, X_PAIRS, Y_PAIRS)
        says = SAYS.get(parameter, parameter)
        bad(f"PairClassifier({parameter}={label(value)})", call, message=says)
for what, (value, says) in {
    "nan": (with_cell(NAN, X_PAIRS), "Input X contains NaN"),
    "inf": (with_cell(INF, X_PAIRS), "Input X contains infinity"),
    "complex": (X_PAIRS.astype(complex), "Complex data not supported"),
    "flat": (X, "X must hold pairs"),
    "triplets": (np.stack([X] * 3, 1), "X must hold pairs"),
    "swapped axes": (X_PAIRS.swapaxes(1, 2), "X must hold pairs"),
    "empty": (X_PAIRS[:0], "X must not be empty"),
    "6-D": (X_PAIRS.reshape(24, 2, 1, 1, 1, D), "X must be flat"),
    "None": (None, "X must hold pairs"),
    "strings": (X_PAIRS.astype(str).astype(object) + "a", r"X must hold numbers, got text \('"),
    "beyond float32": (with_cell(1e300, X_PAIRS), "X holds values too large for float32"),
}.items():
    bad(f"Pair.fit(X: {what})", fit, PAIR, {"encoder": "passthrough"}, value, Y_PAIRS, message=says)
    for method in ("predict", "predict_proba", "decision_function"):
        bad(f"Pair.{method}(X: {what})", ask, PAIR, method, value, message=says)
for method in ("predict", "predict_proba", "decision_function"):
    narrow = X_PAIRS[..., 1:]
    bad(f"Pair.{method}(width)", ask, PAIR, method, narrow, message="X has 5 features")
    bad(f"Pair.{method} unfitted", unfitted, PAIR, method, X_PAIRS, message="not fitted yet")
for what, (value, says) in {
    "None": (None, "y"),
    "short": (Y_PAIRS[1:], "inconsistent numbers"),
    "one kind": (np.ones(24, int), "y must hold two classes"),
    "1 and 2": (Y_PAIRS + 1, "y must hold two classes"),
    "three": (np.arange(24) % 3, "y must hold two classes"),
    "strings": (np.where(Y_PAIRS, "same", "other"), "y must hold two classes"),
    "nan": (np.where(Y_PAIRS, 1.0, NAN), "y contains NaN"),
    "2-D": (np.stack([Y_PAIRS, Y_PAIRS], 1), "y should be a 1d array"),
}.items():
    bad(f"Pair.fit(y: {what})", fit, PAIR, {"encoder": "passthrough"}, X_PAIRS, value, message=says)

# Images: channels, size, axes
SEEN = {"image_shape": (1, 4, 5), **TINY}


@functools.cache
def of_images():
    return TripletTransformer(**TINY).fit(IMAGES, Y)


def ask_images(X):
    return of_images().transform(X)


for what, (value, says) in {
    "three channels": (np.zeros((2, 3, 4, 5)), r"images of shape \(1, 4, 5\), got \(3, 4, 5\)"),
    "size": (np.zeros((2, 4, 6)), r"images of shape \(1, 4, 5\), got \(1, 4, 6\)"),
    "swapped axes": (np.zeros((2, 5, 4)), r"images of shape \(1, 4, 5\), got \(1, 5, 4\)"),
    "channels last": (np.zeros((2, 4, 5, 1)), r"images of shape \(1, 4, 5\), got \(4, 5, 1\)"),
    "flat": (np.zeros((2, 19)), "X has 19 features"),
    "5-D": (np.zeros((2, 1, 1, 4, 5)), "X must be flat"),
}.items():
    bad(f"transform(images: {what})", ask_images, value, message=says)
    if what not in ("5-D",):
        call = functools.partial(fit, TripletTransformer, SEEN, np.repeat(value, 6, axis=0), Y)
        bad(f"fit(images: {what})", call, message=r"image_shape|images of shape")

# Episodes and evaluation
clf = PrototypicalClassifier("passthrough")
for parameter in ("n_way", "n_shot", "n_query", "n_episodes"):
    given_ways = {"n_way": 2, "n_shot": 1, "n_query": 1, "n_episodes": 2}
    too_many = {"n_way": 4, "n_shot": 4, "n_query": 4}
    values = [*POSITIVE_INT, *([too_many[parameter]] if parameter in too_many else [])]
    for value in values:
        params = {**given_ways, parameter: value}
        says = parameter if value not in (4,) else f"{parameter}|support and query together"
        split = EpisodeSplit(**params)
        bad(
            f"EpisodeSplit({parameter}={value})", lambda s: list(s.split(X, Y)), split, message=says
        )
        bad(f"episode_score({parameter}={value})", episode_score, clf, X, Y, message=says, **params)
ok = {"n_way": 2, "n_shot": 1, "n_query": 1, "n_episodes": 2}
for what, (value, says) in BAD_Y.items():
    split = EpisodeSplit(**ok)
    bad(
        f"EpisodeSplit.split(y: {what})",
        lambda s, y: list(s.split(X, y)),
        split,
        value,
        message=says,
    )
    bad(f"episode_score(y: {what})", episode_score, clf, X, value, message=says, **ok)
    bad(
        f"ClassSplit.split(y: {what})",
        lambda y: list(ClassSplit().split(X, y)),
        value,
        message=says,
    )
for what in ("nan", "inf", "complex", "1-D", "5-D", "beyond float32"):
    value, says = BAD_X[what]
    bad(f"episode_score(X: {what})", episode_score, clf, value, Y, message=says, **ok)
for value in (3, None, "clf", LinearRegression):
    bad(
        f"episode_score(clf={label(value)})",
        episode_score,
        value,
        X,
        Y,
        message="clf|should provide an instance",
        **ok,
    )
for value in ("a", -1, 1.5):
    split = EpisodeSplit(**ok, random_state=value)
    says = "random_state|[Ss]eed"
    bad(f"EpisodeSplit(random_state={value})", lambda s: list(s.split(X, Y)), split, message=says)
    call = functools.partial(episode_score, clf, X, Y, random_state=value, **ok)
    bad(f"episode_score(random_state={value})", call, message=says)
bad("episode_score(scoring)", episode_score, clf, X, Y, scoring="acc", message="scoring", **ok)
bad("episode_score(n_jobs)", episode_score, clf, X, Y, n_jobs="a", message="n_jobs", **ok)
for params in ({"test_size": 0}, {"test_size": 1.0}, {"test_size": -1}, {"test_size": 3}):
    split = ClassSplit(**params)
    bad(f"ClassSplit({params})", lambda s: list(s.split(X, Y)), split, message="test_size")
for params in ({"n_splits": 0}, {"n_splits": 1.5}, {"random_state": "a"}):
    split = ClassSplit(**params)
    bad(f"ClassSplit({params})", lambda s: list(s.split(X, Y)), split, message=next(iter(params)))
for params in ({"n_way": 0}, {"n_way": 4}, {"n_way": 1.5}, {"n_per_class": 0}):
    params = {"n_way": 2, "n_per_class": 2, **params}
    bad(f"ClassBalancedSampler({params})", ClassBalancedSampler, Y, message="n_way|n_per", **params)
bad("ClassBalancedSampler(5 of 4)", ClassBalancedSampler, Y, 2, 5, message="at least 5 examples")

# Metrics
for score in (precision_at_1, r_precision, map_at_r, recall_at_k):
    name = score.__name__
    for what, (value, says) in {**BAD_X, **EMPTY}.items():
        says = says.replace("X must be flat", "dim 5|5 dim").replace("X holds", "X|too large")
        if "integer" in what or what == "beyond float32":
            continue
        bad(f"{name}(X: {what})", score, value, Y, message=f"{says}|'X' parameter")
    for what in ("None", "short", "2-D", "nan", "a number"):
        value, says = BAD_Y[what]
        bad(f"{name}(y: {what})", score, X, value, message=says)
    bad(f"{name}(no match)", score, X, np.arange(12), message="No query has a match")
    bad(f"{name}(one sided)", score, X, Y, X_reference=X, message="X_reference and y_reference")
    both = {"X_reference": X[:, 1:], "y_reference": Y}
    bad(f"{name}(width)", score, X, Y, message="X and X_reference", **both)
    for metric in ("l2", 3, None, lambda a, b: a, lambda a, b: a @ b.T * NAN):
        bad(f"{name}(metric={label(metric)})", score, X, Y, metric=metric, message="metric")
for value in (0, -1, 1.5, "a", [], [0], [1.5]):
    bad(f"recall_at_k(k={value})", recall_at_k, X, Y, k=value, message="k")
SCORES = np.linspace(0, 1, 24)
for score in (equal_error_rate, true_accept_rate):
    name = score.__name__
    for what, y_true, y_score, says in (
        (
            "nan",
            Y_PAIRS,
            with_cell(NAN, SCORES[:, None].repeat(3, 1))[:, 2],
            "y_score contains NaN",
        ),
        ("short", Y_PAIRS[1:], SCORES, "inconsistent numbers"),
        ("one kind", np.ones(24), SCORES, "y_true must hold two labels"),
        ("three", np.arange(24) % 3, SCORES, "y_true must hold two labels"),
        ("2-D", Y_PAIRS, SCORES.reshape(12, 2), "y_score|1d array|shape|inconsistent"),
        ("None", None, SCORES, "y_true"),
        ("no scores", Y_PAIRS, None, "y_score"),
        ("empty", [], [], "0 sample"),
    ):
        bad(f"{name}({what})", score, y_true, y_score, message=says)
    bad(f"{name}(pos_label)", score, Y_PAIRS, SCORES, pos_label=7, message="pos_label=7")
for rate in (-0.1, 1.1, NAN, "a"):
    call = functools.partial(true_accept_rate, Y_PAIRS, SCORES, false_accept_rate=rate)
    bad(f"true_accept_rate({rate})", call, message="false_accept_rate")
for value in (0, 1, -2, 2.5, "a", 10**6):
    bad(f"make_pairs(n_pairs={value})", make_pairs, X, Y, n_pairs=value, message="n_pairs")
for what in ("nan", "inf", "scalar", "None"):
    value, says = BAD_X[what]
    bad(f"make_pairs(X: {what})", make_pairs, value, Y, message=f"{says}|'X' parameter|Singleton")
for what in ("None", "short", "2-D", "nan", "a number"):
    value, says = BAD_Y[what]
    bad(f"make_pairs(y: {what})", make_pairs, X, value, message=says)
for value in (None, 3, [[0.0, 1.0]], [[0, 1, 2]], [0, 1], [[0, 12]], [[-1, 0]], "a"):
    bad(f"ExamplePairs(indices={value})", ExamplePairs, X, value, message="indices must be")
bad("make_pairs(random_state)", make_pairs, X, Y, random_state="a", message="random_state")

# Losses
LOSSES = {
    "ContrastiveLoss": {"margin": [0, *BAD_PARAMETERS["margin"]], "metric": ["l2", 3, None]},
    "TripletLoss": {n: BAD_PARAMETERS[n] for n in ("margin", "mining", "normalize", "soft")}
    | {"metric": ["l2", 3, None]},
    "TripletRatioLoss": {"metric": ["l2", 3, None]},
    "PairBCELoss": {"embedding_dim": POSITIVE_INT, "metric": ["l2", 3, None]},
    "SphereFaceLoss": {"margin": [0, -1, 1.5, NAN, "a"], "annealing": ["yes", 3]},
    "SupConLoss": {"temperature": [*POSITIVE, None]},
    "AMSoftmaxLoss": {"margin": BAD_PARAMETERS["margin"], "scale": POSITIVE},
    "ArcFaceLoss": {"margin": [-1, 4, NAN, "a"], "scale": POSITIVE},
    "EpisodeLoss": {"head": [3, None, "a"], "n_shot": POSITIVE_INT},
}
CLASSIFYING = ("SphereFaceLoss", "AMSoftmaxLoss", "ArcFaceLoss")
NEEDED = {name: {"n_classes": 3, "embedding_dim": D} for name in CLASSIFYING}
NEEDED["PairBCELoss"] = {"embedding_dim": D}
NEEDED["EpisodeLoss"] = {"head": heads.PrototypicalHead()}
Z, CODES = torch.from_numpy(X), torch.from_numpy(Y)
for name, parameters in LOSSES.items():
    loss, needed = getattr(losses, name), NEEDED.get(name, {})
    if name in CLASSIFYING:
        parameters = {**parameters, "n_classes": [1, *POSITIVE_INT], "embedding_dim": POSITIVE_INT}
    for parameter, values in parameters.items():
        for value in values:
            params = {**needed, parameter: value}
            bad(f"{name}({parameter}={label(value)})", loss, message=parameter, **params)
    for what, z, y, says in (
        ("int", Z.long(), CODES, "embeddings must be"),
        ("complex", Z + 1j, CODES, "embeddings must be"),
        ("array", X, CODES, "embeddings must be"),
        ("1-D", Z[:, 0], CODES, "embeddings must have shape"),
        ("3-D", Z[None], CODES, "embeddings must have shape"),
        ("float y", Z, CODES.float(), "y must be"),
        ("array y", Z, Y, "y must be"),
        ("short y", Z, CODES[1:], "y must have shape"),
        ("2-D y", Z, CODES[:, None], "y must have shape"),
    ):
        bad(f"{name}()({what})", loss(**needed), z, y, message=says)
    if "embedding_dim" in needed:
        bad(f"{name}()(width)", loss(**needed), Z[:, 1:], CODES, message="embedding_dim=6")
    if name in CLASSIFYING:
        bad(f"{name}()(label)", loss(**needed), Z, CODES + 1, message="n_classes - 1 = 2")
        bad(f"{name}.logits(width)", loss(**needed).logits, Z[:, 1:], message="embedding_dim=6")
        bad(f"{name}.logits(array)", loss(**needed).logits, X, message="embeddings must be")
        bad(f"{name}.logits(int)", loss(**needed).logits, Z.long(), message="embeddings must be")
for name in ("ContrastiveLoss", "TripletLoss", "TripletRatioLoss", "PairBCELoss"):
    for metric in (lambda a, b: a, lambda a, b: 3.0, lambda a, b: None):
        loss = getattr(losses, name)(**NEEDED.get(name, {}), metric=metric)
        bad(f"{name}(metric={label(metric)})", loss, Z, CODES, message="metric must return")
episode_loss = losses.EpisodeLoss(heads.PrototypicalHead(), n_shot=2)
bad("EpisodeLoss()(unequal)", episode_loss, Z[1:], CODES[1:], message="n_shot=2")
bad("EpisodeLoss()(no query)", episode_loss, Z[::2], CODES[::2], message="n_shot=2")
bad("EpisodeLoss()(empty)", episode_loss, Z[:0], CODES[:0], message="n_shot=2")
bce = losses.PairBCELoss(D)
bad("PairBCELoss.pair_logits(width)", bce.pair_logits, Z, Z[:, 1:], message="y must have")
bad("PairBCELoss.pair_logits(array)", bce.pair_logits, X, Z, message="x must be")

# Heads
HEADS = {
    "PrototypicalHead": ({}, {"metric": ["l2", 3, None], "temperature": POSITIVE}),
    "MatchingHead": ({}, {"metric": ["l2", 3, None], "temperature": POSITIVE, "context": [3, "a"]}),
    "SiameseHead": (
        {},
        {"metric": ["l2", 3, None], "temperature": POSITIVE, "comparator": [3, nn.Linear(2, 2)]},
    ),
    "RelationHead": (
        {"embedding_shape": D},
        {
            "embedding_shape": [0, -1, 1.5, "a", None, (1, 2), (1, 0, 2), (1, 2.0, 3)],
            "n_filters": POSITIVE_INT,
            "n_hidden": POSITIVE_INT,
            "pooling": ["max", 3],
            "loss": ["l2", None],
        },
    ),
    "FullContext": ({"embedding_dim": D}, {"embedding_dim": POSITIVE_INT, "n_steps": POSITIVE_INT}),
}
for name, (needed, parameters) in HEADS.items():
    head = getattr(heads, name)
    for parameter, values in parameters.items():
        for value in values:
            params = {**needed, parameter: value}
            bad(f"{name}({parameter}={label(value)})", head, message=parameter, **params)
    if name == "FullContext":
        continue
    for what, queries, support, y, says in (
        ("width", Z[:, 1:], Z, CODES, "queries and support must have the same"),
        ("int", Z.long(), Z, CODES, "queries must be a floating"),
        ("array", X, Z, CODES, "queries must be a floating"),
        ("int support", Z, Z.long(), CODES, "support must be a floating"),
        ("1-D", Z[:, 0], Z, CODES, "queries must have shape"),
        ("1-D support", Z, Z[:, 0], CODES, "support must have shape"),
        ("float labels", Z, Z, CODES.float(), "support_labels must be an integer"),
        ("array labels", Z, Z, Y, "support_labels must be an integer"),
        ("short labels", Z, Z, CODES[1:], "support_labels must have shape"),
        ("2-D labels", Z, Z, CODES[:, None], "support_labels must have shape"),
        ("negative labels", Z, Z, CODES - 1, "support_labels must hold"),
        ("a missing class", Z, Z, CODES * 2, "support_labels must hold"),
        ("no support", Z, Z[:0], CODES[:0], "support must hold"),
    ):
        bad(f"{name}()({what})", head(**needed).eval(), queries, support, y, message=says)
bad("RelationHead()(shape)", heads.RelationHead(7).eval(), Z, Z, CODES, message="embedding_shape")

context = heads.FullContext(D)
bad("FullContext.of_support(width)", context.of_support, Z[:, 1:], CODES, message="support must")
bad("FullContext.of_queries(width)", context.of_queries, Z[:, 1:], Z, message="queries must")
bad("FullContext.of_queries(int)", context.of_queries, Z.long(), Z, message="queries must")

PROBABILITIES = np.full((12, 3), 1 / 3)
for what, y_true, y_proba, params, says in (
    ("short", Y[1:], PROBABILITIES, {}, "inconsistent numbers"),
    ("a column less", Y, PROBABILITIES[:, 1:], {}, "y_proba must have a column for each"),
    ("labels", Y, PROBABILITIES, {"labels": [0, 1]}, "y_proba must have a column for each"),
    ("scores", Y, 3 * PROBABILITIES + 1, {}, "y_proba must hold probabilities"),
    ("negative", Y, -PROBABILITIES, {}, "y_proba must hold probabilities"),
    ("nan", Y, NAN * PROBABILITIES, {}, "y_proba contains NaN"),
    ("1-D", Y, PROBABILITIES[:, 0], {}, "Expected 2D array"),
    ("None", None, PROBABILITIES, {}, "y_true"),
    *(("n_bins", Y, PROBABILITIES, {"n_bins": n}, "n_bins") for n in POSITIVE_INT),
):
    call = expected_calibration_error
    bad(f"expected_calibration_error({what})", call, y_true, y_proba, message=says, **params)

# Distances, encoders, augmentation
for name, function in METRICS.items():
    for what, x, y, says in (
        ("width", Z, Z[:, 1:], "x and y must have the same number of columns"),
        ("int", Z.long(), Z, "x must be a floating"),
        ("array", X, Z, "x must be a floating"),
        ("int y", Z, Z.long(), "y must be a floating"),
        ("dtype", Z, Z.double(), "x and y must have the same dtype"),
        ("1-D", Z[:, 0], Z, "x must have shape"),
        ("1-D y", Z, Z[:, 0], "y must have shape"),
    ):
        bad(f"{name}({what})", function, x, y, message=says)
        bad(f"pairwise_distances({name}: {what})", pairwise_distances, x, y, name, message=says)
        bad(f"paired_distances({name}: {what})", paired_distances, x, y, name, message=says)
    bad(f"paired_distances({name}: rows)", paired_distances, Z, Z[1:], name, message="x and y must")
for what, x in (("array", X), ("int", Z.long()), ("list", [1.0])):
    bad(f"unit({what})", unit, x, message="x must be a floating")
for value in (3, None, Conv4):
    bad(f"folded({label(value)})", folded, value, message="module must be an nn.Module")
for metric in ("l2", 3, None, lambda a, b: a, lambda a, b: None):
    call = functools.partial(pairwise_distances, Z, Z, metric)
    bad(f"pairwise_distances({label(metric)})", call, message="metric must")
for module, needed, parameters in (
    (
        Conv4,
        {"image_shape": (1, 8, 8)},
        {
            "image_shape": [(8, 8), (1, 0, 8), (1, 8.0, 8), 8, "abc", None],
            "embedding_dim": COUNT,
            "n_filters": POSITIVE_INT,
            "n_poolings": [-1, 5, 4, 1.5, "a"],
        },
    ),
    (
        MLP,
        {"n_features": D},
        {
            "n_features": POSITIVE_INT,
            "embedding_dim": POSITIVE_INT,
            "hidden": [3, (0,), (-1,), (2.5,), "ab", None],
        },
    ),
):
    for parameter, values in parameters.items():
        for value in values:
            params = {**needed, parameter: value}
            bad(f"{module.__name__}({parameter}={value})", module, message=parameter, **params)
for what, images in (
    ("size", torch.zeros(2, 1, 8, 9)),
    ("channels", torch.zeros(2, 3, 8, 8)),
    ("3-D", torch.zeros(2, 8, 8)),
    ("int", torch.zeros(2, 1, 8, 8, dtype=torch.int64)),
    ("array", np.zeros((2, 1, 8, 8), np.float32)),
):
    bad(f"Conv4()({what})", Conv4((1, 8, 8)).eval(), images, message="images must")
for what, features in (
    ("width", Z[:, 1:]),
    ("1-D", Z[0]),
    ("3-D", Z[None]),
    ("int", Z.long()),
    ("array", X),
):
    bad(f"MLP()({what})", MLP(D).eval(), features, message="features must")
for what, function, says in (
    ("1-D", lambda x: x.sum(1), "one embedding a row"),
    ("rows", lambda x: x[:1], "one embedding a row"),
    ("list", lambda x: [x], "floating point tensor, got list"),
    ("int", lambda x: x.long(), "floating point tensor"),
    ("nan", lambda x: x * NAN, "infinite or missing"),
    ("inf", lambda x: x + INF, "infinite or missing"),
):
    bad(f"encode(module: {what})", encode, Returns(function), X, message=says)
for size in (0, -1, 1.5, "a"):
    bad(
        f"encode(chunk_size={size})",
        encode,
        MLP(D).eval(),
        X,
        chunk_size=size,
        message="chunk_size",
    )
bad("encode(device)", encode, MLP(D).eval(), X, device="gpu", message="device")
bad("encode(no module)", encode, 3, X, message="module")
for parameter, values in {
    "degrees": [-1, 181, NAN, "a"],
    "translate": [-1, 1.1, NAN, "a"],
    "scale": [(1, 0.5), (0, 1), (1, 2, 3), 1, (1, INF), (NAN, NAN), ("a", "b")],
    "shear": [-1, 90, NAN, "a"],
    "padding_mode": ["wrap", 3],
    "flip": [-1, 1.1, NAN, "a"],
}.items():
    for value in values:
        params = {parameter: value}
        bad(f"RandomAffine({parameter}={value})", RandomAffine, message=parameter, **params)
for what, images in (
    ("3-D", torch.zeros(2, 8, 8)),
    ("int", torch.zeros(2, 1, 8, 8, dtype=torch.int64)),
    ("array", np.zeros((2, 1, 8, 8))),
):
    bad(f"RandomAffine()({what})", RandomAffine(), images, message="images must")
for what, images, says in (
    ("oblong", np.zeros((2, 4, 5)), "X must hold square"),
    ("flat", np.zeros((2, 16)), "X must hold square"),
    ("channels last", np.zeros((2, 4, 4, 3)), "X must hold square"),
):
    bad(f"symmetries_as_classes({what})", symmetries_as_classes, images, [0, 1], message=says)
bad(
    "symmetries_as_classes(kind)",
    symmetries_as_classes,
    IMAGES[:, :4, :4],
    Y,
    kind="all",
    message="kind",
)
bad(
    "symmetries_as_classes(y)",
    symmetries_as_classes,
    IMAGES[:, :4, :4],
    Y[1:],
    message="inconsistent",
)
bad("symmetries_as_classes(y None)", symmetries_as_classes, IMAGES[:, :4, :4], None, message="y")
for what, images, params, says in (
    ("flat", np.zeros((2, 16)), {}, "images must have shape"),
    ("nan", with_cell(NAN, IMAGES), {}, "images must hold finite"),
    ("negative", -IMAGES, {}, "images must hold finite"),
    ("size=0", IMAGES, {"size": 0}, "size"),
    ("size=1.5", IMAGES, {"size": 1.5}, "size"),
    ("strength=nan", IMAGES, {"strength": NAN}, "strength"),
    ("extent=-1", IMAGES, {"extent": -1}, "extent"),
):
    bad(f"normalize_moments({what})", normalize_moments, images, message=says, **params)

# Galleries
of_means = {"classes": np.arange(3), "rows": X[:3], "counts": np.ones(3, int)}
for what, part in (("counts", np.ones(2, int)), ("classes", np.arange(2))):
    bad(f"ClassMeans({what})", ClassMeans, message=what, **{**of_means, what: part})
bad("ClassMeans(sums)", ClassMeans, message="sums must have shape", **of_means, sums=X)
for what, value in {"dsn": 5, "table": "", "search": "quickly"}.items():
    bad(
        f"PostgresGallery({what})",
        PostgresGallery,
        message=what,
        **{"dsn": "postgresql://localhost/x", "table": "people", what: value},
    )
bad("ClassMeans.of(ids)", ClassMeans.of, X, Y, message="ids", ids=np.arange(12))
of_examples = {"classes": np.arange(3), "rows": X, "codes": Y}
of_examples |= {"arrival": np.arange(12), "ids": np.arange(12)}
for what, part, says in (
    ("codes", Y[:-1], "codes"),
    ("codes", Y[::-1], "codes must ascend"),
    ("codes", Y - 1, "codes must ascend"),
    ("classes", np.arange(4), "codes must ascend"),
    ("arrival", Y[:-1], "arrival"),
    ("ids", Y[:-1], "ids"),
):
    bad(f"Examples({what})", Examples, message=says, **{**of_examples, what: part})
bad("Examples.of(ids)", Examples.of, X, Y, message="ids", ids=Y)

# Data sets, files, checks
for fetch in (fetch_omniglot, fetch_omniglot_one_shot):
    for parameter, values in {
        "image_size": [0, -1, 1.5, "a", None],
        "data_home": [3],
        "download_if_missing": ["yes", 3],
        "n_retries": [-1, 1.5, "a"],
        "delay": [-1, NAN, "a"],
    }.items():
        for value in values:
            params = {parameter: value}
            bad(f"{fetch.__name__}({parameter}={value})", fetch, message=parameter, **params)
bad("fetch_omniglot(subset)", fetch_omniglot, "small3", message="subset")
bad("fetch_omniglot(return_X_y)", fetch_omniglot, return_X_y="yes", message="return_X_y")
for size in (0, -1, 1.5, "a", (1, 2, 3), (0, 5), None):
    bad(f"load_image_folder({size})", load_image_folder, ".", image_size=size, message="image_size")
for params in ({"path": 3}, {"on_error": "pass"}, {"follow_links": 2}, {"max_pixels": 0}):
    (parameter,) = params
    bad(f"list_images({params})", list_images, message=parameter, **{"path": ".", **params})
for parameter, values in {
    "image_size": [0, -1, 1.5, "a", (1, 2, 3), None],
    "color_mode": ["cmyk", 3],
    "crop": [0, 1.5, NAN, "a"],
    "mean": [NAN, (1, 2), "a"],
    "std": [0, -1, NAN, (1, 2), "a"],
    "interpolation": ["nearest", 2],
    "draft": ["yes"],
    "max_pixels": [0, 1.5, None],
}.items():
    for value in values:
        reader = ImageReader(**{parameter: value})
        bad(f"ImageReader({parameter}={value})", reader, [], message=parameter)
for value in ("one.jpg", b"", 3, None, [3], [None], [["one.jpg"]]):
    bad(f"ImageReader()({value})", ImageReader(), value, message="list of images|file name")
for params in ({"color_mode": "cmyk"}, {"path": 3}):
    params = {"path": ".", "image_size": 8, **params}
    says = "color_mode|path"
    bad(f"load_image_folder({params})", load_image_folder, message=says, **params)
for value in (3, None, "clf", nn.Linear(2, 2), PrototypicalClassifier):
    bad(f"save({label(value)})", sk_fewshot.save, value, "/tmp/never", message="estimator")
    for name, check in {
        "check_few_shot_estimator": check_few_shot_estimator,
        "few_shot_checks_generator": lambda e: list(few_shot_checks_generator(e)),
        "parametrize_with_few_shot_checks": lambda e: parametrize_with_few_shot_checks([e]),
    }.items():
        bad(f"{name}({label(value)})", check, value, message="estimator must")
for name, check, module in (
    ("loss", check_loss, losses.TripletLoss()),
    ("head", check_head, heads.PrototypicalHead()),
):
    for value in (3, None, "a", nn.Linear):
        bad(f"check_{name}({label(value)})", check, value, message=f"{name} must be an nn.Module")
    for value in (1, 0, 2.5, "a"):
        call = functools.partial(check, module, embedding_dim=value)
        bad(f"check_{name}(embedding_dim={value})", call, message="embedding_dim must")
for value in ([3], [nn.Linear(2, 2)], 3):
    call = functools.partial(sk_fewshot.load, "never", modules=value)
    bad(f"load(modules={label(value)})", call, message="modules")


@pytest.mark.parametrize(("call", "message"), CASES)
def test_bad_call_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError, NotFittedError), match=message):
        call()


def test_number_of_bad_calls():
    assert len(CASES) >= 2500


def public_names():
    """Classes and functions that the package's public modules export and that take arguments."""
    modules = (module.name for module in pkgutil.walk_packages(sk_fewshot.__path__, "sk_fewshot."))
    for name in [m for m in modules if "._" not in m and not m.startswith("sk_fewshot.plotting")]:
        module = import_module(name)
        for public in getattr(module, "__all__", ()):
            if callable(getattr(module, public)):
                yield public


# Containers of results, a type, strategies (hypothesis checks those itself).
NOT_CALLED = {"EpisodeScores", "Gallery", "InvalidFileError", "Metric", "Episode"} | set(
    strategies.__all__
)


def test_every_public_name_has_a_bad_call():
    called = " ".join(case.id for case in CASES)
    assert {name for name in public_names() if name not in called} - NOT_CALLED == set()


@given(
    estimator=st.sampled_from([*TRANSFORMERS, *CLASSIFIERS, PairClassifier]),
    value=st.sampled_from([NAN, INF, -INF, 1e39, -1e300]),
    data=st.data(),
)
@settings(max_examples=150)
def test_one_bad_number_anywhere_is_refused(estimator, value, data):
    given_X = X_PAIRS if estimator is PairClassifier else X
    place = tuple(data.draw(st.integers(0, side - 1)) for side in given_X.shape)
    broken = given_X.astype(np.float64)
    broken[place] = value
    clf = fitted(estimator)
    method = data.draw(st.sampled_from(["fit", "transform", "predict", "partial_fit"]))
    method = method if hasattr(clf, method) else "fit"
    labels = (Y_PAIRS if estimator is PairClassifier else Y,) if "fit" in method else ()
    with pytest.raises(ValueError, match=r"X contains|X holds values too large"):
        getattr(clone(clf) if method == "fit" else clf, method)(broken, *labels)


@given(
    estimator=st.sampled_from(TRANSFORMERS),
    value=st.one_of(
        st.floats(max_value=0),
        st.integers(max_value=0),
        st.text(max_size=3),
        st.lists(st.integers(), max_size=2),
    ),
    name=st.sampled_from(["lr", "max_epochs", "batches_per_epoch", "embedding_dim"]),
)
@settings(max_examples=150)
def test_no_parameter_takes_what_is_not_a_positive_number(estimator, value, name):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {estimator.__name__}"):
        estimator(**{**TINY, name: value}).fit(X, Y)


@given(
    codes=st.lists(st.integers(-2, 4), min_size=1, max_size=6),
    head=st.sampled_from([heads.PrototypicalHead(), heads.MatchingHead(), heads.SiameseHead()]),
)
@settings(max_examples=150)
def test_heads_take_labels_of_consecutive_classes_only(codes, head):
    labels = torch.tensor(codes)
    support, n_classes = Z[: len(codes)], len(set(codes))
    if sorted(set(codes)) == list(range(n_classes)):
        assert head(Z, support, labels).shape == (len(Z), n_classes)
        return
    with pytest.raises(ValueError, match=r"support_labels must hold 0 .. n_classes - 1"):
        head(Z, support, labels)
