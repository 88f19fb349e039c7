"""What all transformers share: inputs, the encoder module, outputs."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_fewshot import PrototypicalTransformer
from sk_fewshot.encoders import MLP, Conv4

TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 8)
    return rng.random((24, 3, 8, 10), dtype=np.float32), y


@pytest.fixture(scope="module")
def flat():
    return make_blobs(40, n_features=6, centers=4, random_state=0)


def test_images_in_every_accepted_form_give_the_same_embeddings(images):
    X, y = images
    grey = X[:, 0]
    expected = PrototypicalTransformer(**TINY).fit(grey, y).transform(grey)
    for form in (grey[:, None], grey.tolist(), torch.from_numpy(grey)):
        encoder = PrototypicalTransformer(**TINY).fit(form, y)
        assert encoder.image_shape_ == (1, 8, 10)
        assert encoder.n_features_in_ == 80
        np.testing.assert_array_equal(encoder.transform(form), expected)
        np.testing.assert_array_equal(encoder.transform(grey.reshape(24, -1)), expected)
    flat_rows = grey.reshape(24, -1)
    for image_shape in ((1, 8, 10), [1, 8, 10], (1, -1, 10)):
        encoder = PrototypicalTransformer(**TINY, image_shape=image_shape).fit(flat_rows, y)
        np.testing.assert_array_equal(encoder.transform(grey), expected)


def test_default_module_follows_the_shape_of_x(images, flat):
    assert isinstance(PrototypicalTransformer(**TINY).fit(*images).module_, Conv4)
    assert isinstance(PrototypicalTransformer(**TINY).fit(*flat).module_, MLP)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((24, 3, 10, 8), r"images of shape \(3, 8, 10\), got \(3, 10, 8\)"),
        ((24, 8, 10), r"images of shape \(3, 8, 10\), got \(1, 8, 10\)"),
        ((24, 239), "X has 239 features, but PrototypicalTransformer is expecting 240"),
        ((24, 1, 3, 8, 10), r"flat \(n, d\) or images \(n, H, W\) or \(n, C, H, W\)"),
    ],
)
def test_other_shapes_than_in_fit_are_refused(images, shape, message):
    encoder = PrototypicalTransformer(**TINY).fit(*images)
    with pytest.raises(ValueError, match=message):
        encoder.transform(np.zeros(shape))


def test_images_are_refused_by_an_encoder_of_flat_features(flat):
    encoder = PrototypicalTransformer(**TINY).fit(*flat)
    with pytest.raises(ValueError, match=r"X must be flat, as in fit, with shape \(n, 6\)"):
        encoder.transform(np.zeros((2, 2, 3)))


@pytest.mark.parametrize("image_shape", [(8, 10), (1, 8, 0), (-1, -1, 10), (1, 8.0, 10), "abc"])
def test_bad_image_shape_is_refused(images, image_shape):
    with pytest.raises(ValueError, match="image_shape"):
        PrototypicalTransformer(**TINY, image_shape=image_shape).fit(images[0][:, 0], images[1])


def test_image_shape_must_fit_the_features(images):
    with pytest.raises(ValueError, match=r"image_shape=\(1, 7, 10\) does not fit the 240 features"):
        PrototypicalTransformer(**TINY, image_shape=(1, 7, 10)).fit(
            images[0].reshape(24, -1), images[1]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_keep_their_dtype(flat, dtype):
    X, y = flat
    assert PrototypicalTransformer(**TINY).fit_transform(X.astype(dtype), y).dtype == dtype


def test_integers_become_float32_and_must_be_exact_in_it(flat):
    X, y = flat
    X = X.round().astype(int)
    encoder = PrototypicalTransformer(**TINY).fit(X, y)
    assert encoder.transform(X).dtype == np.float32
    for form in (np.full((1, 6), 2**24 + 1), [[2**24 + 1] * 6]):
        with pytest.raises(ValueError, match="integers up to 16777217"):
            encoder.transform(form)


def test_values_beyond_float32_are_refused(flat):
    encoder = PrototypicalTransformer(**TINY).fit(*flat)
    with pytest.raises(ValueError, match=r"too large for float32: 1e\+39"):
        encoder.transform(np.full((1, 6), -1e39))


def test_embeddings_do_not_depend_on_the_batching(images):
    X, y = images
    encoder = PrototypicalTransformer(**TINY).fit(X, y)
    alone = np.concatenate([encoder.transform(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_array_equal(encoder.transform(X), alone)


def test_data_frame_names_and_set_output(flat):
    X, y = flat
    frame = pd.DataFrame(X, columns=list("abcdef"), index=range(100, 140))
    encoder = PrototypicalTransformer(**TINY, embedding_dim=3).set_output(transform="pandas")
    embeddings = encoder.fit(frame, y).transform(frame)
    names = [f"prototypicaltransformer{i}" for i in range(3)]
    assert list(encoder.feature_names_in_) == list("abcdef")
    assert list(encoder.get_feature_names_out()) == names
    assert list(embeddings.columns) == names
    assert list(embeddings.index) == list(frame.index)


def test_flat_images_pass_through_a_scaler(images):
    X, y = images
    model = make_pipeline(
        StandardScaler(),
        PrototypicalTransformer(**TINY, image_shape=(3, 8, 10)),
        KNeighborsClassifier(1),
    )
    flat_rows = X.reshape(24, -1)
    assert model.fit(flat_rows, y).predict(flat_rows).shape == (24,)
    assert clone(model).get_params()["prototypicaltransformer__image_shape"] == (3, 8, 10)


def test_unfitted_is_an_error(flat):
    with pytest.raises(NotFittedError):
        PrototypicalTransformer().transform(flat[0])


class Linear(nn.Module):
    """A user's encoder that asks for one of the arguments on offer."""

    def __init__(self, n_features, width=4):
        super().__init__()
        self.layer = nn.Linear(n_features, width)

    def forward(self, x):
        return self.layer(x)


