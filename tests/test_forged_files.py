"""Files forged by somebody who can seal them: refused, or an estimator that answers."""

import importlib
import inspect
import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from sk_fewshot import (
    MatchingClassifier,
    MatchingTransformer,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    SiameseClassifier,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
    load,
    save,
)
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.gallery import ClassMeans, Examples
from sk_fewshot.heads import FullContext, MatchingHead, PrototypicalHead, RelationHead, SiameseHead
from sk_fewshot.losses import PairBCELoss
from sk_fewshot.persistence import InvalidFileError
from sk_fewshot.persistence._container import pack
from sk_fewshot.persistence._fitted import FITTED
from sk_fewshot.persistence._known import (
    ARGUMENTS,
    ESTIMATORS,
    FORMAT,
    OBJECTS,
    PARAMETERS,
    VERSIONS,
)
from sk_fewshot.persistence._layers import passed_through
from sk_fewshot.persistence._writing import _Writer

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def sealed(estimator, edit=lambda node: None):
    """The file of an estimator, whatever it is made of, edited before it is sealed."""
    writer = _Writer()
    node = writer.node(estimator, "x")
    edit(node["estimator"])
    structure = {"format": FORMAT, "versions": VERSIONS, "estimator": node}
    return pack(json.dumps(structure), writer.tensors)


def assert_refused(path, content, match=None):
    """In little memory."""
    path.write_bytes(content)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidFileError, match=match):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024  # KiB


def gallery_of(cls, rows, head=None, codes=None, **params):
    """A classifier that looks as if it had been fitted on these embeddings."""
    clf = cls("passthrough", **params)
    clf.encoder_, clf.image_shape_, clf.n_features_in_ = "passthrough", None, rows.shape[1]
    if cls is PrototypicalClassifier:
        clf.gallery_ = ClassMeans(np.arange(len(rows)), rows, np.ones(len(rows), int), None)
    else:
        codes = np.arange(len(rows)) if codes is None else codes
        numbers = np.arange(len(rows))
        clf.gallery_ = Examples(np.unique(codes), rows, codes, numbers, numbers, len(rows))
    heads = {
        PrototypicalClassifier: PrototypicalHead,
        MatchingClassifier: MatchingHead,
        SiameseClassifier: SiameseHead,
    }
    clf.head_ = heads[cls]() if head is None else head
    return clf


def encoder_of(module, shape, n_outputs, cls=PrototypicalTransformer):
    """A transformer that looks as if it had been fitted."""
    transformer = cls(module=module)
    transformer.n_features_in_ = int(np.prod(shape))
    transformer.image_shape_ = shape if len(shape) == 3 else None
    transformer.classes_, transformer.history_, transformer.n_iter_ = np.arange(3), [], 0
    transformer._n_features_out = n_outputs
    transformer.loss_ = transformer._make_loss(3, (n_outputs,))
    transformer.module_ = transformer._make_module()
    return transformer


def fitted_pipeline():
    return make_pipeline(StandardScaler(), PCA(2)).fit(rng.normal(size=(9, 3)))


def test_a_forgery_that_changes_nothing_answers(tmp_path):
    for clf in (
        gallery_of(PrototypicalClassifier, normal(3, 4)),
        gallery_of(RelationClassifier, normal(3, 4), RelationHead(4)),
    ):
        (tmp_path / "x").write_bytes(sealed(clf))
        assert load(tmp_path / "x").predict(normal(2, 4)).shape == (2,)
    (tmp_path / "x").write_bytes(sealed(encoder_of(MLP(3, 2), (3,), 2)))
    assert load(tmp_path / "x").transform(normal(5, 3)).shape == (5, 2)


# What runs, is read or is written at a later call


