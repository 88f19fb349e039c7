"""Galleries in a file: compared with in place, as if they were in memory."""

import os
import pickle
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from sk_fewshot import MatchingClassifier, PrototypicalClassifier, SiameseClassifier

N_ROWS, D = 200_000, 256  # 200 MB
CLASSIFIERS = {
    "prototypical": PrototypicalClassifier("passthrough"),
    "siamese": SiameseClassifier("passthrough", metric="euclidean"),
    "matching": MatchingClassifier("passthrough"),
}


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)


def mapped(path, rows):
    """The rows as a read-only memory map."""
    np.save(path, rows)
    return np.load(path, mmap_mode="r")


@contextmanager
def room_for(n_bytes):
    """Let this process allocate no more than so much; what it maps of files does not count."""
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux limits all that a process allocates")
    with open("/proc/self/status") as status:
        now = next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "gallery.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, D))
    block = np.random.default_rng(0).normal(size=(1000, D))
    for start in range(0, N_ROWS, len(block)):
        rows[start : start + len(block)] = np.roll(block, start // len(block), axis=1)
    rows.flush()
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_gallery_need_not_fit_into_memory(large, queries, name):
    clf = CLASSIFIERS[name]
    y = np.arange(N_ROWS) // (1 if name == "prototypical" else 10)
    queries = queries + large[::40_000]
    with room_for(96 * 2**20):
        with pytest.raises(MemoryError):
            np.array(large)
        clf.fit(large, y)
        distances, indices = clf.kneighbors(queries, 3)
        if name != "matching":  # whose predict takes a second
            predicted = clf.predict(queries)
            np.testing.assert_array_equal(predicted, y[::40_000])
        if name == "prototypical":
            np.testing.assert_array_equal(clf.predict_top_k(queries, 1)[0][:, 0], predicted)
    np.testing.assert_array_equal(indices[:, 0], np.arange(0, N_ROWS, 40_000))
    assert (np.diff(distances) > 0).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_a_file_is_as_good_as_memory(tmp_path, queries, name, dtype, order):
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(60, D)).astype(dtype), np.arange(60)
    y = y if name == "prototypical" else y // 3
    if order == "mixed":
        y = rng.permutation(y)
    in_file = CLASSIFIERS[name].fit(mapped(tmp_path / "rows.npy", rows), y)
    in_file, in_memory = pickle.loads(pickle.dumps(in_file)), CLASSIFIERS[name].fit(rows, y)
    assert_alike(in_file, in_memory, queries)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_enrolment_takes_the_gallery_into_memory_and_leaves_the_file(tmp_path, queries, name):
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(60, D)).astype(np.float32), np.arange(60)
    more, labels = rng.normal(size=(9, D)).astype(np.float32), [3, 3, 99, 98, 99, 59, 60, 61, 7]
    given = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (80, D))
    given[:60], given[60:] = rows, np.nan
    given.flush()
    before = (tmp_path / "rows.npy").read_bytes()

    def enrolled(gallery):
        clf = CLASSIFIERS[name].fit(gallery, y).partial_fit(more, labels)
        return pickle.loads(pickle.dumps(clf.remove_class(5).partial_fit(more[:2], [5, 100])))

    assert_alike(enrolled(given[:60]), enrolled(rows), queries)
    given.flush()
    assert (tmp_path / "rows.npy").read_bytes() == before


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_pickle_holds_the_gallery_once_and_needs_no_file(tmp_path, queries, name):
    rows = np.random.default_rng(0).normal(size=(2000, D)).astype(np.float32)
    clf = CLASSIFIERS[name].fit(mapped(tmp_path / "rows.npy", rows), np.arange(2000))
    expected = clf.kneighbors(queries)
    pickled = pickle.dumps(clf)
    assert len(pickled) < 1.1 * rows.nbytes
    del clf
    os.remove(tmp_path / "rows.npy")
    for found, wanted in zip(pickle.loads(pickled).kneighbors(queries), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def assert_alike(clf, other, queries):
    np.testing.assert_array_equal(clf.classes_, other.classes_)
    np.testing.assert_allclose(
        clf.decision_function(queries), other.decision_function(queries), rtol=1e-5
    )
    np.testing.assert_allclose(clf.kneighbors(queries)[0], other.kneighbors(queries)[0], rtol=1e-6)
