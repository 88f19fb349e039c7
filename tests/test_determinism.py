"""The same answers from every fit, thread and process; global generators left alone."""

import multiprocessing
import pickle
import random
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import nn

import sk_fewshot
from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    EpisodeSplit,
    MatchingClassifier,
    MatchingTransformer,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    RelationTransformer,
    SiameseClassifier,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
    episode_score,
)
from sk_fewshot._utils.random import with_own_generator
from sk_fewshot.metrics import make_pairs

rng = np.random.default_rng(0)
Y = np.repeat(np.arange(6), 10)
X = (rng.normal(size=(60, 16)) + 3 * rng.normal(size=(6, 16))[Y]).astype(np.float32)
PAIRS, SAME = make_pairs(X, Y, n_pairs=60, random_state=0)
MANY = rng.normal(size=(1500, 16)).astype(np.float32)  # one of a class: searched, not all scored
for array in (X, Y, PAIRS, SAME, MANY):
    array.flags.writeable = False


class WithDropout(nn.Module):
    """An encoder whose forward pass in training is random."""

    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 8), nn.Dropout(0.5), nn.Linear(8, 4))

    def forward(self, x):
        return self.layers(x)


def noisy(batch):
    return batch + 0.1 * torch.randn_like(batch)


TINY = {"max_epochs": 2, "batches_per_epoch": 2, "random_state": 0}
RANDOM = {**TINY, "module": WithDropout, "augment": noisy}
TRANSFORMERS = [
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    MatchingTransformer,
    PrototypicalTransformer,
    RelationTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
]
LEARNERS = {
    **{transformer.__name__: transformer(**RANDOM) for transformer in TRANSFORMERS},
    "MatchingTransformer, full context": MatchingTransformer(full_context=True, **RANDOM),
    "SiameseTransformer, bce": SiameseTransformer(loss="bce", **RANDOM),
    "held-out classes": ArcFaceTransformer(validation_classes=0.4, **RANDOM),
    "SiameseClassifier": SiameseClassifier("passthrough", random_state=0),
    "encoder without a seed": PrototypicalClassifier(
        PrototypicalTransformer(**{**RANDOM, "random_state": None}), random_state=0
    ),
    "PairClassifier": PairClassifier(SiameseTransformer(**RANDOM), random_state=0),
}


def learned(learner):
    """Everything random of one fit, in what it returns."""
    if isinstance(learner, PairClassifier):
        return clone(learner).fit(PAIRS, SAME).decision_function(PAIRS)
    learner = clone(learner).fit(X, Y)
    head = getattr(learner, "head_", None) or getattr(learner, "loss_", None)
    weights = [p.detach().numpy().ravel() for p in head.parameters()] if head is not None else []
    answer = learner.predict_proba(X) if hasattr(learner, "predict") else learner.transform(X)
    return np.concatenate([answer.ravel(), *weights])


@pytest.fixture(scope="module")
def expected():
    """What each learner learns alone."""
    return {name: learned(learner) for name, learner in LEARNERS.items()}


@pytest.mark.parametrize("name", LEARNERS)
def test_ten_fits_of_one_seed_are_bitwise_the_same(name, expected):
    for _ in range(9):
        np.testing.assert_array_equal(learned(LEARNERS[name]), expected[name])
    if LEARNERS[name].random_state == 0:
        other = clone(LEARNERS[name]).set_params(random_state=1)
        assert (learned(other) != expected[name]).any()


def test_fits_in_four_threads_at_once_are_bitwise_the_same(expected):
    names = [name for name in LEARNERS for _ in range(3)]
    order = np.random.default_rng(0).permutation(len(names))
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda i: (names[i], learned(LEARNERS[names[i]])), order)
    for name, result in results:
        np.testing.assert_array_equal(result, expected[name])


def test_fits_in_worker_processes_are_bitwise_the_same(expected):
    with parallel_config("loky", inner_max_num_threads=1):
        results = Parallel(n_jobs=2)(delayed(learned)(learner) for learner in LEARNERS.values())
    for name, result in zip(LEARNERS, results, strict=True):
        np.testing.assert_array_equal(result, expected[name])


class Generators:
    """The states of the global generators of torch, numpy and Python."""

    def __init__(self):
        self.torch = torch.get_rng_state()
        self.numpy = np.random.get_state()
        self.python = random.getstate()

    def assert_untouched(self, call):
        assert torch.equal(torch.get_rng_state(), self.torch), call
        np.testing.assert_equal(np.random.get_state(), self.numpy, err_msg=call)
        assert random.getstate() == self.python, call


def encoder(transformer, **params):
    return FrozenEstimator(transformer(**TINY, **params).fit(X, Y))


