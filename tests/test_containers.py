"""The same numbers give the same result, or the same error, whatever holds them."""

import datetime
import re
from decimal import Decimal
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_fewshot
from sk_fewshot import (
    MatchingClassifier,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    SiameseTransformer,
    episode_score,
)
from sk_fewshot._utils.device import as_tensor
from sk_fewshot.augmentation import normalize_moments, symmetries_as_classes
from sk_fewshot.encoders import encode
from sk_fewshot.metrics import make_pairs, precision_at_1

ROOT = Path(sk_fewshot.__file__).parent
RNG = np.random.default_rng(0)
TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}
D = 5
Y = np.repeat([0, 1, 2, 3], 3)
N = len(Y)
# Small multiples of 1/4, which every floating type has room for.
X = ((np.round(20 * RNG.normal(size=(4, D)))[Y] + np.round(6 * RNG.normal(size=(N, D)))) / 4).clip(
    -31, 31
)
X = X.astype(np.float32)
IMAGES = (np.round(8 * RNG.random((N, 3, 8, 9))) / 4).astype(np.float32)
PAIRS = np.stack([X, X[::-1]], axis=1)
SAME = np.repeat([1, 0], 6)


def field_of_a_record(X):
    """X as a field of packed records, whose strides are no multiple of an item."""
    record = np.zeros(len(X), [("key", "u1"), ("values", X.dtype, X.shape[1:])])
    record["values"] = X
    return record["values"]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "reversed features": lambda X: X[:, ::-1].copy()[:, ::-1],
    "every second": lambda X: np.repeat(X, 2, axis=0)[::2],
    "another axis last": lambda X: np.moveaxis(np.moveaxis(X, 1, -1).copy(), -1, 1),
    "a field of records": field_of_a_record,
    "read-only": read_only,
    "the other byte order": lambda X: X.astype(X.dtype.newbyteorder("S")),
    "longdouble": lambda X: X.astype(np.longdouble),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_of_any_array(layout, dtype):
    X = (10 * RNG.random((4, 3))).astype(dtype)
    tensor = as_tensor(LAYOUTS[layout](X))
    expected = torch.tensor(X.astype(np.float64) if layout == "longdouble" else X)
    assert tensor.dtype == expected.dtype
    assert torch.equal(tensor, expected)


def test_a_broadcast_array_is_not_multiplied():
    tensor = as_tensor(np.broadcast_to(np.float32([1, 2, 3]), (1000, 3)))
    assert tensor.stride() == (0, 1)
    assert torch.equal(tensor[999], torch.tensor([1.0, 2.0, 3.0]))


def test_one_function_turns_arrays_into_tensors():
    risky = re.compile(r"torch\.(from_dlpack|from_numpy|frombuffer)\(")
    users = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        for line in path.read_text().splitlines()
        if risky.search(line) and not line.lstrip().startswith((">>>", "..."))
    ]
    assert users == ["_utils/device.py"]


def grad(X):
    return torch.tensor(X, requires_grad=True)


def mixed_rows(X):
    return [grad(x) if i % 2 else x.tolist() for i, x in enumerate(X)]


def rows_in_an_object_array(X):
    rows = np.empty(len(X), dtype=object)
    for i, x in enumerate(X):
        rows[i] = x
    return rows