def test_module_may_be_a_class_a_function_or_an_instance(flat):
    X, y = flat
    for module in (Linear, lambda n_features: Linear(n_features), Linear(6)):
        encoder = PrototypicalTransformer(**TINY, module=module).fit(X, y)
        assert encoder.transform(X).shape == (40, 4)
        assert encoder.embedding_dim_ == 4
    wide = PrototypicalTransformer(**TINY, module=Linear, module_params={"width": 9}).fit(X, y)
    assert wide.embedding_dim_ == 9


def test_module_instance_is_copied_not_trained(flat):
    module = Linear(6)
    before = module.layer.weight.clone()
    encoder = PrototypicalTransformer(**TINY, module=module).fit(*flat)
    assert torch.equal(module.layer.weight, before)
    assert not torch.equal(encoder.module_.layer.weight, before)


class Returns(nn.Module):
    """An encoder that returns whatever a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.function(x + self.weight)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"module": lambda: 3}, TypeError, "module must make an nn.Module, got int"),
        ({"module": Linear(6), "module_params": {"width": 2}}, ValueError, "module_params must be"),
        ({"module": Linear, "embedding_dim": 7}, ValueError, "embedding_dim=7, but module Linear"),
        ({"module": Returns(lambda x: x.sum(1))}, ValueError, "one embedding for each example"),
        ({"module": Returns(lambda x: x[:1])}, ValueError, "one embedding for each example"),
        ({"module": Returns(lambda x: [x])}, TypeError, "floating point tensor, got list"),
        (
            {"module": Returns(lambda x: x.long())},
            TypeError,
            "floating point tensor, got torch.int",
        ),
        ({"module": Returns(lambda x: x / 0)}, ValueError, "loss became nan"),
        ({"module": 3}, ValueError, "'module' parameter"),
        ({"lr": 0}, ValueError, "'lr' parameter"),
        ({"lr": float("nan")}, ValueError, "'lr' parameter"),
        ({"max_epochs": 0}, ValueError, "'max_epochs' parameter"),
        ({"batches_per_epoch": 1.5}, ValueError, "'batches_per_epoch' parameter"),
        ({"validation_classes": 1.0}, ValueError, "'validation_classes' parameter"),
        ({"optimizer": "adamm"}, ValueError, "'optimizer' parameter"),
        ({"device": "gpu"}, ValueError, "device must be 'auto', 'cpu'"),
        ({"augment": "flip"}, ValueError, "'augment' parameter"),
        ({"net_params": [1]}, ValueError, "'net_params' parameter"),
        ({"n_way": 5}, ValueError, "n_way=5 must not be greater than n_classes=4"),
        ({"n_way": 1}, ValueError, "'n_way' parameter"),
        ({"n_shot": 0}, ValueError, "'n_shot' parameter"),
        ({"n_shot": 6, "n_query": 5}, ValueError, "n_shot . n_query needs 11 examples"),
        ({"n_shot": 10}, ValueError, "n_shot . n_query needs 11 examples"),
        ({"metric": "l2"}, ValueError, "'metric' parameter"),
        ({"metric": lambda a, b: a}, ValueError, "metric must return a tensor of shape"),
    ],
)
def test_bad_parameters_are_named(flat, params, error, message):
    encoder = PrototypicalTransformer(**{**TINY, **params})
    before = vars(encoder).copy()
    with pytest.raises(error, match=message):
        encoder.fit(*flat)
    assert vars(encoder) == before


def test_training_needs_two_classes_of_two_examples(flat):
    X, y = flat
    with pytest.raises(ValueError, match=r"at least two classes .* got 1 class: np.int64"):
        PrototypicalTransformer(**TINY).fit(X, np.ones_like(y))
    with pytest.raises(ValueError, match=r"smallest class has n_samples=1.* meta_fit"):
        PrototypicalTransformer(**TINY).fit(X[:5], [0, 0, 1, 1, 2])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        PrototypicalTransformer(**TINY).fit(X, np.linspace(0, 1, 40))


@pytest.mark.parametrize("labels", [[3, 7, 8, 11], list("dcba"), [True, False]])
def test_any_labels(flat, labels):
    X, y = flat
    encoder = PrototypicalTransformer(**TINY).fit(X, np.take(labels, y % len(labels)))
    assert list(encoder.classes_) == sorted(labels)


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module[0].weight.data.zero_(),
        lambda module: module.__setitem__(1, nn.Tanh()),
        lambda module: module.__setitem__(0, nn.Linear(6, 4)),
        lambda module: module.append(nn.Sigmoid()),
        lambda module: setattr(module[2], "running_mean", torch.ones(4)),
    ],
)
def test_what_is_changed_in_the_module_is_used(flat, change):
    X, y = flat
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4))
    encoder = PrototypicalTransformer(**TINY, module=module).fit(X, y)
    before = encoder.transform(X)
    change(encoder.module_)
    with torch.no_grad():
        expected = encoder.module_.eval()(torch.from_numpy(np.float32(X))).numpy()
    assert not np.allclose(encoder.transform(X), before)
    np.testing.assert_allclose(encoder.transform(X), expected, rtol=1e-5, atol=1e-6)