@pytest.fixture(scope="module")
def fitted():
    """Fitted estimators of every kind, and what they are asked about."""
    pair = PairClassifier(encoder(SiameseTransformer)).fit(PAIRS, SAME)
    conv = encoder(ArcFaceTransformer, image_shape=(1, 4, 4))
    gallery = PrototypicalClassifier("passthrough").fit(MANY, np.arange(len(MANY)))
    return {
        "conv": (conv.estimator, X),
        "mlp": (encoder(TripletTransformer).estimator, X),
        "prototypical": (PrototypicalClassifier(conv).fit(X, Y), X),
        "gallery": (gallery.calibrate_rejection(X, false_accept_rate=0.5), X),
        "matching": (MatchingClassifier(encoder(MatchingTransformer)).fit(X, Y), X),
        "full context": (
            MatchingClassifier(encoder(MatchingTransformer, full_context=True)).fit(X, Y),
            X,
        ),
        "relation": (RelationClassifier(encoder(RelationTransformer)).fit(X, Y), X),
        "siamese": (SiameseClassifier(encoder(SiameseTransformer, loss="bce")).fit(X, Y), X),
        "many examples": (MatchingClassifier("passthrough").fit(MANY, np.arange(1500) % 7), X),
        "pairs": (pair, PAIRS),
    }


METHODS = [
    "transform",
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
    "kneighbors",
    "predict_top_k",
]


def questions(estimators):
    """Bound methods and their argument, by a name for each."""
    return {
        (name, method): (getattr(estimator, method), asked)
        for name, (estimator, asked) in estimators.items()
        for method in METHODS
        if hasattr(estimator, method)
    }


@pytest.fixture(scope="module")
def answers(fitted):
    return {key: method(asked) for key, (method, asked) in questions(fitted).items()}


def test_eight_threads_get_the_answers_of_one(fitted, answers):
    asked = questions(pickle.loads(pickle.dumps(fitted)))  # nothing cached by earlier calls
    start = threading.Barrier(8)

    def answer(seed):
        order = np.random.default_rng(seed).permutation(len(asked))
        keys = [list(asked)[i] for i in order]
        start.wait()
        return {key: asked[key][0](asked[key][1]) for key in keys}

    with ThreadPoolExecutor(8) as pool:
        for given in pool.map(answer, range(8)):
            for key, expected in answers.items():
                np.testing.assert_equal(given[key], expected, err_msg=str(key))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_get_the_answers_of_one(method, fitted, answers):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{sys.platform} does not {method}")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(
        2, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = {key: pool.submit(*question) for key, question in questions(fitted).items()}
        for key, future in futures.items():
            np.testing.assert_equal(future.result(120), answers[key], err_msg=str(key))


def test_loky_workers_get_the_answers_of_one(fitted, answers):
    asked = questions(fitted)
    with parallel_config("loky", inner_max_num_threads=1):
        given = Parallel(n_jobs=2)(delayed(method)(X) for method, X in asked.values())
    for key, answer in zip(asked, given, strict=True):
        np.testing.assert_equal(answer, answers[key], err_msg=str(key))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
)
def test_a_fork_during_another_threads_fit_can_fit(expected):
    name = "PrototypicalTransformer"
    held, done = threading.Event(), threading.Event()

    def hold():
        with_own_generator(lambda: held.set() or done.wait(120), torch.device("cpu"))

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(learned(LEARNERS[name])))
    child.start()
    try:
        assert receiver.poll(60), "the child waits for a lock that nobody will open"
        np.testing.assert_array_equal(receiver.recv(), expected[name])
    finally:
        done.set()
        thread.join()
        child.kill()
        child.join()


def test_no_public_call_touches_the_global_generators(fitted, tmp_path):
    generators = Generators()
    for (name, method), (call, asked) in questions(fitted).items():
        call(asked)
        generators.assert_untouched(f"{name}.{method}")
    for name, learner in LEARNERS.items():
        learned(learner)
        generators.assert_untouched(f"fit of {name}")
    for name, (estimator, asked) in fitted.items():
        sk_fewshot.save(estimator, tmp_path / "saved")
        sk_fewshot.load(tmp_path / "saved")
        generators.assert_untouched(f"save and load of {name}")
        if isinstance(estimator, PairClassifier):
            estimator.score(asked, SAME)
        elif hasattr(estimator, "remove_class"):
            copied = pickle.loads(pickle.dumps(estimator))
            copied.calibrate_rejection(X, Y, false_accept_rate=0.5)
            copied.partial_fit(X[:3], [0, 1, 99]).remove_class(99).score(X, Y)
        generators.assert_untouched(f"enrolment in {name}")
    for classifier in (PrototypicalClassifier, PairClassifier):
        classifier(SiameseTransformer(**RANDOM), random_state=0).meta_fit(X, Y)
        generators.assert_untouched(f"meta_fit of {classifier.__name__}")
    episodes = {"n_way": 3, "n_shot": 2, "n_query": 2, "n_episodes": 3, "random_state": 0}
    list(EpisodeSplit(**episodes).split(X, Y))
    generators.assert_untouched("EpisodeSplit")
    for name in ("SiameseClassifier", "encoder without a seed"):
        episode_score(LEARNERS[name], X, Y, **episodes)
        generators.assert_untouched(f"episode_score of {name}")
    make_pairs(X, Y, n_pairs=10, random_state=0)
    generators.assert_untouched("make_pairs")
