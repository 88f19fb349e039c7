"""Files that hold an estimator: what comes back, and what is refused."""

import copy
import json
import pickle
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from torch import nn

import sk_fewshot
from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    LossTransformer,
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
    heads,
    load,
    losses,
    save,
)
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.losses import SupConLoss
from sk_fewshot.metrics import make_pairs
from sk_fewshot.persistence import InvalidFileError
from sk_fewshot.persistence._container import pack, unpack
from sk_fewshot.persistence._modules import constructor_arguments

TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}
N_CLASSES, PER_CLASS, N_FEATURES = 4, 6, 16
rng = np.random.default_rng(0)
X = rng.normal(size=(N_CLASSES * PER_CLASS, N_FEATURES)).astype(np.float32)
X += 2 * np.repeat(np.eye(N_CLASSES, N_FEATURES, dtype=np.float32), PER_CLASS, axis=0)
IMAGES = X.reshape(-1, 4, 4)
y = np.repeat(np.arange(N_CLASSES), PER_CLASS)
for array in (X, IMAGES, y):
    array.flags.writeable = False


class Net(nn.Module):
    """A user's module."""

    def __init__(self, n_features, width=3, *, scale=1.0):
        super().__init__()
        self.linear = nn.Linear(n_features, width)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.width = int(torch.tensor(width).item())  # what cannot be made without memory

    def forward(self, x):
        return self.linear(x) * self.scale.to(x.dtype)


def make_net(n_features, embedding_dim=5):
    """A user's function."""
    return nn.Linear(n_features, embedding_dim)


def chebyshev(x, y):
    """A user's metric."""
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).abs().amax(-1)


def round_trip(estimator, folder, **options):
    save(estimator, folder / "saved.safetensors")
    return load(folder / "saved.safetensors", **options)