def test_every_parameter_that_a_file_may_give_has_a_rule():
    """Nothing is taken that nobody has thought of; a new parameter needs a row."""
    assert {
        (cls.__name__, name)
        for cls in ESTIMATORS.values()
        for name in cls._get_param_names()
        if name not in PARAMETERS
    } == set()
    assert {
        (cls.__name__, p.name)
        for cls in OBJECTS.values()
        for p in inspect.signature(cls).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in (*ARGUMENTS, "device", "dtype")
    } == set()
    assert ESTIMATORS.keys() - {cls.__name__ for cls in FITTED} == {"FrozenEstimator", "Pipeline"}


NET_PARAMS = {
    "compile": True,
    "compile__options": {"cpp.march": "native -wrapper /bin/sh,-c,id"},
    "compile__backend": "inductor",
    "compile__mode": "max-autotune",
    "torch_load_kwargs": {"weights_only": False},
    "device": "cuda",
    "module__embedding_dim": 3,
    "criterion__margin": 3,
    "iterator_train": "x",
    "iterator_train__num_workers": 10**6,
    "iterator_train__multiprocessing_context": "fork",
    "iterator_valid__batch_size": 10**9,
    "callbacks": ["EarlyStopping"],
    "callbacks__checkpoint__path": "/tmp/x",
    "callbacks__print_log__sink": "print",
    "callbacks__progress__bar": "x",
    "dataset": "x",
    "dataset__length": 3,
    "train_split": 0.5,
    "predict_nonlinearity": "auto",
    "use_caching": True,
    "initialized_": True,
    "virtual_params_": {},
    "history": [],
    "optimizer": "Adam",
    "optimizer__lr.__class__": 3,
    "__class__": "x",
    "": 3,
}


