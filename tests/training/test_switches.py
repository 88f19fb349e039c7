"""Torch's global switches change no result, and are afterwards as they were."""

import copy
import pickle
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

import sk_fewshot
from sk_fewshot import PrototypicalTransformer, RelationTransformer, load, save
from sk_fewshot.encoders import MLP, Conv4, encode, folded
from sk_fewshot.metrics import make_pairs
from sk_fewshot.transformers import __all__ as TRANSFORMERS

TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device() == torch.device(device)
    finally:
        torch.set_default_device(None)


@contextmanager
def half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


@contextmanager
def inference():
    with torch.inference_mode():
        yield
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


@contextmanager
def no_grad():
    with torch.no_grad():
        yield
        assert not torch.is_grad_enabled()


SWITCHES = {
    "inference mode": inference,
    "no grad": no_grad,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "device as context": lambda: torch.device("meta"),
    "autocast": half_precision,
}


class Own(nn.Module):
    """Makes tensors of the default type and device in each call."""

    def __init__(self, n_features):
        super().__init__()
        self.linear = nn.Linear(n_features, 8)
        self.norm = nn.BatchNorm1d(8)
        self.factor = nn.Parameter(torch.tensor(0.3))
        self.register_buffer("shift", torch.linspace(0, 1, 8) + torch.full((8,), 0.1))

    def forward(self, x):
        x = self.norm(self.linear(x)) @ torch.eye(8) + torch.zeros(8)
        return self.factor * x + self.shift + torch.tensor([0.1] * 8) + torch.arange(8)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 6)
    return rng.random((24, 1, 8, 8), dtype=np.float32) + rng.random((4, 1, 8, 8))[y], y


CASES = [(name, "images") for name in TRANSFORMERS]
CASES += [("PrototypicalTransformer", "flat"), ("SphereFaceTransformer", "own module")]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def made(request, images, blobs):
    """Examples, labels, how to make a transformer, and one that was fitted as usual."""
    name, kind = request.param
    X, y = images if kind == "images" else blobs

    def make():
        module = Own if kind == "own module" else None
        return getattr(sk_fewshot, name)(**TINY, module=module)

    return X, y, make, make().fit(X, y)


@pytest.fixture(params=SWITCHES)
def switched(request):
    return SWITCHES[request.param]


def test_fit_and_transform_are_bitwise_the_same(made, switched):
    X, y, make, fitted = made
    embeddings = fitted.transform(X)
    with switched():
        encoder = make().fit(X, y)
        np.testing.assert_array_equal(encoder.transform(X), embeddings)
        np.testing.assert_array_equal(fitted.transform(X), embeddings)
    np.testing.assert_array_equal(encoder.transform(X), embeddings)
    for name, tensor in fitted.module_.state_dict(keep_vars=True).items():
        theirs = encoder.module_.state_dict(keep_vars=True)[name]
        assert theirs.dtype is tensor.dtype, name
        assert theirs.requires_grad == tensor.requires_grad, name
        assert not theirs.is_inference(), name


def loaded(encoder, path):
    save(encoder, path)
    return load(path, modules=[Own])


COPIES = {
    "deepcopy": lambda encoder, path: copy.deepcopy(encoder),
    "pickle": lambda encoder, path: pickle.loads(pickle.dumps(encoder)),
    "load": loaded,
}


@pytest.mark.parametrize("made", [CASES[4], CASES[-2], CASES[-1]], indirect=True, ids=" ".join)
@pytest.mark.parametrize("way", COPIES)
def test_copies_are_whole_and_can_learn(made, switched, way, tmp_path):
    X, _, _, fitted = made
    with switched():
        encoder = COPIES[way](fitted, tmp_path / "encoder")
        inside = encoder.transform(X)
    np.testing.assert_array_equal(inside, fitted.transform(X))
    np.testing.assert_array_equal(encoder.transform(X), inside)
    examples = torch.from_numpy(np.float32(X)).reshape(len(X), *encoder._input_shape)
    encoder.module_(examples).sum().backward()
    assert any(p.grad is not None for p in encoder.module_.parameters())
    assert not any(t.is_inference() for t in encoder.loss_.state_dict().values())
    with torch.no_grad():
        for parameter in encoder.module_.parameters():
            parameter.add_(1)
    assert not np.array_equal(encoder.transform(X), inside)


def test_modules_that_were_made_in_inference_mode_learn(blobs):
    with torch.inference_mode():
        module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    encoder = PrototypicalTransformer(**TINY, module=module).fit(*blobs)
    assert not torch.equal(encoder.module_[0].weight, module[0].weight)


def test_encode_is_bitwise_the_same(switched, images):
    for module, X in ((Conv4((1, 8, 8)), images[0]), (MLP(5), np.ones((3, 5)))):
        module = folded(module)
        embeddings = encode(module, X)
        with switched():
            np.testing.assert_array_equal(encode(module, X), embeddings)


ASKED = {
    "PrototypicalClassifier": ["predict_proba", "score_samples", "predict_top_k"],
    "MatchingClassifier": ["predict_proba", "kneighbors"],
    "SiameseClassifier": ["predict_proba", "kneighbors"],
    "RelationClassifier": ["predict_proba", "decision_function"],
    "PairClassifier": ["predict_proba", "decision_function"],
}


@pytest.mark.parametrize("name", ASKED)
def test_classifiers_answer_bitwise_the_same(switched, name, blobs):
    X, y = blobs
    encoder = "passthrough"
    if name == "PairClassifier":
        X, y = make_pairs(X, y, n_pairs=60, random_state=0)
    elif name == "RelationClassifier":
        encoder = FrozenEstimator(RelationTransformer(**TINY).fit(X, y))

    def answers():
        clf = getattr(sk_fewshot, name)(encoder, random_state=0).fit(X, y)
        return [np.asarray(getattr(clf, method)(X)) for method in ASKED[name]]

    expected = answers()
    with switched():
        np.testing.assert_equal(answers(), expected)


@pytest.mark.parametrize("failing", [ValueError, KeyboardInterrupt])
def test_switches_come_back_where_fit_fails(switched, failing, blobs):
    def augment(batch):
        raise failing("no")

    with warnings.catch_warnings(), switched():  # and the switch checks itself
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with pytest.raises(failing):
            PrototypicalTransformer(**TINY, augment=augment).fit(*blobs)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


@pytest.mark.cuda
def test_default_device_cuda(blobs, images):
    for X, y in (blobs, images):
        embeddings = PrototypicalTransformer(**TINY, device="cpu").fit(X, y).transform(X)
        with default_device("cuda"):
            encoder = PrototypicalTransformer(**TINY, device="cpu").fit(X, y)
            np.testing.assert_array_equal(encoder.transform(X), embeddings)
            assert not next(encoder.module_.parameters()).is_cuda