def assert_same(loaded, estimator, X):
    """Bitwise the same answers and fitted attributes."""
    assert type(loaded) is type(estimator)
    for method in ("transform", "predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            expected, got = getattr(estimator, method)(X), getattr(loaded, method)(X)
            assert expected.dtype == got.dtype
            np.testing.assert_array_equal(got, expected, strict=True)
    assert vars(loaded).keys() == vars(estimator).keys() - {"net_"}
    for name, expected in vars(estimator).items():
        got = getattr(loaded, name, None)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(got, expected, strict=True)
        elif isinstance(expected, int | float | str | tuple | list | dict):
            assert type(got) is type(expected)
            np.testing.assert_equal(got, expected)


def tiny(transformer, **parameters):
    return transformer(**TINY, **parameters)


TRANSFORMERS = [
    tiny(AMSoftmaxTransformer),
    tiny(ArcFaceTransformer, embedding_dim=5, validation_classes=0.5),
    tiny(MatchingTransformer),
    tiny(MatchingTransformer, full_context=True, module_params={"embedding_dim": 4}),
    tiny(PrototypicalTransformer, metric="cosine", n_way=3, lr=np.float64(1e-2)),
    tiny(RelationTransformer),
    tiny(RelationTransformer, loss="softmax", pooling="sum", embedding_dim=6),
    tiny(SiameseTransformer),
    tiny(SiameseTransformer, loss="bce"),
    tiny(SiameseTransformer, loss="bce", metric="cosine"),
    tiny(SphereFaceTransformer),
    tiny(LossTransformer),
    tiny(LossTransformer, loss=SupConLoss(0.5), normalize=True),
    tiny(TripletTransformer, mining="hard"),
    tiny(TripletTransformer, loss="ratio", optimizer=torch.optim.SGD),
]


@pytest.mark.parametrize("images", [False, True], ids=["flat", "images"])
@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
def test_transformers_embed_bitwise_the_same(transformer, images, tmp_path):
    data = IMAGES if images else X
    fitted = copy.deepcopy(transformer).fit(data, y)
    loaded = round_trip(fitted, tmp_path)
    assert_same(loaded, fitted, data)
    assert not loaded.module_.training
    assert not hasattr(loaded, "net_")
    expected, got = fitted.loss_.state_dict(), loaded.loss_.state_dict()
    assert type(loaded.loss_) is type(fitted.loss_)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def frozen(transformer, data=X):
    return FrozenEstimator(transformer.fit(data, y))


CLASSIFIERS = {
    "passthrough": lambda: PrototypicalClassifier("passthrough", metric="manhattan"),
    "prototypical": lambda: PrototypicalClassifier(frozen(tiny(PrototypicalTransformer))),
    "learned temperature": lambda: PrototypicalClassifier(
        frozen(tiny(PrototypicalTransformer, metric="cosine")), metric="cosine"
    ),
    "another encoder": lambda: PrototypicalClassifier(frozen(tiny(ArcFaceTransformer))),
    "nested": lambda: MatchingClassifier(
        FrozenEstimator(frozen(tiny(MatchingTransformer, full_context=True)))
    ),
    "temperature": lambda: MatchingClassifier(
        frozen(tiny(MatchingTransformer, full_context=True)), temperature=0.3
    ),
    "relation": lambda: RelationClassifier(frozen(tiny(RelationTransformer))),
    "learned comparator": lambda: RelationClassifier("passthrough", random_state=0),
    "siamese": lambda: SiameseClassifier(frozen(tiny(SiameseTransformer, loss="bce"))),
    "pipeline": lambda: SiameseClassifier(
        make_pipeline(StandardScaler(), PCA(3), tiny(SiameseTransformer))
    ),
    "learned weights": lambda: SiameseClassifier(
        make_pipeline(Normalizer(), MinMaxScaler()), random_state=0
    ),
    "frozen pipeline": lambda: RelationClassifier(
        FrozenEstimator(make_pipeline(StandardScaler(), tiny(RelationTransformer)).fit(X, y))
    ),
}


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_classifiers_predict_bitwise_the_same(make, tmp_path):
    fitted = make().fit(X, y)
    loaded = round_trip(fitted, tmp_path)
    assert_same(loaded, fitted, X)
    if isinstance(fitted.encoder, FrozenEstimator):
        assert loaded.encoder_ is loaded.encoder
    more = X[:2] + 1, [7, 8]  # enrolment goes on where it was
    np.testing.assert_array_equal(
        loaded.partial_fit(*more).predict_proba(X), fitted.partial_fit(*more).predict_proba(X)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: PairClassifier("passthrough"),
        lambda: PairClassifier(tiny(SiameseTransformer, loss="bce"), random_state=0),
        lambda: PairClassifier(frozen(tiny(ArcFaceTransformer)), metric="cosine"),
    ],
    ids=["passthrough", "trained", "frozen"],
)
def test_pair_classifiers_decide_bitwise_the_same(make, tmp_path):
    pairs, same = make_pairs(X, y, n_pairs=60, random_state=0)
    fitted = make().fit(pairs, same)
    assert_same(round_trip(fitted, tmp_path), fitted, pairs)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["ant", "bee", "çäé", "d\U0001f98e"]),
        np.array(["ant", "bee", "c", "d"], dtype=object),
        np.array([-3, 0, 5, 2**40]),
        np.array([1, 2, 3, 200], dtype=np.uint8),
        np.array([1, 2, 3, 2**63], dtype=np.uint64),
        np.array([0.5, 1.5, 2.5, 3.5]).astype(int).astype(float),
        np.array([False, True, False, True]),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_keep_their_type(labels, tmp_path):
    fitted = PrototypicalClassifier("passthrough").fit(X, labels[y])
    loaded = round_trip(fitted, tmp_path)
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert_same(loaded, fitted, X)


@pytest.mark.parametrize("cls", [MatchingClassifier, SiameseClassifier])
def test_a_gallery_is_in_the_file_once(cls, tmp_path):
    gallery = np.random.default_rng(0).random((500, 64), dtype=np.float32)
    clf = cls("passthrough", **({"metric": "cosine"} if cls is SiameseClassifier else {}))
    save(clf.fit(gallery, np.arange(500) % 50), tmp_path / "gallery.skf")
    assert (tmp_path / "gallery.skf").stat().st_size < 1.5 * gallery.nbytes
    loaded = load(tmp_path / "gallery.skf").partial_fit(gallery[:1] + 1, [50])
    np.testing.assert_array_equal(loaded.support_embeddings_[-1], gallery[0] + 1)


