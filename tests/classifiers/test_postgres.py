"""A gallery that is a database, on a real server."""

import copy
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseClassifier,
    SiameseTransformer,
    episode_score,
    load,
    save,
)
from sk_fewshot.gallery import PostgresGallery

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

CLASSIFIERS = [PrototypicalClassifier, MatchingClassifier, SiameseClassifier]
METRICS = ["sqeuclidean", "euclidean", "cosine", "dot"]
fork = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
needs_fork = pytest.mark.skipif(fork is None, reason="needs processes that are forked")


@pytest.fixture(scope="module")
def dsn():
    """A server of our own, for as long as this module runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies' about this machine
        pgserver = pytest.importorskip("pgserver", reason="pgserver is not installed")
    try:
        server = pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"no PostgreSQL server can be started: {error!r}")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def table(dsn):
    """The name of a gallery that is not there yet."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table if exists people, people_settings")
    return "people"


@pytest.fixture
def index(dsn, table):
    return PostgresGallery(dsn, table=table)


@pytest.fixture
def query(dsn):
    """A function that runs SQL beside the package."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def run(statement, *parameters):
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else None

        yield run


def drawn(n, n_classes=10, d=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    return rng.normal(size=(n, d)).astype(np.float32), np.array(list("abcdefghij"))[y]


def assert_same_answers(clf, expected, queries):
    for name in ("predict", "predict_proba", "decision_function", "score_samples"):
        for few in (queries, queries[:3]):
            np.testing.assert_array_equal(getattr(clf, name)(few), getattr(expected, name)(few))
    for k in (1, 5, 40):
        for few in (queries, queries[:3]):
            k = min(k, len(expected.gallery_.rows))
            for got, right in zip(clf.kneighbors(few, k), expected.kneighbors(few, k)):
                np.testing.assert_array_equal(got, right)
    np.testing.assert_array_equal(clf.classes_, expected.classes_)
    assert clf.classes_.dtype.kind == expected.classes_.dtype.kind


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("Classifier", CLASSIFIERS)
def test_answers_as_a_gallery_in_memory(Classifier, metric, index):
    X, y = drawn(200)
    queries = drawn(40, seed=1)[0]
    clf = Classifier("passthrough", metric=metric, index=index)
    expected = Classifier("passthrough", metric=metric)
    for each in (clf, expected):
        each.fit(X[:90], y[:90])
        for start in (90, 91, 150):
            each.partial_fit(X[start : start + 50], y[start : start + 50])
        each.remove_class("c")
    assert_same_answers(clf, expected, queries)


def test_shows_what_it_keeps(index):
    X, y = drawn(50)
    means, expected = (
        PrototypicalClassifier("passthrough", index=i).fit(X, y) for i in (index, None)
    )
    np.testing.assert_array_equal(means.prototypes_, expected.prototypes_)
    np.testing.assert_array_equal(means.class_counts_, expected.class_counts_)
    for got, right in zip(means.predict_top_k(X, 3), expected.predict_top_k(X, 3)):
        np.testing.assert_array_equal(got, right)
    examples, expected = (
        SiameseClassifier("passthrough", metric="dot", index=i) for i in (index, None)
    )
    for clf in (examples, expected):
        clf.fit(X, y, ids=[f"photo {i}" for i in range(50)]).remove(["photo 3", "photo 40"])
    for name in ("support_embeddings_", "support_codes_", "support_ids_"):
        np.testing.assert_array_equal(getattr(examples, name), getattr(expected, name))


@st.composite
def galleries(draw):
    """Support, labels and queries with ties, duplicates, zeros, offsets, large and tiny numbers."""
    d = draw(st.integers(1, 3))
    scale = draw(st.sampled_from([1.0, 3e-13, 1e-6, 1e9]))
    offset = draw(st.sampled_from([0.0, 0.0, 1000.0]))
    n = draw(st.integers(1, 60))
    numbers = st.integers(-2, 2)
    X, Q = (draw(arrays(np.float32, (m, d), elements=numbers)) for m in (n, 5))
    y = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    noise = draw(st.sampled_from([0.0, 0.3]))
    moved = np.random.default_rng(0).normal(size=Q.shape).astype(np.float32)
    return (X + offset) * scale, np.array(y), (Q + offset + noise * moved) * scale


@pytest.mark.parametrize("metric", METRICS)
@given(galleries(), st.integers(1, 4))
@settings(max_examples=15)
def test_ties_are_settled_as_in_memory(dsn, metric, drawn, k):
    X, y, queries = (part.astype(np.float32) if part.dtype.kind == "f" else part for part in drawn)
    index = PostgresGallery(dsn, table="ties")
    clf, expected = (
        SiameseClassifier("passthrough", metric=metric, index=i).fit(X, y) for i in (index, None)
    )
    k = min(k, len(X))
    for some in (queries, np.tile(queries, (4, 1))):  # searched by the server, and here
        for got, right in zip(clf.kneighbors(some, k), expected.kneighbors(some, k)):
            np.testing.assert_array_equal(got, right)
    np.testing.assert_array_equal(clf.predict(queries), expected.predict(queries))


def test_float64_queries(index):
    X, y = drawn(100)
    queries = drawn(30, seed=1)[0].astype(np.float64) * (1 + 1e-9)
    clf, expected = (
        SiameseClassifier("passthrough", metric="sqeuclidean", index=i).fit(X, y)
        for i in (index, None)
    )
    for few in (queries, queries[:4]):
        for got, right in zip(clf.kneighbors(few), expected.kneighbors(few)):
            np.testing.assert_array_equal(got, right)
            assert got.dtype == right.dtype


def test_enough_neighbors(index):
    clf = SiameseClassifier("passthrough", metric="dot", index=index).fit(np.eye(3), [0, 1, 2])
    for k in (0, 4, -1):
        for queries in (np.eye(3), np.eye(3)[:0], np.ones((20, 3))):
            with pytest.raises(ValueError, match=f"1 <= n_neighbors <= 3, .* n_neighbors = {k}"):
                clf._neighbors(queries, k)
    assert clf._neighbors(np.empty((0, 3)), 2).keys.shape == (0, 2)


@pytest.mark.parametrize(
    "labels",
    [[-3, 10, 9], [2**62, -(2**63), 0], ["1", "01", " 1"], [True, False], [1.0, -2.0], ["", "ü"]],
    ids=str,
)
@pytest.mark.parametrize("keys", [None, [5, -7, 2**63 - 1], ["5", "-7", "x'; --"]], ids=str)
def test_labels_and_keys_keep_their_type(labels, keys, index):
    X = np.eye(3)[: len(labels)]
    keys = keys and keys[: len(labels)]
    clf, expected = (
        SiameseClassifier("passthrough", metric="dot", index=i).fit(X, labels, ids=keys)
        for i in (index, None)
    )
    assert_same_answers(clf, expected, X)
    assert clf.kneighbors(X, 1)[1].dtype.kind == expected.kneighbors(X, 1)[1].dtype.kind


@pytest.mark.parametrize(
    ("labels", "ids", "message"),
    [
        (["a\0b", "c"], None, "y must hold text without NUL"),
        (["\ud800", "c"], None, "y must hold text without NUL and surrogates"),
        (np.array([2**63, 1], dtype=np.uint64), None, "y must hold integers that fit into int64"),
        ([1, 2], ["\0a", "b"], "ids must hold text without NUL"),
        ([1, 2], ["a", "a"], "ids must be unique"),
    ],
)
def test_labels_and_keys_that_a_database_cannot_hold(labels, ids, message, index, query):
    clf = SiameseClassifier("passthrough", metric="dot", index=index)
    with pytest.raises(ValueError, match=message):
        clf.fit(np.eye(2), labels, ids=ids)
    assert not hasattr(clf, "gallery_")
    assert query("select to_regclass('people')") == [(None,)]


HOSTILE = ["'); drop table bystander; --", 'a"b', "%s", "%(x)s", "{rows}", "\\", "$1", "é\t\n"]


@pytest.mark.parametrize("name", [*HOSTILE, "people; --", "Mixed Case"])
def test_names_labels_and_keys_are_never_sql(name, dsn, query):
    query("create table if not exists bystander (x int)")
    clf = SiameseClassifier("passthrough", metric="dot", index=PostgresGallery(dsn, table=name))
    clf.fit(np.eye(8), HOSTILE, ids=HOSTILE[::-1])
    clf.partial_fit(2 * np.eye(8)[:1], HOSTILE[:1], ids=["new"])
    assert clf.predict(np.eye(8)).tolist() == HOSTILE
    assert clf.kneighbors(np.eye(8)[1:], 1)[1].ravel().tolist() == HOSTILE[::-1][1:]
    clf.remove([HOSTILE[0]]).remove_class(HOSTILE[3])
    assert set(clf.classes_) == set(HOSTILE) - {HOSTILE[3], HOSTILE[7]}
    assert query("select count(*) from bystander") == [(0,)]
    assert query("select count(*) from pg_tables where tablename = %s", name) == [(1,)]


def test_fit_replaces_what_is_there(index, query):
    PrototypicalClassifier("passthrough", index=index).fit(np.eye(3), ["a", "b", "c"])
    clf = SiameseClassifier("passthrough", metric="cosine", index=index).fit(np.eye(2), [7, 8])
    assert clf.classes_.tolist() == [7, 8]
    assert query("select count(*) from people") == [(2,)]


def test_the_first_partial_fit_joins(index):
    first = SiameseClassifier("passthrough", metric="dot", index=index)
    first.partial_fit(np.eye(3), ["a", "b", "c"])  # creates it
    second = clone(first).partial_fit(2 * np.eye(3)[:1], ["d"])
    assert second.support_ids_.tolist() == [0, 1, 2, 3]
    assert first.predict(np.eye(3)).tolist() == ["d", "b", "c"]


def test_join_answers_from_what_others_have_enrolled(index):
    X, y = drawn(60, d=8)
    encoder = FrozenEstimator(make_pipeline(StandardScaler(), PCA(4)).fit(X))
    clf = PrototypicalClassifier(encoder, index=index)
    with pytest.raises(ValueError, match="is no gallery yet, or no longer; fit creates it"):
        clone(clf).join()
    clf.fit(X, y)
    other = clone(clf).join()
    np.testing.assert_array_equal(other.predict(X), clf.predict(X))
    assert other.n_features_in_ == 8
    other.partial_fit(X[:1], ["new"])
    assert "new" in clf.classes_
    plain = PrototypicalClassifier("passthrough", index=index).fit(X, y)
    np.testing.assert_array_equal(clone(plain).join().predict(X), plain.predict(X))


def test_join_needs_what_it_does_not_learn(index):
    with pytest.raises(ValueError, match=r"join needs a gallery that is shared, .* index=None"):
        PrototypicalClassifier("passthrough").join()
    with pytest.raises(ValueError, match="needs a fitted encoder, frozen"):
        PrototypicalClassifier(PCA(2), index=index).join()
    with pytest.raises(ValueError, match="needs a fitted encoder, frozen"):
        SiameseClassifier("passthrough", index=index).join()


def other_encoder(clf):
    return clone(clf).set_params(encoder=FrozenEstimator(PCA(3).fit(np.random.rand(9, 3))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clf: clone(clf).set_params(metric="dot"), "is compared by metric='cosine', got"),
        (other_encoder, "holds embeddings of another encoder"),
        (
            lambda clf: PrototypicalClassifier("passthrough", metric="cosine", index=clf.index),
            "holds Examples, but this classifier keeps ClassMeans",
        ),
    ],
)
def test_a_classifier_that_does_not_go_with_the_gallery(change, message, index):
    clf = SiameseClassifier("passthrough", metric="cosine", index=index).fit(np.eye(3), [1, 2, 3])
    other = change(clf)
    with pytest.raises(ValueError, match=message):
        other.partial_fit(np.eye(3), [4, 5, 6])
    assert not hasattr(other, "gallery_")
    assert clf.classes_.tolist() == [1, 2, 3]
    other.fit(np.eye(3), [4, 5, 6])  # replaces it, for all
    with pytest.raises(ValueError, match="table='people'"):
        clf.predict(np.eye(3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.partial_fit(np.eye(4), [1, 2, 3, 4]), ValueError, "features"),
        (lambda c: clone(c).partial_fit(np.eye(4), range(4)), ValueError, "of 3 numbers, got"),
        (
            lambda c: c.partial_fit(np.eye(3), list("abc")),
            ValueError,
            "of the type enrolled before",
        ),
        (
            lambda c: c.partial_fit(np.eye(3), [1, 2, 3], ids=list("abc")),
            ValueError,
            "integer, got",
        ),
        (lambda c: c.partial_fit(np.eye(3), [1, 2, 3], ids=[9, 8, 1]), ValueError, "1 is enrolled"),
        (lambda c: c.remove([0, 77]), ValueError, r"among those enrolled, got \[77\]"),
        (lambda c: c.remove(["0"]), ValueError, r"among those enrolled, got \['0'\]"),
        (lambda c: c.remove([0, 1, 2]), ValueError, "ids has all examples"),
        (lambda c: c.remove_class(9), ValueError, "label must be one of the 3 classes"),
        (lambda c: c.partial_fit(1e19 * np.eye(3), [1, 2, 3]), ValueError, "length of .* at most"),
        (lambda c: c.partial_fit(1e-20 * np.eye(3), [1, 2, 3]), ValueError, "of a length of 1e-15"),
    ],
)
def test_refused_calls_leave_all_as_it_was(call, error, message, index):
    clf = SiameseClassifier("passthrough", metric="cosine", index=index).fit(np.eye(3), [1, 2, 3])
    before = clf.support_embeddings_, clf.support_ids_, clf.classes_
    with pytest.raises(error, match=message):
        call(clf)
    for was, now in zip(before, (clf.support_embeddings_, clf.support_ids_, clf.classes_)):
        np.testing.assert_array_equal(was, now)


def test_a_gallery_that_was_fitted_anew_with_other_embeddings(index):
    clf = SiameseClassifier("passthrough", metric="cosine", index=index).fit(np.eye(3), [1, 2, 3])
    clone(clf).fit(np.eye(4), [1, 2, 3, 4])
    for call in (
        lambda: clf.predict(np.eye(3)),
        lambda: clf.predict_proba(np.eye(3)),
        lambda: clf.partial_fit(np.eye(3), [1, 2, 3]),
    ):
        with pytest.raises(ValueError, match=r"embeddings of 4 numbers now, and this .* have 3"):
            call()


def test_prototypes_have_no_single_examples(index):
    clf = PrototypicalClassifier("passthrough", index=index).fit(np.eye(2), [1, 2])
    with pytest.raises(TypeError, match="remove takes single examples back"):
        clf.remove([0])
    with pytest.raises(TypeError, match="ids are keys of single examples"):
        clf.partial_fit(np.eye(2), [1, 2], ids=[4, 5])
    with pytest.raises(ValueError, match="is the only class enrolled"):
        clf.remove_class(1).remove_class(2)


@pytest.mark.parametrize("metric", ["manhattan", lambda x, y: 1 - x @ y.T])
@pytest.mark.parametrize("Classifier", CLASSIFIERS)
def test_other_metrics_are_refused(Classifier, metric, index):
    clf = Classifier("passthrough", metric=metric, index=index)
    with pytest.raises(ValueError, match=r"PostgresGallery\(...\) needs a metric among"):
        clf.fit(np.eye(3), range(3))
    assert not hasattr(clf, "classes_")


def test_a_learned_comparator_is_refused(index):
    X, y = drawn(40)
    encoder = SiameseTransformer(loss="bce", max_epochs=1, batches_per_epoch=1, random_state=0)
    with pytest.raises(ValueError, match="needs a metric among"):
        SiameseClassifier(FrozenEstimator(encoder.fit(X, y)), index=index).fit(X, y)


@pytest.mark.parametrize("existing", ["people", "people_settings", "people, people_settings"])
def test_tables_of_others_are_left_alone(existing, index, query):
    for name in existing.split(", "):
        query(f"create table {name} (label text); insert into {name} values ('precious')")
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="exists and is not of a gallery"):
            getattr(PrototypicalClassifier("passthrough", index=index), method)(np.eye(2), [1, 2])
    for name in existing.split(", "):
        assert query(f"select * from {name}") == [("precious",)]


def test_an_encoder_is_known_again_after_save_and_load(index, tmp_path):
    X, y = drawn(40)
    encoder = PrototypicalTransformer(max_epochs=1, batches_per_epoch=2, random_state=0).fit(X, y)
    save(encoder, tmp_path / "encoder")
    clf = PrototypicalClassifier(FrozenEstimator(encoder), index=index).fit(X, y)
    again = PrototypicalClassifier(FrozenEstimator(load(tmp_path / "encoder")), index=index)
    np.testing.assert_array_equal(again.join().predict(X), clf.predict(X))
    other = PrototypicalTransformer(max_epochs=1, batches_per_epoch=2, random_state=1).fit(X, y)
    with pytest.raises(ValueError, match="another encoder"):
        PrototypicalClassifier(FrozenEstimator(other), index=index).join()


def test_copies_share_the_gallery(index):
    clf = SiameseClassifier("passthrough", metric="dot", index=index).fit(np.eye(3), [1, 2, 3])
    for other in (copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        other.partial_fit(5 * np.eye(3)[:1], [9])
        assert clf.predict(np.eye(3)[:1]) == 9
        clf.remove_class(9)
        assert other.predict(np.eye(3)[:1]) == 1


def test_no_password_is_shown_or_saved(tmp_path):
    index = PostgresGallery("postgresql://user:s3cret@localhost/db", table="people")
    clf = PrototypicalClassifier("passthrough", index=index)
    assert "s3cret" not in f"{index!r} {index} {clf!r}"
    with pytest.raises(TypeError, match=r"index cannot be saved: PostgresGallery") as error:
        save(clf, tmp_path / "clf")
    assert "s3cret" not in str(error.value)
    assert not (tmp_path / "clf").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dsn": 5}, TypeError, "dsn must be a string"),
        ({"table": None}, TypeError, "table must be a string"),
        ({"table": ""}, ValueError, "table must have 1 to 54 bytes"),
        ({"table": "ü" * 28}, ValueError, "table must have 1 to 54 bytes"),
        ({"table": "a\0b"}, ValueError, "table must hold text without NUL"),
        ({"search": "faiss"}, ValueError, "search must be 'exact' or 'hnsw', got 'faiss'"),
    ],
)
def test_parameters_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        PostgresGallery(**{"dsn": "", "table": "people", **arguments})


def test_the_longest_name(dsn):
    names = ["p" * 54, "p" * 53 + "q"]
    fitted = [
        PrototypicalClassifier("passthrough", index=PostgresGallery(dsn, table=name))
        for name in names
    ]
    for i, clf in enumerate(fitted):
        clf.fit(np.eye(2), [i, i + 10])
    assert [clf.classes_.tolist() for clf in fitted] == [[0, 10], [1, 11]]


def test_without_psycopg_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    clf = PrototypicalClassifier("passthrough", index=PostgresGallery("", table="people"))
    with pytest.raises(ImportError, match=r'pip install "sk-fewshot\[postgres\]"'):
        clf.fit(np.eye(3), range(3))


def test_without_pgvector_the_error_says_what_to_install(dsn, query):
    query("create database plain")
    query("create role visitor login")
    plain = dsn.replace("/postgres?", "/plain?")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("grant all on schema public to visitor")
    index = PostgresGallery(plain.replace("//postgres:@", "//visitor@"), table="people")
    with pytest.raises(ValueError, match="The database has no pgvector"):
        PrototypicalClassifier("passthrough", index=index).fit(np.eye(3), range(3))


def test_no_server_is_an_error_and_nothing_else(tmp_path):
    index = PostgresGallery(f"host={tmp_path} user=me password=s3cret", table="people")
    with pytest.raises(psycopg.OperationalError) as error:
        PrototypicalClassifier("passthrough", index=index).fit(np.eye(3), range(3))
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("dsn", ["s3cret", "postgresql://u:s3cret@host/db?no=1", "user=a s3cret"])
def test_an_address_that_cannot_be_read_is_not_shown(dsn):
    with pytest.raises(ValueError, match="dsn must be an address as libpq takes it") as error:
        PrototypicalClassifier("passthrough", index=PostgresGallery(dsn, table="people")).join()
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_reader_needs_no_more_than_to_read(dsn, index, query):
    clf = PrototypicalClassifier("passthrough", index=index).fit(np.eye(2), [1, 2])
    query("drop role if exists reader; create role reader login")
    query("grant select on people, people_settings to reader")
    reading = PostgresGallery(dsn.replace("//postgres:@", "//reader@"), table="people")
    reader = clone(clf).set_params(index=reading).join()
    assert reader.predict(np.eye(2)).tolist() == [1, 2]
    assert reader.predict_proba(np.eye(2)).shape == (2, 2)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.partial_fit(np.eye(2), [1, 3])
    assert clf.class_counts_.tolist() == [1, 1]


def test_lost_connections_are_made_anew(index, query):
    clf = PrototypicalClassifier("passthrough", index=index).fit(np.eye(2), [1, 2])
    for call in (lambda: clf.predict(np.eye(2)), lambda: clf.partial_fit(np.eye(2), [1, 2])):
        query(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'sk_fewshot'"
        )
        call()
    assert clf.class_counts_.tolist() == [2, 2]


@needs_fork
def test_a_forked_process_has_connections_of_its_own(index):
    clf = PrototypicalClassifier("passthrough", index=index).fit(np.eye(2), [1, 2])

    def child():
        clf.partial_fit(np.eye(2), [1, 2])
        os._exit(int(clf.predict(np.eye(2)).tolist() != [1, 2]))

    processes = [started(child) for _ in range(2)]
    clf.partial_fit(np.eye(2), [1, 2])
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert clf.predict(np.eye(2)).tolist() == [1, 2]
    assert clf.class_counts_.tolist() == [4, 4]


def started(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other threads, by later Python versions
        process = fork.Process(target=function, args=arguments, daemon=True)
        process.start()
    return process


def test_no_example_is_lost_where_many_enrol_one_class(index):
    clf = PrototypicalClassifier("passthrough", index=index)

    def enrol(i):
        own = clone(clf)
        for j in range(5):
            own.partial_fit(np.full((2, 3), 10 * i + j), ["both", f"of {i}"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(enrol, range(4)))
    clf.join()
    assert dict(zip(clf.classes_, clf.class_counts_)) == {
        "both": 20,
        **{f"of {i}": 5 for i in range(4)},
    }
    np.testing.assert_array_equal(clf.prototypes_[0], np.full(3, 17))


def enrol_batches(clf, name, acknowledged):
    """Enrol classes of five examples each, and look at them, until killed or told to end."""
    rng = np.random.default_rng(0)
    for i in range(10**6):
        examples = rng.normal(size=(5, 4)).astype(np.float32)
        clf.partial_fit(examples, [f"{name} {i}"] * 5)
        clf.kneighbors(examples[:1], 1)
        with acknowledged.get_lock():
            acknowledged.value = i + 1


@needs_fork
@pytest.mark.parametrize("Classifier", [PrototypicalClassifier, SiameseClassifier])
def test_a_process_that_is_killed_leaves_all_or_nothing(Classifier, index, query):
    clf = Classifier("passthrough", metric="sqeuclidean", index=index)
    clf.fit(np.zeros((5, 4)), ["start"] * 5)
    rng = np.random.default_rng(0)
    survivor_count = fork.Value("i", 0)
    survivor = started(enrol_batches, clf, "survivor", survivor_count)
    done = {}
    for round in range(3):
        count = fork.Value("i", 0)
        victim = started(enrol_batches, clf, f"victim {round}", count)
        time.sleep(0.3 + 0.2 * rng.random())
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        done[f"victim {round}"] = count.value
    survivor.terminate()
    survivor.join()
    done["survivor"] = survivor_count.value
    each = "sum(count)" if Classifier is PrototypicalClassifier else "count(*)"
    counts = dict(query(f"select label, {each} from people group by label"))
    assert set(counts.values()) == {5}
    assert all(done.values())
    for name, n in done.items():
        assert {f"{name} {i}" for i in range(n)} <= counts.keys()
        assert f"{name} {n + 1}" not in counts  # one more may have been committed
    assert len(clf.classes_) == len(counts)
    assert clf.partial_fit(np.ones((1, 4)), ["after"]).predict(np.ones((1, 4))) == "after"


def test_readers_see_one_moment_while_others_enrol(index):
    clf = SiameseClassifier("passthrough", metric="sqeuclidean", index=index)
    clf.fit(np.zeros((4, 2)), ["a", "a", "b", "b"])
    stop = threading.Event()

    def enrol():
        other = clone(clf).join()
        while not stop.is_set():
            other.partial_fit(np.zeros((4, 2)), ["a", "a", "b", "b"])
            other.fit(np.zeros((4, 2)), ["a", "a", "b", "b"])

    with ThreadPoolExecutor(1) as threads:
        enrolling = threads.submit(enrol)
        for _ in range(30):
            gallery = clf.gallery_.in_memory()
            assert len(gallery.rows) % 4 == 0
            assert np.bincount(gallery.codes).tolist() == [len(gallery.rows) / 2] * 2
            assert clf.predict(np.zeros((20, 2))).tolist() == ["a"] * 20
        stop.set()
        enrolling.result()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("Classifier", [PrototypicalClassifier, SiameseClassifier])
def test_an_approximate_search_finds_nearly_all(Classifier, metric, dsn, table, query):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 8)).astype(np.float32)
    queries = rows[:200] + 0.1 * rng.normal(size=(200, 8)).astype(np.float32)
    index = PostgresGallery(dsn, table=table, search="hnsw")
    clf = Classifier("passthrough", metric=metric, index=index).fit(rows[:1400], np.arange(1400))
    clf.partial_fit(rows[1400:], np.arange(1400, 1500))
    expected = Classifier("passthrough", metric=metric).fit(rows, np.arange(1500))
    query("analyze people")
    ((plan,),) = query(
        "select string_agg(indexdef, '') from pg_indexes where indexname = 'people_hnsw'"
    )
    assert "hnsw" in plan
    for k in (1, 10, 600, 1500):
        distances, keys = clf.kneighbors(queries[:20], k)
        right = expected.kneighbors(queries[:20], k, return_distance=False)
        assert np.mean([np.isin(a, b).mean() for a, b in zip(right, keys)]) > 0.9
        assert (np.diff(distances, axis=1) >= 0).all()
        assert all(len(np.unique(row)) == k for row in keys)
        if k == 1500:
            np.testing.assert_array_equal(keys, right)
    assert (clf.predict(queries) == expected.predict(queries)).mean() > 0.9
    clf.partial_fit(-5 * np.ones((1, 8)), [5000])
    assert clf.predict(-5 * np.ones((1, 8))) == 5000


def test_too_many_numbers(dsn, table):
    for search, most in (("exact", 16_000), ("hnsw", 2_000)):
        clf = PrototypicalClassifier(
            "passthrough", index=PostgresGallery(dsn, table=table, search=search)
        )
        with pytest.raises(ValueError, match=f"at most {most} numbers, got some of {most + 1}"):
            clf.fit(np.eye(2, most + 1), [0, 1])
        clf.fit(np.eye(2, most), [0, 1])
        assert clf.predict(np.eye(2, most)).tolist() == [0, 1]


def test_open_set(index):
    X, y = drawn(60)
    strangers = drawn(100, seed=2)[0] + 3
    clf, expected = (
        PrototypicalClassifier("passthrough", index=i).fit(X, y) for i in (index, None)
    )
    for each in (clf, expected):
        each.calibrate_rejection(strangers, false_accept_rate=0.05)
    assert clf.reject_below == expected.reject_below
    for queries in (X, X[:5], strangers):
        np.testing.assert_array_equal(clf.predict(queries), expected.predict(queries))
    for each in (clf, expected):  # each example against the other classes
        each.calibrate_rejection(X, y, false_accept_rate=0.2)
    assert clf.reject_below == expected.reject_below
    assert len(clf.classes_) == 10
    with pytest.raises(ValueError, match="unknown_label='u' is one of the classes"):
        clf.set_params(unknown_label="u").partial_fit(X[:1], ["u"])
    assert "u" not in clf.classes_


def test_episode_score_leaves_the_gallery_alone(index):
    X, y = drawn(200)
    clf = PrototypicalClassifier("passthrough", index=index).fit(X, y)
    counts = clf.class_counts_
    scores = [
        episode_score(clf.set_params(index=i), X, y, n_episodes=5, n_query=2, random_state=0).scores
        for i in (index, None)
    ]
    np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(clf.class_counts_, counts)