# Flat or images, of any number of dimensions.
ARRAYS = {
    "nested lists": lambda X: X.tolist(),
    "tuple of lists": lambda X: tuple(X.tolist()),
    "list of arrays": list,
    "list of tensors": lambda X: list(torch.tensor(X)),
    "list of tensors that require grad": lambda X: [grad(x) for x in X],
    "list of bfloat16 tensors": lambda X: list(torch.tensor(X).bfloat16()),
    "list of lists of tensors": lambda X: [list(grad(x).bfloat16()) for x in X],
    "lists and tensors": mixed_rows,
    "object array": lambda X: X.astype(object),
    "object array of rows": rows_in_an_object_array,
    "Series of rows": lambda X: pd.Series(list(X)),
    "Decimal": lambda X: np.vectorize(lambda v: Decimal(float(v)), otypes="O")(X),
    "masked array without a mask": np.ma.array,
    "float64": lambda X: X.astype(np.float64),
    "float16": lambda X: X.astype(np.float16),
    "tensor": torch.tensor,
    "tensor that requires grad": grad,
    "parameter": lambda X: torch.nn.Parameter(torch.tensor(X)),
    "bfloat16": lambda X: torch.tensor(X).bfloat16(),
    "bfloat16 that requires grad": lambda X: grad(X).bfloat16(),
    "float16 tensor": lambda X: torch.tensor(X).half(),
    "strided tensor": lambda X: torch.tensor(X).repeat_interleave(2, 0)[::2],
    **LAYOUTS,
}
TABLES = {
    "DataFrame": pd.DataFrame,
    "nullable DataFrame": lambda X: pd.DataFrame(X).astype("Float64"),
    "Arrow-backed DataFrame": lambda X: pd.DataFrame(X).astype("float[pyarrow]"),
    "sparse DataFrame": lambda X: pd.DataFrame(X).astype(pd.SparseDtype(np.float32)),
    "DataFrame of several types": lambda X: pd.DataFrame(X).astype({0: "float64", 1: "Float32"}),
    "object DataFrame": lambda X: pd.DataFrame(X.astype(object)),
    "polars": lambda X: pl.DataFrame(X, schema=[f"x{i}" for i in range(X.shape[1])]),
    "polars arrays": lambda X: pl.Series(X.tolist(), dtype=pl.Array(pl.Float32, X.shape[1])),
    "pyarrow": lambda X: pa.table({f"x{i}": column for i, column in enumerate(X.T)}),
}
# What reads and casts some rows at a time, in a folder.
FILES = {
    "memory map": lambda X, path: memory_map(X, path),
    "reversed memory map": lambda X, path: memory_map(X[::-1], path)[::-1],
    "h5py": lambda X, path: h5py.File(path, "w").create_dataset("X", data=X),
    "h5py of float16, compressed": lambda X, path: h5py.File(path, "w").create_dataset(
        "X", data=X.astype(np.float16), chunks=(5, *X.shape[1:]), compression="gzip"
    ),
    "zarr": lambda X, path: zarr.create_array(path, data=X),
}


def memory_map(X, path):
    written = np.memmap(path, X.dtype, "w+", shape=X.shape)
    written[...] = X
    written.flush()
    return np.memmap(path, X.dtype, "r", shape=X.shape)


number = count()


@pytest.fixture(scope="session")
def held(tmp_path_factory):
    """A function that puts numbers into a container."""
    folder = tmp_path_factory.mktemp("containers")

    def put(container, X):
        if container in FILES:
            return FILES[container](X, folder / str(next(number)))
        return {**ARRAYS, **TABLES}[container](X)

    return put


ENCODER = PrototypicalTransformer(**TINY).fit(X, Y)
FROZEN = PrototypicalClassifier(FrozenEstimator(ENCODER)).fit(X, Y)
OF_IMAGES = PrototypicalTransformer(**TINY).fit(IMAGES, Y)


def transform(Z):
    return ENCODER.transform(Z)


def fit(Z):
    return PrototypicalTransformer(**TINY, validation_classes=0.5).fit(Z, Y).transform(Z)


def enrol_embeddings(Z):
    clf = MatchingClassifier("passthrough", metric="euclidean").fit(Z, Y)
    return clf.partial_fit(Z, Y).decision_function(Z)


def enrol(Z):
    return clone(FROZEN).fit(Z, Y).decision_function(Z)


def score_episodes(Z):
    return episode_score(FROZEN, Z, Y, n_way=2, n_query=1, n_episodes=4, random_state=0).scores


CALLS = [fit, enrol_embeddings, enrol, score_episodes]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # float64 is compared in float64


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("container", [*ARRAYS, *TABLES, *FILES])
def test_same_numbers_same_result(container, call, held):
    Z = held(container, X)
    np.testing.assert_allclose(call(Z), call(X), **TOLERANCE)