def test_names_of_features_are_kept(tmp_path):
    frame = pd.DataFrame(X, columns=[f"feature {i}" for i in range(N_FEATURES)])
    fitted = tiny(PrototypicalTransformer).set_output(transform="pandas").fit(frame, y)
    loaded = round_trip(fitted, tmp_path)
    np.testing.assert_array_equal(loaded.feature_names_in_, frame.columns)
    pd.testing.assert_frame_equal(loaded.transform(frame), fitted.transform(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(frame.rename(columns=str.upper))


@pytest.mark.parametrize("cls", [PrototypicalClassifier, SiameseTransformer, PairClassifier])
def test_unfitted_estimators_stay_unfitted(cls, tmp_path):
    loaded = round_trip(cls(), tmp_path)
    assert vars(loaded) == vars(cls())


def test_parameters_survive(tmp_path):
    estimator = tiny(
        TripletTransformer,
        module=Conv4,
        module_params={"n_filters": 3},
        image_shape=(1, 4, 4),
        augment=RandomAffine(degrees=3.0, scale=(0.8, 1.0)),
        optimizer=torch.optim.RMSprop,
        net_params={"optimizer__weight_decay": 1e-4, "warm_start": False},
        device=torch.device("cpu"),
    )
    loaded = round_trip(estimator, tmp_path)
    assert loaded.get_params() == estimator.get_params()
    np.testing.assert_array_equal(
        loaded.fit(X, y).transform(X), estimator.fit(X, y).transform(X), strict=True
    )


def test_cloudpickle_takes_a_module_of_a_notebook(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle", reason="older joblib holds its own")

    class Local(nn.Linear):
        def __init__(self, n_features):
            super().__init__(n_features, 3)

    clf = PrototypicalClassifier(tiny(PrototypicalTransformer, module=Local)).meta_fit(X, y)
    clf.fit(X, y)
    (tmp_path / "clf.pickle").write_bytes(cloudpickle.dumps(clf))
    assert_same(pickle.loads((tmp_path / "clf.pickle").read_bytes()), clf, X)


@pytest.mark.parametrize(
    "module",
    [
        Conv4((1, 4, 4), 3, n_filters=2, n_poolings=1),
        nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()),
        nn.Sequential(nn.Flatten(), MLP(16, 3, hidden=(4, 5)), nn.LayerNorm(3), nn.Dropout(0.2)),
        nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 2, bias=False), nn.Tanh()),
    ],
    ids=lambda module: type(module).__name__,
)
def test_instances_of_known_layers_are_rebuilt(module, tmp_path):
    fitted = tiny(PrototypicalTransformer, module=module).fit(IMAGES, y)
    loaded = round_trip(fitted, tmp_path)
    np.testing.assert_array_equal(loaded.transform(IMAGES), fitted.transform(IMAGES))
    assert all(
        torch.equal(got, module.state_dict()[name])
        for name, got in loaded.module.state_dict().items()
    )


def test_users_modules_are_passed_in(tmp_path):
    path = tmp_path / "x"
    encoder = tiny(PrototypicalTransformer, module=Net, module_params={"scale": 2.0})
    fitted = PrototypicalClassifier(encoder, metric=chebyshev).fit(X, y)
    save(fitted, path)
    with pytest.raises(InvalidFileError, match=r"modules=\((Net|chebyshev),\)"):
        load(path)
    with pytest.raises(InvalidFileError, match=r"modules=\(chebyshev,\)"):
        load(path, modules=(Net,))
    assert_same(load(path, modules=[chebyshev, Net, make_net]), fitted, X)


def test_users_functions_are_passed_in(tmp_path):
    fitted = tiny(ArcFaceTransformer, module=make_net, embedding_dim=3).fit(X, y)
    assert_same(round_trip(fitted, tmp_path, modules=(make_net,)), fitted, X)