@pytest.mark.parametrize("name", NET_PARAMS)
def test_only_harmless_settings_reach_skorch(name, tmp_path):
    estimator = SiameseTransformer(net_params={name: NET_PARAMS[name]})
    assert_refused(tmp_path / "x", sealed(estimator), r"SiameseTransformer\.net_params")
    with pytest.raises(ValueError, match=r"SiameseTransformer\.net_params"):
        save(estimator, tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_settings_of_the_optimizer_are_kept(tmp_path):
    settings = {
        "optimizer__weight_decay": 1e-4,
        "optimizer__betas": (0.9, 0.99),
        "optimizer__nesterov": True,
        "optimizer__param_groups": [("blocks*", {"lr": 0.1})],
        "iterator_train__n_batches": 3,
        "callbacks__print_log": None,
    }
    save(SiameseTransformer(net_params=settings), tmp_path / "x")
    assert load(tmp_path / "x").net_params == settings


HOSTILE = {
    "module": [{"known": "Adam"}, {"known": "ArcFaceLoss"}, "x", 3],
    "module_params": [
        {"dict": {"hidden": [[[[[[1]]]]]]}},
        {"dict": {"x": "y" * 2000}},
        {"dict": {"x": list(range(2000))}},
        {"dict": {"x": {"estimator": None}}},
        [],
    ],
    "optimizer": [{"known": "Conv4"}, {"known": "Linear"}, "rmsprop", 3],
    "augment": [{"known": "Conv4"}, {"known": "ReLU"}, "x"],
    "device": ["meta", "vulkan", "cuda:999999999999", "privateuseone", "cpu\n", "x" * 10**5, 3],
    "checkpoint": ["x", "/dev/null", {"tuple": []}],
    "random_state": ["x", 2**32, -1],
    "verbose": [10**9, "x"],
    "max_epochs": [10**12, 2.5],
    "batches_per_epoch": [10**12],
    "embedding_dim": [10**12],
    "image_shape": [{"tuple": [1, 10**6, 10**6]}, {"tuple": [3, 16384, 16384]}, "x"],
    "n_way": [10**12],
    "n_shot": [10**12],
    "n_query": [10**12],
    "lr": [{"float": "nan"}, "x"],
    "metric": [{"known": "Conv4"}, {"known": "ReLU"}, {"known": "ArcFaceLoss"}, "os.system"],
    "frozen": [["x"] * 10**4, ["x" * 10**4], [3]],
    "validation_classes": ["x"],
    "net_params": [[], "x"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_parameters_that_reach_further_are_plain(name, tmp_path):
    for value in HOSTILE[name]:

        def edit(node, value=value):
            node["params"][name] = value

        content = sealed(PrototypicalTransformer(), edit)
        assert_refused(tmp_path / "x", content)


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    [
        (PrototypicalClassifier(), "index", "hnsw"),
        (PrototypicalClassifier(), "index", {"dict": {}}),
        (PrototypicalClassifier(), "encoder", "other"),
        (PrototypicalClassifier(), "encoder", {"known": "Conv4"}),
        (PrototypicalClassifier(), "encoder", {"object": None}),
        (PrototypicalClassifier(), "unknown_label", "x" * 10**5),
        (PrototypicalClassifier(), "unknown_label", []),
        (PrototypicalClassifier(), "reject_below", {"float": "nan"}),
        (MatchingTransformer(), "n_steps", 10**12),
        (SphereFaceTransformer(), "margin", 10**9),
        (TripletTransformer(), "loss", {"known": "Conv4"}),
        (TripletTransformer(), "loss", {"known": "Adam"}),
        (fitted_pipeline(), "memory", "/tmp"),
        (fitted_pipeline(), "memory", {"known": "Conv4"}),
        (fitted_pipeline(), "verbose", 10**9),
        (fitted_pipeline(), "transform_input", [["x"]]),
        (fitted_pipeline(), "steps", [["a", None]]),
        (fitted_pipeline(), "steps", [{"tuple": ["a", {"known": "Conv4"}]}]),
        (PCA(), "n_components", "other"),
        (PCA(), "iterated_power", 10**9),
        (StandardScaler(), "copy", 3),
        (MinMaxScaler(), "feature_range", {"tuple": [0]}),
    ],
    ids=str,
)
def test_other_parameters_are_plain(estimator, name, value, tmp_path):
    def edit(node):
        node["params"][name] = value

    assert_refused(tmp_path / "x", sealed(estimator, edit))


# What exhausts


def test_shared_layers_do_not_multiply(tmp_path):
    """Each level has the one before twice: 2**40 layers in 3 KB."""

    def edit(node):
        layers = {"object": {"class": "ReLU", "arguments": {"dict": {}}, "state": {}}}
        layers["object"]["arguments"] = {"inplace": False}
        for _ in range(40):
            twice = {"dict": {"0": layers, "1": {"ref": 0}}}
            layers = {
                "object": {"class": "Sequential", "arguments": {"layers": twice}, "state": {}}
            }
        numbers = iter(range(100))

        def number(layers):
            inner = layers["object"]["arguments"].get("layers")
            if inner is not None:
                number(inner["dict"]["0"])
                inner["dict"]["1"]["ref"] = next(numbers)

        number(layers)
        node["params"]["module"] = layers

    assert_refused(tmp_path / "x", sealed(PrototypicalTransformer(), edit), "more than|too deeply")


def test_shared_steps_do_not_multiply(tmp_path):
    step = StandardScaler().fit(normal(3, 2))
    for _ in range(25):
        step = Pipeline([("a", step), ("b", step)])
    assert_refused(tmp_path / "x", sealed(step), "more than|too deeply|deep")


def test_estimators_within_estimators_are_few(tmp_path):
    encoder = StandardScaler().fit(normal(3, 2))
    for _ in range(4):
        encoder = FrozenEstimator(encoder)
    clf = PrototypicalClassifier(encoder).fit(normal(4, 2), [0, 0, 1, 1])
    save(clf, tmp_path / "x")
    assert len(repr(load(tmp_path / "x"))) < 1000
    for _ in range(30):
        encoder = FrozenEstimator(encoder)
    assert_refused(tmp_path / "x", sealed(encoder), "deep")


@pytest.mark.parametrize(
    "text",
    ["[" + "[]," * 300_000 + "[]]", "[" + "{}," * 300_000 + "{}]", "[" * 500 + "]" * 500],
    ids=["lists", "objects", "deep"],
)
def test_structures_of_nothing_are_refused(text, tmp_path):
    assert_refused(tmp_path / "x", pack(text, {}))


@pytest.mark.parametrize("where", ["history_", "module_params"])
def test_lists_of_empty_lists_are_refused(where, tmp_path):
    def edit(node):
        part = node["fitted"] if where == "history_" else node["params"]
        part[where] = [[]] * 100_000

    estimator = encoder_of(MLP(3, 2), (3,), 2)
    assert_refused(tmp_path / "x", sealed(estimator, edit), "too many lists")


LAYERS = {
    "padding": ([nn.MaxPool2d(3, 1, 2**30)], (1, 8, 8)),
    "window": ([nn.MaxPool2d(2**30, 1, 2**29)], (1, 8, 8)),
    "windows": ([nn.AvgPool2d(500, 1, 250)], (1, 500, 500)),
    "spread": ([nn.MaxPool2d(3, 1, 1, dilation=2**20)], (1, 8, 8)),
    "sides": ([nn.AdaptiveAvgPool2d(2**20)], (1, 8, 8)),
    "large maps": ([nn.AdaptiveAvgPool2d(1000), nn.AdaptiveAvgPool2d(1)] * 100, (64, 8, 8)),
    "borders": ([nn.Conv2d(1, 1, 3, padding=2**30)], (1, 8, 8)),
    "border": ([nn.Conv2d(1, 64, 3, padding=1000)], (1, 8, 8)),
    "features": ([nn.Identity()], (10**9,)),
    "image": ([nn.Conv2d(3, 64, 3)], (3, 10**4, 10**4)),
    "many layers": ([nn.ReLU()] * 1000, (3,)),
    "convolutions": ([nn.Conv2d(90, 90, 3, padding=1)] * 3, (90, 200, 200)),
    "other input": ([nn.Linear(3, 2)], (4,)),
    "other channels": ([nn.Conv2d(3, 2, 1)], (4, 8, 8)),
    "too small": ([nn.Conv2d(1, 2, 9)], (1, 8, 8)),
    "no embedding": ([nn.Flatten(0)], (4,)),
    "two outputs": ([nn.MaxPool2d(2, return_indices=True)], (1, 8, 8)),
    "double": ([nn.Linear(4, 2).double()], (4,)),
    "infinite": ([nn.LayerNorm(4), nn.Linear(4, 2)], (4,)),
    "negative variance": ([nn.BatchNorm1d(4)], (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_exhaust_or_do_not_fit_are_refused(name, tmp_path):
    layers, shape = LAYERS[name]
    if name == "infinite":
        torch.nn.init.constant_(layers[1].weight, torch.inf)
    if name == "negative variance":
        layers[0].running_var -= 2
    module = nn.Sequential(*layers, nn.Flatten())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_refused(tmp_path / "x", sealed(encoder_of(module, shape, 4)))


def test_another_length_of_embedding_is_refused(tmp_path):
    assert_refused(tmp_path / "x", sealed(encoder_of(MLP(3, 2), (3,), 4)), "returns 2 numbers")


def broken(attribute, value):
    """A classifier of whose gallery one part is another one."""

    def edit(clf):
        vars(clf.gallery_)[attribute] = value

    return edit


N = 6
GALLERIES = {
    "classes too few": broken("classes", np.arange(N - 1)),
    "classes twice": broken("classes", np.zeros(N, int)),
    "classes descend": broken("classes", np.arange(N)[::-1].copy()),
    "classes not finite": broken("classes", np.array([*range(N - 1), np.inf])),
    "classes in a table": broken("classes", np.arange(N)[:, None]),
    "no columns": broken("rows", np.zeros((N, 0), np.float32)),
    "no rows": broken("rows", np.zeros((0, 3), np.float32)),
    "rows too few": broken("rows", normal(N - 1, 3)),
    "other columns": broken("rows", normal(N, 4)),
    "rows not finite": broken("rows", np.full((N, 3), np.nan, np.float32)),
    "rows infinite": broken("rows", np.full((N, 3), np.inf, np.float32)),
    "rows of booleans": broken("rows", np.ones((N, 3), bool)),
    "rows in one": broken("rows", normal(N * 3)),
    "codes too large": broken("codes", np.array([0, 1, 2, 3, 4, 2**26])),
    "codes negative": broken("codes", np.array([-1, 1, 2, 3, 4, 5])),
    "codes of floats": broken("codes", np.arange(6.0)),
    "codes of bytes": broken("codes", np.arange(6, dtype=np.uint8)),
    "codes lack one": broken("codes", np.array([0, 1, 2, 3, 4, 4])),
    "codes descend": broken("codes", np.arange(6)[::-1].copy()),
    "codes too few": broken("codes", np.arange(5)),
    "ids twice": broken("ids", np.zeros(N, int)),
    "ids too few": broken("ids", np.arange(N - 1)),
    "ids of floats": broken("ids", np.arange(6.0)),
    "arrival twice": broken("arrival", np.zeros(N, int)),
    "arrival of texts": broken("arrival", np.array([*"abcdef"])),
    "next_id": broken("next_id", -1),
    "next_id is large": broken("next_id", 10**30),
}


@pytest.mark.parametrize("name", GALLERIES)
def test_galleries_whose_parts_do_not_fit_are_refused(name, tmp_path):
    clf = gallery_of(MatchingClassifier, normal(N, 3))
    GALLERIES[name](clf)
    assert_refused(tmp_path / "x", sealed(clf))


@pytest.mark.parametrize(
    "edit",
    [
        broken("counts", np.zeros(N, int)),
        broken("counts", np.arange(N)[:-1]),
        broken("counts", np.ones(N)),
        broken("sums", np.zeros((N, 2))),
        broken("sums", np.full((N, 3), np.nan)),
        broken("rows", np.zeros((2000, 0), np.float32)),
    ],
)
def test_means_whose_parts_do_not_fit_are_refused(edit, tmp_path):
    clf = gallery_of(PrototypicalClassifier, normal(N, 3), index="faiss")
    edit(clf)
    assert_refused(tmp_path / "x", sealed(clf))


def test_a_large_gallery_without_columns_is_refused(tmp_path):
    rows = np.zeros((2000, 0), np.float32)
    clf = gallery_of(PrototypicalClassifier, rows, index="faiss")
    assert_refused(tmp_path / "x", sealed(clf))


def with_steps(n_steps):
    context = FullContext(3)
    context.n_steps = n_steps
    return MatchingHead(context=context)


@pytest.mark.parametrize(
    "clf",
    [
        gallery_of(MatchingClassifier, normal(4, 3), with_steps(10**12)),
        gallery_of(MatchingClassifier, normal(4, 3), with_steps(101)),
        gallery_of(MatchingClassifier, normal(4, 3), MatchingHead(context=FullContext(4))),
        gallery_of(MatchingClassifier, normal(4, 3), SiameseHead()),
        gallery_of(SiameseClassifier, normal(4, 3), SiameseHead(comparator=PairBCELoss(4))),
        gallery_of(SiameseClassifier, normal(4, 3), SiameseHead("manhattan"), index="faiss"),
        gallery_of(RelationClassifier, normal(4, 3), RelationHead(4)),
        gallery_of(RelationClassifier, normal(8, 400), RelationHead((1, 20, 20), n_filters=100)),
        gallery_of(RelationClassifier, normal(9000, 4), RelationHead(4, n_filters=250)),
        gallery_of(PrototypicalClassifier, normal(4, 3), reject_below=0.5, unknown_label="x"),
        gallery_of(PrototypicalClassifier, normal(4, 3), reject_below=0.5, unknown_label=2),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_heads_that_do_not_fit_or_take_too_long_are_refused(clf, tmp_path):
    assert_refused(tmp_path / "x", sealed(clf))


def setting(name, value):
    """A forgery of one fitted attribute."""

    def edit(node):
        node["fitted"][name] = value

    return edit


@pytest.mark.parametrize(
    ("estimator", "edit"),
    [
        (StandardScaler().fit(normal(5, 3)), setting("n_features_in_", 4)),
        (StandardScaler().fit(normal(5, 3)), setting("scale_", None)),
        (StandardScaler().fit(normal(5, 3)), lambda node: node["fitted"].pop("var_")),
        (PCA(2).fit(normal(5, 3)), setting("n_components_", 3)),
        (PCA(2).fit(normal(5, 3)), setting("components_", {"ref": 0})),
        (PCA(2).fit(normal(5, 3)), setting("mean_", "x")),
        (MinMaxScaler().fit(normal(5, 3)), setting("min_", 3)),
        (make_pipeline(StandardScaler().fit(normal(5, 3)), PCA(1).fit(normal(5, 2))), None),
        (encoder_of(MLP(3, 2), (3,), 2), setting("n_features_in_", 4)),
        (encoder_of(MLP(3, 2), (3,), 2), setting("n_features_in_", 10**12)),
        (encoder_of(MLP(3, 2), (3,), 2), setting("_n_features_out", 3)),
        (encoder_of(MLP(3, 2), (3,), 2), setting("image_shape_", {"tuple": [1, 1, 3]})),
        (encoder_of(MLP(3, 2), (3,), 2), setting("history_", [3])),
        (encoder_of(MLP(3, 2), (3,), 2), setting("n_iter_", "x")),
        (encoder_of(MLP(3, 2), (3,), 2), setting("loss_", None)),
        (encoder_of(MLP(3, 2), (3,), 2), setting("transform", 3)),
        (encoder_of(MLP(3, 2), (3,), 2), setting("_sklearn_output_config", {"dict": {"x": "y"}})),
        (encoder_of(Conv4((1, 8, 8), n_filters=2), (1, 8, 8), 8), setting("image_shape_", None)),
        (gallery_of(PrototypicalClassifier, normal(4, 3)), setting("n_features_in_", 4)),
        (gallery_of(PrototypicalClassifier, normal(4, 3)), setting("encoder_", None)),
        (gallery_of(PrototypicalClassifier, normal(4, 3)), setting("encoder_", "other")),
        (gallery_of(PrototypicalClassifier, normal(4, 3)), setting("head_", {"ref": 0})),
        (
            gallery_of(PrototypicalClassifier, normal(4, 3)),
            lambda node: node["fitted"].pop("head_"),
        ),
        (gallery_of(PrototypicalClassifier, normal(4, 3)), setting("feature_names_in_", ["a"] * 3)),
    ],
)
def test_fitted_attributes_that_do_not_fit_are_refused(estimator, edit, tmp_path):
    assert_refused(tmp_path / "x", sealed(estimator, edit or (lambda node: None)))


def test_an_encoder_that_returns_another_length_is_refused(tmp_path):
    clf = gallery_of(PrototypicalClassifier, normal(4, 3))
    for encoder in (PCA(2).fit(normal(5, 3)), PCA(3), FrozenEstimator(StandardScaler())):
        clf.encoder = clf.encoder_ = encoder
        assert_refused(tmp_path / "x", sealed(clf), "is made for|not fitted")


@pytest.mark.parametrize(
    ("name", "value"),
    [("classes_", np.arange(3)), ("slope_", -1.0), ("threshold_", np.nan), ("intercept_", "x")],
)
def test_pair_classifiers_that_do_not_fit_are_refused(name, value, tmp_path):
    clf = PairClassifier("passthrough").fit(normal(6, 2, 3), [0, 1] * 3)
    vars(clf)[name] = value
    assert_refused(tmp_path / "x", sealed(clf))


# What is found by chance

SIZES = st.integers(1, 9)
LAYER = st.one_of(
    st.builds(nn.AdaptiveAvgPool2d, st.sampled_from([1, 3, (2, None), (None, 4)])),
    st.builds(nn.AvgPool2d, SIZES, SIZES, st.integers(0, 4), ceil_mode=st.booleans()),
    st.builds(
        nn.MaxPool2d,
        SIZES,
        SIZES,
        st.integers(0, 4),
        st.integers(1, 3),
        ceil_mode=st.booleans(),
    ),
    st.builds(
        nn.Conv2d,
        st.integers(1, 3),
        SIZES,
        st.tuples(SIZES, SIZES),
        st.integers(1, 3),
        st.integers(0, 4),
        st.integers(1, 3),
        padding_mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    ),
    st.builds(nn.Conv2d, st.just(2), SIZES, SIZES, padding=st.sampled_from(["same", "valid"])),
    st.builds(nn.BatchNorm1d, st.integers(1, 3)),
    st.builds(nn.BatchNorm2d, st.integers(1, 3)),
    st.builds(nn.LayerNorm, st.sampled_from([1, 3, (2, 3), (1, 2, 3)])),
    st.builds(nn.Linear, SIZES, SIZES),
    st.builds(nn.Flatten, st.integers(-4, 4), st.integers(-4, 4)),
    st.builds(nn.Unflatten, st.integers(1, 3), st.sampled_from([(1, 1), (2, 1), (3,), (1, 2, 2)])),
    st.sampled_from([nn.ReLU(), nn.Tanh(), nn.Identity(), nn.Dropout()]),
)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(st.lists(LAYER, min_size=1, max_size=3), st.lists(SIZES, min_size=1, max_size=3))
def test_shapes_after_layers_are_torchs(layers, shape):
    module, shape = nn.Sequential(*layers).eval(), tuple(shape)
    try:
        got, _ = passed_through(module, shape, torch.float32, lambda *told: None)
    except InvalidFileError:
        got = None
    try:
        with torch.no_grad():
            expected = tuple(module(torch.zeros(2, *shape)).shape)
    except (RuntimeError, ValueError, IndexError):
        assert got is None
    else:
        assert got is None or (2, *got) == expected


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(Conv4((3, 30, 20), 7), nn.LayerNorm(7)), (3, 30, 20)),
        (MLP(9, 4), (9,)),
        (
            nn.Sequential(
                nn.Conv2d(1, 4, 3, stride=2, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, 1, ceil_mode=True),
                nn.Flatten(),
                nn.Linear(256, 5),
                nn.Unflatten(1, (5, 1)),
            ),
            (1, 30, 30),
        ),
    ],
)
def test_shapes_after_common_modules_are_known(module, shape):
    got, _ = passed_through(module, shape, torch.float32, lambda *told: None)
    assert (2, *got) == tuple(module.eval()(torch.zeros(2, *shape)).shape)


@pytest.mark.filterwarnings("ignore")
def test_random_structures_are_refused_or_answer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    forged_files = importlib.import_module("forged_files")
    forger = importlib.import_module("_forger").Forger(np.random.default_rng(0))
    paths = [tmp_path / str(i) for i in range(100)]
    for path in paths:
        path.write_bytes(forger.file())
    found = [what for _, what, _, _ in forged_files.outcomes(paths)]
    assert len(found) == 100
    assert set(found) == forged_files.FINE


def test_a_first_load_imports_no_compiler(tmp_path):
    encoder = FrozenEstimator(encoder_of(MLP(3, 2), (3,), 2))
    save(PrototypicalClassifier(encoder).fit(normal(4, 3), [0, 0, 1, 1]), tmp_path / "x")
    code = "import sys, sk_fewshot; sk_fewshot.load(sys.argv[1]); print('sympy' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