FUNCTIONS = {
    "precision_at_1": lambda Z: precision_at_1(Z, Y),
    "X_reference": lambda Z: precision_at_1(X, Y, X_reference=Z, y_reference=Y),
    "make_pairs": lambda Z: np.asarray(make_pairs(Z, Y)[0], dtype=np.float64),
    "encode": lambda Z: encode(ENCODER.module_, Z),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("container", [*ARRAYS, *TABLES, *FILES])
def test_functions_take_every_container_too(container, function, held):
    call = FUNCTIONS[function]
    np.testing.assert_allclose(call(held(container, X)), call(X), **TOLERANCE)


@pytest.mark.parametrize("container", [*ARRAYS, *FILES])
def test_images_are_changed_in_every_container(container, held):
    square = np.ascontiguousarray(IMAGES[..., :8])
    Z = held(container, square)
    np.testing.assert_allclose(normalize_moments(Z), normalize_moments(square), **TOLERANCE)
    turned, expected = (symmetries_as_classes(given, Y)[0] for given in (Z, square))
    np.testing.assert_array_equal(turned, expected)


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="X_reference must hold numbers, got text"):
        precision_at_1(X, Y, X_reference=np.full((N, D), "a"), y_reference=Y)
    with pytest.raises(TypeError, match="images must hold numbers, got dates"):
        normalize_moments(np.zeros((2, 8, 8), "M8[s]"))


@pytest.mark.parametrize("container", [*ARRAYS, *FILES])
def test_same_images_same_result(container, held):
    Z, y = held(container, IMAGES), Y
    encoder = PrototypicalTransformer(**TINY).fit(Z, y)
    np.testing.assert_array_equal(encoder.transform(Z), OF_IMAGES.transform(IMAGES))
    clf = PrototypicalClassifier("passthrough").fit(Z, y)
    expected = PrototypicalClassifier("passthrough").fit(IMAGES, Y).decision_function(IMAGES)
    np.testing.assert_allclose(clf.decision_function(Z), expected, **TOLERANCE)


@pytest.mark.parametrize("encoder", ["passthrough", "frozen", "trained"])
@pytest.mark.parametrize("container", [*ARRAYS, *FILES])
def test_same_pairs_same_result(container, encoder, held):
    chosen = {
        "passthrough": "passthrough",
        "frozen": FrozenEstimator(ENCODER),
        "trained": SiameseTransformer(**TINY),
    }[encoder]
    clf = PairClassifier(chosen, random_state=0)
    expected = clf.fit(PAIRS, SAME).decision_function(PAIRS)
    Z = held(container, PAIRS)
    np.testing.assert_allclose(clf.fit(Z, SAME).decision_function(Z), expected, **TOLERANCE)


CLASSIFIERS = [
    getattr(sk_fewshot, name)
    for name in sk_fewshot.__all__
    if name.endswith("Classifier") and name != "PairClassifier"
]
METHODS = {
    "predict": (),
    "predict_proba": (),
    "decision_function": (),
    "score_samples": (),
    "kneighbors": (2,),
    "predict_top_k": (2,),
}