def test_another_class_of_the_same_name_is_refused(tmp_path):
    save(tiny(PrototypicalTransformer, module=Net).fit(X, y), tmp_path / "x")

    class Other(nn.Linear):
        def __init__(self, n_features):
            super().__init__(n_features, 2)

    Other.__qualname__ = "Net"
    with pytest.raises(InvalidFileError, match="differ"):
        load(tmp_path / "x", modules=(Other,))
    with pytest.raises(ValueError, match="two of the name"):
        load(tmp_path / "x", modules=(Net, Other))


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (tiny(SiameseTransformer, augment=lambda x: x), "SiameseTransformer.augment"),
        (tiny(SiameseTransformer, metric=torch.nn.PairwiseDistance()), "metric"),
        (tiny(SiameseTransformer, module=Net(3)), "module_params"),
        (tiny(SiameseTransformer, net_params={"callbacks": [object()]}), r"callbacks\[0\]"),
        (tiny(SiameseTransformer, module_params={3: 4}), "module_params"),
        (PrototypicalClassifier(random_state=np.random.RandomState(0)), "random_state"),
        (PrototypicalClassifier(sk_fewshot.EpisodeSplit()), "encoder"),
        (PrototypicalClassifier(make_pipeline(PCA(), memory="folder")), "cannot be rebuilt"),
        (PrototypicalClassifier(metric="other"), "metric"),
        (make_pipeline(sk_fewshot.EpisodeSplit()), "steps"),
        (nn.Identity(), "estimator"),
        ("estimator", "estimator"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_saved_is_named_and_the_last_file_stays(estimator, named, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"the last good file")
    with pytest.raises((TypeError, ValueError), match=named):
        save(estimator, path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the last good file"]


def test_a_full_disk_leaves_the_last_file(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "x"
    path.write_bytes(b"the last good file")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError):
            save(PrototypicalClassifier("passthrough").fit(X, y), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the last good file"]


def test_a_missing_file_or_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        save(PrototypicalClassifier(), tmp_path / "missing" / "x")


def test_saving_again_gives_the_same_bytes(victim, tmp_path):
    save(load(victim), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == victim.read_bytes()


def test_generators_stay_as_they_are(victim, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    save(load(victim), tmp_path / "x")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


DTYPES = [torch.float32, torch.float64, torch.bfloat16]
FITTED = {
    "module": lambda: tiny(SphereFaceTransformer).fit(X, y),
    "cosine": lambda: MatchingClassifier("passthrough").fit(X, y),
    "context": lambda: MatchingClassifier(frozen(tiny(MatchingTransformer, full_context=True))).fit(
        X, y
    ),
    "relation": lambda: RelationClassifier("passthrough", random_state=0).fit(X, y),
    "siamese": lambda: SiameseClassifier("passthrough", random_state=0).fit(X, y),
    "own": lambda: tiny(PrototypicalTransformer, module=Net).fit(X, y),
}


@pytest.mark.parametrize("saved", DTYPES[:2], ids=str)
@pytest.mark.parametrize("loaded", DTYPES, ids=str)
@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_torchs_default_dtype_does_not_matter(make, saved, loaded, tmp_path):
    with default_dtype(saved):
        try:
            fitted = make()
        except RuntimeError:
            pytest.skip("a module of the user's that does not fit either")
        save(fitted, tmp_path / "x")
    with default_dtype(loaded):
        got = load(tmp_path / "x", modules=[Net])
    assert_same(got, fitted, X)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_torchs_default_device_does_not_matter(make, device, tmp_path):
    save(fitted := make(), tmp_path / "x")
    with torch.device(device):
        loaded = load(tmp_path / "x", modules=[Net])
    assert_same(loaded, fitted, X)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_inference_mode_around_load_does_not_matter(make, tmp_path):
    save(fitted := make(), tmp_path / "x")
    with torch.inference_mode():
        loaded = load(tmp_path / "x", modules=[Net])
    assert_same(loaded, fitted, X)
    answer = "transform" if hasattr(fitted, "transform") else "predict_proba"
    again = (getattr(estimator.fit(X, y), answer)(X) for estimator in (loaded, fitted))
    np.testing.assert_array_equal(*again)
    for module in (loaded.__dict__.get(name) for name in ("module_", "loss_", "head_")):
        assert module is None or not any(map(torch.Tensor.is_inference, module.parameters()))


def test_a_layer_that_occurs_twice_is_kept(tmp_path):
    relu, linear = nn.ReLU(), nn.Linear(16, 16)
    module = nn.Sequential(linear, relu, linear, relu, nn.Linear(16, 3))
    fitted = tiny(PrototypicalTransformer, module=module).fit(X, y)
    loaded = round_trip(fitted, tmp_path)
    assert_same(loaded, fitted, X)
    assert len(loaded.module) == 5
    assert loaded.module[0] is loaded.module[2]


@pytest.mark.cuda
def test_saved_on_cuda_loaded_on_the_cpu(tmp_path):
    encoder = FrozenEstimator(tiny(RelationTransformer, device="cuda").fit(IMAGES, y))
    fitted = RelationClassifier(encoder, device="cuda").fit(IMAGES, y)
    expected = fitted.predict_proba(IMAGES)
    loaded = round_trip(fitted, tmp_path).set_params(device="cpu")
    for module in (loaded.head_, loaded.encoder_.module_, loaded.encoder_.loss_):
        assert {p.device.type for p in module.parameters()} == {"cpu"}
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), expected, atol=1e-3)


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A valid file."""
    encoder = tiny(RelationTransformer, module_params={"hidden": (4,)}, embedding_dim=3)
    labels = np.array(["ant", "bee", "cat", "dog"])[y]
    path = tmp_path_factory.mktemp("valid") / "x"
    save(RelationClassifier(frozen(make_pipeline(StandardScaler(), encoder))).fit(X, labels), path)
    return path


class Payload:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the file ran code')",))


def header(text):
    return len(text).to_bytes(8, "little") + text


DAMAGED = {
    "empty": lambda content: b"",
    "short": lambda content: content[:7],
    "pickle": lambda content: pickle.dumps(Payload()),
    "pickle within": lambda content: content[:8] + pickle.dumps(Payload()) + content[8:],
    "zip": lambda content: b"PK\x03\x04" + content,
    "text": lambda content: b"import os\n" * 100,
    "giant header": lambda content: (2**63).to_bytes(8, "little") + content[8:],
    "negative header": lambda content: b"\xff" * 8 + content[8:],
    "header beyond the end": lambda content: (len(content)).to_bytes(8, "little") + content[8:],
    "header only": lambda content: content[:8],
    "truncated header": lambda content: content[:100],
    "truncated data": lambda content: content[:-1],
    "more data": lambda content: content + b"\0" * 8,
    "no metadata": lambda content: header(b"{}"),
    "empty metadata": lambda content: header(b'{"__metadata__":{}}'),
    "not an object": lambda content: header(b"[]"),
    "not utf-8": lambda content: header(b'{"\xff":1}'),
    "deep header": lambda content: header(b'{"a":' * 100_000),
    "offsets beyond": lambda content: header(
        b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'
    ),
    "offsets turned": lambda content: header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}'
    ),
    "shape overflows": lambda content: header(
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "another shape": lambda content: content.replace(b"[24,3]", b"[3,24]"),
    "one bit of a weight": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "another label": lambda content: content.replace(b"a\0\0\0n\0\0\0t", b"b\0\0\0n\0\0\0t"),
}


def assert_refused(path):
    """The package's own error, at little cost."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidFileError, match="is not a file that load accepts"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(damage, victim, tmp_path):
    content = victim.read_bytes()
    damaged = damage(content)
    assert damaged != content
    (tmp_path / "x").write_bytes(damaged)
    assert_refused(tmp_path / "x")


def forge(victim, path, edit):
    """Edit the structure and the tensors, and seal the file as `save` does."""
    structure, tensors = unpack(victim.read_bytes())
    edit(structure, tensors)
    path.write_bytes(pack(json.dumps(structure), tensors))


def classifier(structure):
    return structure["estimator"]["estimator"]


def pipeline(structure):
    return classifier(structure)["params"]["encoder"]["estimator"]["params"]["estimator"][
        "estimator"
    ]


def step(structure, i):
    return pipeline(structure)["params"]["steps"][i]["tuple"][1]["estimator"]


def setting(where, key, value):
    """A forgery that sets one entry."""

    def edit(structure, tensors):
        where(structure)[key] = value

    return edit


def on_tensor(suffix, change):
    """A forgery that changes one tensor."""

    def edit(structure, tensors):
        (name,) = (name for name in tensors if name.endswith(suffix))
        tensors[name] = change(tensors[name])

    return edit


def nested(depth):
    node = []
    for _ in range(depth):
        node = [node]
    return node


def parameter(name, value, where=classifier):
    return setting(lambda s: where(s)["params"], name, value)


def fitted(name, value, where=classifier):
    return setting(lambda s: where(s)["fitted"], name, value)


def gallery(structure):
    return classifier(structure)["fitted"]["gallery_"]["object"]["arguments"]


def encoder(structure):
    return step(structure, 1)


def loss(structure):
    return encoder(structure)["fitted"]["loss_"]["object"]


def head(structure):
    return loss(structure)["arguments"]["head"]["object"]


FORGED = {
    "unknown class": setting(classifier, "class", "Popen"),
    "class by import path": setting(classifier, "class", "subprocess.Popen"),
    "class that is an object": setting(classifier, "class", "RandomAffine"),
    "class by path": setting(classifier, "class", "../../etc/passwd"),
    "class of no name": setting(classifier, "class", None),
    "class in a list": setting(classifier, "class", ["RelationClassifier"]),
    "unknown kind": setting(lambda s: s, "estimator", {"pickle": "gASVAAAA"}),
    "two kinds": setting(lambda s: s["estimator"], "tuple", []),
    "no kind": setting(lambda s: s, "estimator", {}),
    "not an estimator": setting(lambda s: s, "estimator", {"known": "Conv4"}),
    "null": setting(lambda s: s, "estimator", None),
    "missing key": lambda s, t: classifier(s).pop("fitted"),
    "extra key": setting(classifier, "code", "print()"),
    "unknown parameter": parameter("__class__", "x"),
    "parameter out of range": parameter("lr", -1.0, encoder),
    "parameter is NaN": parameter("lr", {"float": "nan"}, encoder),
    "float that is none": parameter("lr", {"float": "1e5"}, encoder),
    "parameter of another type": parameter("max_epochs", "many", encoder),
    "metric by name": parameter("metric", "os.system", encoder),
    "huge number": parameter("embedding_dim", 10**400, encoder),
    "unknown callable": parameter("module", {"known": "eval"}, encoder),
    "user's callable": parameter("module", {"user": "os.system"}, encoder),
    "callable makes no module": parameter("module", {"known": "Adam"}, encoder),
    "giant module": parameter("module_params", {"dict": {"hidden": [10**6, 10**6]}}, encoder),
    "giant embedding": parameter("embedding_dim", 10**12, encoder),
    "giant features": fitted("n_features_in_", 10**15, encoder),
    "negative features": fitted("n_features_in_", -16, encoder),
    "features NaN": fitted("n_features_in_", {"float": "nan"}, encoder),
    "image in place of rows": fitted("image_shape_", {"tuple": [1, 4, 4]}, encoder),
    "frozen text": setting(
        lambda s: classifier(s)["params"]["encoder"]["estimator"]["params"], "estimator", "text"
    ),
    "folder of pickles": parameter("memory", "/tmp", pipeline),
    "step that is none": setting(lambda s: pipeline(s)["params"]["steps"], 0, "text"),
    "step of text": parameter("steps", [{"tuple": ["a", "text"]}], pipeline),
    "steps of numbers": parameter("steps", [{"tuple": [1, None]}], pipeline),
    "overwrites a method": fitted("predict", "text"),
    "overwrites the class": fitted("__class__", "text"),
    "overwrites a constraint": fitted("_parameter_constraints", {"dict": {}}),
    "net": fitted("net_", "text", encoder),
    "path as a name": fitted("../x_", "text"),
    "tensor that is not there": fitted("classes_", {"text": "../../x"}),
    "tensor used twice": lambda s, t: classifier(s)["fitted"].update(extra_=gallery(s)["classes"]),
    "tensor not used": lambda s, t: t.update(extra=torch.zeros(2)),
    "tensor missing": lambda s, t: t.pop(next(iter(t))),
    "module without a tensor": lambda s, t: t.pop(encoder(s)["encoder"].popitem()[1]),
    "module with a further tensor": lambda s, t: (
        encoder(s)["encoder"].update(extra="extra"),
        t.update(extra=torch.zeros(1)),
    ),
    "encoder of a scaler": lambda s, t: step(s, 0).update(encoder={}),
    "shape of a weight": on_tensor(
        "query_convolution.weight", lambda w: w.mT.transpose(0, 1).contiguous()
    ),
    "longer weight": on_tensor("query_convolution.weight", lambda w: torch.cat([w, w])),
    "type of a weight": on_tensor("query_convolution.weight", lambda w: w.double()),
    "bfloat16 weight": on_tensor("query_convolution.weight", lambda w: w.bfloat16()),
    "labels are no characters": on_tensor("gallery_.classes", lambda c: c + 2**30),
    "labels are negative": on_tensor("gallery_.classes", lambda c: -c),
    "labels of no width": on_tensor("gallery_.classes", lambda c: c[:, :0].clone()),
    "labels are floats": on_tensor("gallery_.classes", lambda c: c.float()),
    "order of an array": lambda s, t: gallery(s)["rows"]["array"].__setitem__(1, "Z"),
    "objects in an array": fitted("extra_", {"objects": [{"known": "MLP"}]}),
    "reference ahead": fitted("head_", {"ref": 10**9}),
    "reference behind": fitted("head_", {"ref": -1}),
    "reference in a list": fitted("head_", {"ref": [0]}),
    "unknown object": setting(loss, "class", "Module"),
    "unknown argument": setting(lambda s: loss(s)["arguments"], "path", "x"),
    "argument of another type": setting(lambda s: loss(s)["arguments"], "head", "x"),
    "giant head": setting(
        lambda s: head(s)["arguments"], "embedding_shape", {"tuple": [10**6, 10**4, 10**4]}
    ),
    "device": parameter("device", {"device": "everywhere"}),
    "deep nesting": parameter("extra", nested(900)),
    "deep dictionaries": fitted("extra_", {"dict": {"a": {"dict": {"b": 3, "c": {"x": 1}}}}}),
    "format": setting(lambda s: s, "format", 2),
    "versions of another type": setting(lambda s: s, "versions", ["1.0"]),
    "version of another type": setting(lambda s: s["versions"], "torch", 2.1),
    "version of text": setting(lambda s: s["versions"], "torch", "2.1" + "0" * 1000),
}


@pytest.mark.parametrize("edit", FORGED.values(), ids=FORGED)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_forged_files_are_refused(edit, victim, tmp_path):
    forge(victim, tmp_path / "x", edit)
    assert_refused(tmp_path / "x")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "NaN",
        "Infinity",
        "1" * 5000,
        '"\\ud800"',
        "",
        "{}",
        "null",
        "os.system('x')",
    ],
    ids=lambda text: text[:8],
)
def test_structures_that_are_no_json_are_refused(text, tmp_path):
    (tmp_path / "x").write_bytes(pack(text, {}))
    assert_refused(tmp_path / "x")


def test_a_forgery_that_changes_nothing_loads(victim, tmp_path):
    forge(victim, tmp_path / "x", lambda structure, tensors: None)
    assert_same(load(tmp_path / "x"), load(victim), X)


def test_enough_files_are_refused():
    assert len(DAMAGED) + len(FORGED) >= 90


@pytest.mark.parametrize(
    ("package", "version"),
    [("torch", "1.13.1+cu117"), ("sklearn", "1.2.0"), ("sk_fewshot", "9.9.0")],
)
def test_other_versions_warn(package, version, victim, tmp_path):
    forge(victim, tmp_path / "x", setting(lambda s: s["versions"], package, version))
    with pytest.warns(UserWarning, match=f"{package} {version[:3]}"):
        load(tmp_path / "x")


def test_another_patch_version_does_not_warn(victim, tmp_path):
    version = ".".join(torch.__version__.split(".")[:2]) + ".99"
    forge(victim, tmp_path / "x", setting(lambda s: s["versions"], "torch", version))
    assert isinstance(load(tmp_path / "x"), RelationClassifier)


@pytest.mark.parametrize("modules", [("Net",), (Net(3),), (lambda x: x, 3), 3])
def test_modules_must_be_classes_and_functions(modules, victim):
    with pytest.raises(TypeError):
        load(victim, modules=modules)


def mutated(content, rng):
    """Change, insert or remove a few bytes."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, byte = rng.integers(len(content)), rng.integers(256)
        kind = rng.integers(3)
        content[at : at + (kind != 1)] = b"" if kind == 2 else bytes([byte])
    return bytes(content)


def test_mutated_files_are_refused_or_equal(victim, tmp_path):
    content, path = victim.read_bytes(), tmp_path / "x"
    n_header = int.from_bytes(content[:8], "little") + 8
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(300):
        cut = n_header if i % 2 else len(content)  # half of them in the header
        path.write_bytes(mutated(content[:cut], rng) + content[cut:])
        try:
            loaded = load(path)
        except InvalidFileError:
            refused += 1
        else:
            save(loaded, path)
            assert path.read_bytes() == content
    assert refused > 250


def places(node):
    """All (container, key) of a JSON value."""
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from places(node[key])


CONSTANTS = [None, True, 0, -1, 3, 10**30, 0.5, "x", "", [], {}, {"ref": 0}, {"tuple": [1, 2, 3]}]


def test_mutated_structures_are_refused_or_estimators(victim, tmp_path):
    structure, tensors = unpack(victim.read_bytes())
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        forged = copy.deepcopy(structure)
        spots = list(places(forged))
        container, key = spots[rng.integers(len(spots))]
        other, of = spots[rng.integers(len(spots))]
        constant = CONSTANTS[rng.integers(len(CONSTANTS))]
        container[key] = copy.deepcopy(other[of]) if rng.random() < 0.5 else constant
        (tmp_path / "x").write_bytes(pack(json.dumps(forged), tensors))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert isinstance(load(tmp_path / "x"), BaseEstimator)
        except InvalidFileError:
            refused += 1
    assert 100 < refused < 200


MADE = [
    heads.PrototypicalHead("cosine"),
    heads.PrototypicalHead(temperature=0.3),
    heads.MatchingHead(context=heads.FullContext(4, n_steps=2)),
    heads.SiameseHead(comparator=losses.PairBCELoss(4)),
    heads.RelationHead(4, n_filters=3, n_hidden=2, pooling="sum", loss="softmax"),
    heads.RelationHead((2, 3, 3)),
    losses.EpisodeLoss(heads.PrototypicalHead(), n_shot=2),
    losses.SphereFaceLoss(3, 4, margin=2, annealing=False),
    losses.SupConLoss(0.5),
    MLP(4, 3, hidden=(5, 6)),
    MLP(4, 3, hidden=()),
    Conv4((1, 8, 8)),
    Conv4((1, 8, 8), 64, n_filters=16),
    Conv4((2, 28, 20), 5, n_filters=7, n_poolings=2),
]


@pytest.mark.parametrize("module", MADE, ids=lambda module: type(module).__name__)
def test_a_module_tells_what_it_was_made_from(module):
    again = type(module)(**constructor_arguments(module))
    again.load_state_dict(module.state_dict())
    assert repr(again) == repr(module)
    described = [constructor_arguments(m) for m in (again, module)]
    assert repr(described[0]) == repr(described[1])