@pytest.mark.parametrize("layout", [*LAYOUTS, "reversed memory map"])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_method_takes_every_memory_layout(classifier, layout, held):
    if classifier is RelationClassifier and layout in FILES:
        pytest.skip("its comparator is trained in the order of the file")
    clf, plain = (classifier("passthrough", random_state=0) for _ in range(2))
    Z = held(layout, X)
    clf.fit(Z, Y).partial_fit(Z[:4], Y[:4])
    plain.fit(X, Y).partial_fit(X[:4], Y[:4])
    for method, arguments in METHODS.items():
        if hasattr(clf, method):
            got, expected = (getattr(c, method)(z, *arguments) for c, z in ((clf, Z), (plain, X)))
            for part, expected_part in zip(np.atleast_2d(got), np.atleast_2d(expected)):
                np.testing.assert_allclose(part, expected_part, rtol=1e-4, atol=1e-4)
    clf.calibrate_rejection(Z, false_accept_rate=0.5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int64, np.uint64, ">i4"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_integers_are_their_float32(call, dtype):
    integers = np.abs(X).astype(dtype)
    np.testing.assert_allclose(call(integers), call(integers.astype(np.float32)), **TOLERANCE)


def test_float64_and_wider_give_float64_and_others_float32():
    for dtype in (np.float64, np.longdouble, ">f8"):
        assert ENCODER.transform(X.astype(dtype)).dtype == np.float64
    for dtype in (np.float32, np.float16, ">f4", np.int64, bool):
        assert ENCODER.transform(X.astype(dtype)).dtype == np.float32
    assert ENCODER.transform(torch.tensor(X).bfloat16()).dtype == np.float32


def test_rows_that_share_their_memory():
    one = np.broadcast_to(X[0], (N, D))
    np.testing.assert_array_equal(ENCODER.transform(one), ENCODER.transform(one.copy()))
    clf = MatchingClassifier("passthrough").fit(one, Y)
    np.testing.assert_array_equal(clf.predict_proba(one), clf.predict_proba(one.copy()))


INTEGERS = {
    "array": lambda X: X,
    "nested lists": lambda X: X.tolist(),
    "object array": lambda X: X.astype(object),
    "DataFrame": pd.DataFrame,
    "nullable DataFrame": lambda X: pd.DataFrame(X).astype("Int64"),
    "Arrow-backed DataFrame": lambda X: pd.DataFrame(X).astype("int64[pyarrow]"),
    "polars": lambda X: pl.DataFrame(X, schema=[f"x{i}" for i in range(D)]),
    "pyarrow": lambda X: pa.table({f"x{i}": column for i, column in enumerate(X.T)}),
    "tensor": torch.tensor,
    "list of tensors": lambda X: list(torch.tensor(X)),
    "zarr": zarr.array,
    "unsigned": lambda X: abs(X).astype(np.uint64),
    "another byte order": lambda X: X.astype(">i8"),
}


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("value", [2**24, -(2**24), 2**24 + 1, 2**40])
@pytest.mark.parametrize("container", INTEGERS)
def test_integers_that_float32_takes_for_others_are_refused(container, value):
    integers = np.ones((N, D), np.int64)
    integers[1, 2] = value - np.sign(value)
    Z = INTEGERS[container](integers)
    if abs(value) == 2**24:
        np.testing.assert_array_equal(
            transform(Z), transform(np.asarray(abs(integers) if "un" in container else integers))
        )
    integers[1, 2] = value
    Z = INTEGERS[container](integers)
    for call in (transform, enrol_embeddings):
        with pytest.raises(ValueError, match=f"X holds integers up to {abs(value)}, which float32"):
            call(Z)


@pytest.mark.parametrize("dtype", [None, object])
def test_integers_beyond_64_bits_are_refused(dtype):
    huge = [[2**70] * D] * N
    with pytest.raises(ValueError, match="X holds integers up to 1180591620717411303424"):
        fit(huge if dtype is None else np.array(huge, dtype=dtype))


NOTHING = [[None] + [1.0] * (D - 1)] * N
MISSING = {
    "lists": NOTHING,
    "object array": np.array(NOTHING),
    "pandas.NA": np.array([[pd.NA] + [1.0] * (D - 1)] * N),
    "DataFrame": pd.DataFrame(NOTHING),
    "nullable DataFrame": pd.DataFrame(NOTHING).astype("Int64"),
    "Arrow-backed DataFrame": pd.DataFrame(NOTHING).astype("int64[pyarrow]"),
    "polars": pl.DataFrame(NOTHING, orient="row"),
    "tensor": torch.full((N, D), torch.nan).bfloat16(),
    "tensors": [torch.full((D,), torch.nan, requires_grad=True)] * N,
}


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("container", MISSING)
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_missing_values_are_nan(container, call):
    with pytest.raises(ValueError, match="Input X contains NaN"):
        call(MISSING[container])


DAYS = np.full((N, D), "2026-01-01", dtype="datetime64[D]")
A_DAY = datetime.date(2026, 1, 1)
ONES = np.ones(N)
DATES = {
    "array": DAYS,
    "durations": DAYS - DAYS,
    "nested lists": [[A_DAY] * D] * N,
    "durations in lists": [[datetime.timedelta(1)] * D] * N,
    "object array": DAYS.astype(object),
    "Timestamps": [[pd.Timestamp(0)] * D] * N,
    "DataFrame": pd.DataFrame({"day": DAYS[:, 0].astype("M8[ns]"), "x": ONES}),
    "time zone": pd.DataFrame({"day": [pd.Timestamp(0, tz="UTC")] * N, "x": ONES}),
    "Arrow-backed DataFrame": pd.DataFrame(DAYS).astype("timestamp[ns][pyarrow]"),
    "polars": pl.DataFrame({"day": DAYS[:, 0]}),
}


@pytest.mark.parametrize("container", DATES)
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_dates_are_refused(container, call):
    with pytest.raises(TypeError, match=r"X must hold numbers, got dates or times .*timedelta64"):
        call(DATES[container])


NAMES = [f"photo{i}.png" for i in range(N)]
TEXT = {
    "list": NAMES,
    "array": np.array(NAMES),
    "object array": np.array(NAMES, dtype=object),
    "StringDType": np.array(NAMES, dtype=np.dtypes.StringDType()),
    "bytes": [name.encode() for name in NAMES],
    "paths": [Path(name) for name in NAMES],
    "Series": pd.Series(NAMES),
    "categories": pd.Series(NAMES).astype("category"),
    "column of a DataFrame": pd.DataFrame({"file": NAMES}),
    "polars": pl.Series(NAMES),
    "column of a polars frame": pl.DataFrame({"file": NAMES}),
    "pyarrow": pa.array(NAMES),
    "sentences": ["how do you do"] * N,
    "digits": [list("12345")] * N,
    "text and numbers": [["a", 1.0, 2.0, 3.0, 4.0]] * N,
    "text and nothing": [["1", None, 2.0, 3.0, 4.0]] * N,
    "one name": "photo.png",
}


@pytest.mark.parametrize("container", TEXT)
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_text_without_a_reader_names_one(container, call):
    says = r"X must hold numbers, got text .*reader=sk_fewshot\.datasets\.ImageReader\(\.\.\.\)"
    with pytest.raises(TypeError, match=says):
        call(TEXT[container])


PHOTO = Image.new("RGB", (8, 8))
PHOTOS = {
    "list": [PHOTO] * N,
    "object array": rows_in_an_object_array([PHOTO] * N),
    "Series": pd.Series([PHOTO] * N),
    "one": PHOTO,
}


@pytest.mark.parametrize("container", PHOTOS)
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_images_of_pillow_are_refused_with_the_way_out(container, call):
    says = r"X holds PIL images.*np\.stack.*np\.moveaxis\(X, -1, 1\).*ImageReader"
    with pytest.raises(TypeError, match=says):
        call(PHOTOS[container])


SMALL, LARGE = np.zeros((28, 28)), np.zeros((30, 28))
OF_SIZES = {
    "arrays": ([SMALL, LARGE], r"\(28, 28\) and \(30, 28\)"),
    "widths": ([SMALL, LARGE.T], r"\(28, 28\) and \(28, 30\)"),
    "channels": ([SMALL, np.zeros((28, 28, 3))], r"\(28, 28\) and \(28, 28, 3\)"),
    "tensors": (
        [torch.zeros(3, 28, 28), torch.zeros(3, 30, 28)],
        r"\(3, 28, 28\) and \(3, 30, 28\)",
    ),
    "tensors that require grad": ([grad(SMALL), grad(LARGE)], r"\(28, 28\) and \(30, 28\)"),
    "lists": ([[1.0, 2.0], [1.0]], r"\(2,\) and \(1,\)"),
    "lists of lists": ([[[1.0, 2.0], [1.0]]] * 2, "an inhomogeneous shape"),
}


@pytest.mark.parametrize("container", OF_SIZES)
@pytest.mark.parametrize("as_objects", [False, True])
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_examples_of_several_sizes_are_refused(container, as_objects, call):
    examples, shapes = OF_SIZES[container]
    Z = rows_in_an_object_array(examples * 6) if as_objects else examples * 6
    with pytest.raises(
        ValueError, match=f"X must hold examples of one shape, got .*{shapes}.*size"
    ):
        call(Z)


NO_ARRAY = {
    "structured": (np.zeros(N, [("a", "f4"), ("b", "f4")]), "structured_to_unstructured"),
    "masked": (np.ma.array(X, mask=X > 0), "X has masked values"),
    "sparse": (sparse.csr_array(X), "Sparse data was passed"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "Sparse data was passed"),
    "complex tensor": (torch.tensor(X + 1j), "Complex data not supported"),
    "complex objects": ((X + 1j).astype(object), "Complex data not supported"),
    "dicts": ([{"x": 1.0}] * N, "X must be an array of numbers.* got dict"),
    "a generator": ((x for x in X), "X must be an array of numbers.* got generator"),
}


@pytest.mark.parametrize("container", NO_ARRAY)
@pytest.mark.parametrize("call", [transform, enrol_embeddings])
def test_what_is_no_plain_array_is_refused(container, call):
    Z, says = NO_ARRAY[container]
    with pytest.raises((TypeError, ValueError), match=says):
        call(Z)


PHOTOGRAPHS = np.moveaxis(IMAGES, 1, -1)  # (n, 8, 9, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_last_is_refused_with_the_line_that_mends_it(channels):
    images = RNG.random((N, 8, 9, channels))
    says = rf"\(12, 8, 9, {channels}\) looks like images with channels last.*moveaxis\(X, -1, 1\)"
    for estimator in (PrototypicalTransformer(**TINY), PrototypicalClassifier("passthrough")):
        with pytest.raises(ValueError, match=says):
            estimator.fit(images, Y)
        estimator.fit(np.moveaxis(images, -1, 1), Y)
    with pytest.raises(ValueError, match=r"or image_shape=\(8, 9, .\) where there are 8"):
        PrototypicalTransformer(**TINY).fit(images, Y)


@pytest.mark.parametrize("encoder", ["passthrough", None, FrozenEstimator(OF_IMAGES)])
def test_pairs_of_channels_last_are_refused_with_the_line_that_mends_it(encoder):
    pairs = np.stack([PHOTOGRAPHS, PHOTOGRAPHS[::-1]], axis=1)
    says = r"\(12, 2, 8, 9, 3\) looks like images with channels last.*moveaxis\(X, -1, 2\)"
    with pytest.raises(ValueError, match=says):
        PairClassifier(encoder).fit(pairs, SAME)
    if encoder is not None:
        clf = PairClassifier(encoder).fit(np.moveaxis(pairs, -1, 2), SAME)
        with pytest.raises(ValueError, match=says):
            clf.predict(pairs)


def test_channels_last_of_what_was_fitted_channels_first_is_refused():
    clf = PrototypicalClassifier("passthrough").fit(IMAGES, Y)
    for call in (OF_IMAGES.transform, clf.predict):
        with pytest.raises(ValueError, match=r"channels last pass np\.moveaxis\(X, -1, 1\)"):
            call(PHOTOGRAPHS)
        with pytest.raises(ValueError, match=r"channels last pass np\.moveaxis\(X, -1, 0\)\["):
            call(PHOTOGRAPHS[0])
        call(np.moveaxis(PHOTOGRAPHS, -1, 1))
    given_shape = PrototypicalTransformer(image_shape=(3, 8, 9), **TINY)
    with pytest.raises(ValueError, match=r"channels last pass np\.moveaxis\(X, -1, 1\)"):
        given_shape.fit(PHOTOGRAPHS, Y)


def test_a_shape_that_names_many_channels_is_taken_at_its_word():
    last = PrototypicalTransformer(image_shape=(8, 9, 3), **TINY)
    for images in (PHOTOGRAPHS, PHOTOGRAPHS.reshape(N, -1)):
        with pytest.warns(UserWarning, match=r"means 8 channels of 9 x 3.* np\.moveaxis"):
            last.fit(images, Y)
    for shape in ((8, 9, 9), (8, 9, 1), (64, 4, 4), (3, 9, 3)):
        maps = RNG.random((N, *shape))
        PrototypicalTransformer(image_shape=shape, **TINY).fit(maps, Y).transform(maps)
        if shape != (8, 9, 1):
            PrototypicalTransformer(**TINY).fit(maps, Y)


GREY = IMAGES[:, 0]
ALONE = {
    "flat": (X, X[0]),
    "a list": (X, X[0].tolist()),
    "a tensor": (X, torch.tensor(X[0], requires_grad=True)),
    "image": (IMAGES, IMAGES[0]),
    "grey image": (GREY, GREY[0]),
    "square image": (GREY[:, :, :8], GREY[0, :, :8]),
}


@pytest.mark.parametrize("kind", ALONE)
def test_one_example_is_refused_with_the_way_to_pass_it(kind):
    examples, one = ALONE[kind]
    encoder = PrototypicalTransformer(**TINY).fit(examples, Y)
    projection = make_pipeline(StandardScaler(), PCA(2)).fit(examples.reshape(N, -1), Y)
    clfs = [
        PrototypicalClassifier(given).fit(examples, Y)
        for given in ("passthrough", FrozenEstimator(encoder), FrozenEstimator(projection))
    ]
    for call in (encoder.transform, *(clf.predict for clf in clfs), clfs[1].predict_proba):
        with pytest.raises(ValueError, match=r"pass X\[:1\] instead of X\[0\]"):
            call(one)
        assert len(call(examples[:1])) == 1


def test_one_pair_is_refused_with_the_way_to_pass_it():
    clf = PairClassifier("passthrough").fit(PAIRS, SAME)
    with pytest.raises(ValueError, match=r"pass X\[:1\] instead of X\[0\]"):
        clf.predict(PAIRS[0])


SIX = np.repeat([0, 1], 3)
LEARNED = RNG.normal(size=(6, D))
OF_SIX = PrototypicalTransformer(**TINY).fit(LEARNED, SIX)
MEETS_TWO = PrototypicalClassifier(FrozenEstimator(OF_SIX)).fit(LEARNED, SIX)
ON_SIX = {
    "transform": OF_SIX.transform,
    "fit": lambda Z: PrototypicalTransformer(**TINY).fit(Z, SIX).transform(Z),
    "frozen": lambda Z: clone(MEETS_TWO).fit(Z, SIX).decision_function(Z),
    "predict": MEETS_TWO.decision_function,
    "passthrough": lambda Z: (
        MatchingClassifier("passthrough", metric="manhattan").fit(Z, SIX).decision_function(Z)
    ),
}
# What holds less than float64.
NARROW = re.compile("16|lists of tensors|polars arrays|Arrow|several types|sparse")


@st.composite
def held_matrices(draw):
    """Six rows of quarters or integers, often with a number that is refused, and a container."""
    whole = draw(st.booleans())
    container = draw(st.sampled_from([*INTEGERS] if whole else [*ARRAYS, *TABLES, *FILES]))
    values = draw(st.lists(st.integers(0, 120), min_size=6 * D, max_size=6 * D))
    drawn = np.array(values).reshape(6, D)
    drawn = drawn if whole else drawn / 4
    others = [2**24 - 1, 2**24, 2**53 + 1] if whole else [np.nan, np.inf, -np.inf]
    if not whole and not NARROW.search(container):
        others += [1e39, -1e300]
    if draw(st.booleans()):
        drawn[draw(st.integers(0, 5)), draw(st.integers(0, D - 1))] = draw(st.sampled_from(others))
    return drawn, container


def outcome(call, Z):
    """What a call returns, or how it refuses, up to the number or type it tells."""
    try:
        return call(Z)
    except (ValueError, TypeError) as error:
        return type(error), re.split("[:.(]", str(error))[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of names, and of what cannot be learned
@given(matrix=held_matrices(), call=st.sampled_from(sorted(ON_SIX)))
@settings(
    settings.get_profile("thorough"), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_same_numbers_same_outcome(matrix, call, held):
    drawn, container = matrix
    Z = INTEGERS[container](drawn) if drawn.dtype == np.int64 else held(container, drawn)
    expected, got = outcome(ON_SIX[call], drawn), outcome(ON_SIX[call], Z)
    if isinstance(expected, tuple):
        assert got == expected
    else:
        np.testing.assert_allclose(got, expected, **TOLERANCE)
