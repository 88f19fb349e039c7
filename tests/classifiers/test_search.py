"""Every query gets its nearest rows, in galleries made to mislead rounding."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sk_fewshot import MatchingClassifier, PrototypicalClassifier, SiameseClassifier
from sk_fewshot.distances import METRICS, pairwise_distances

thorough = settings.get_profile("thorough")
N_QUERIES = 12


def flat_patches(rng, n, d):
    return np.repeat(rng.random((n, max(1, d // 7))), 7, axis=1)


def duplicated(rng, n, d):
    return rng.normal(size=(max(1, n // 3), d))[rng.integers(max(1, n // 3), size=n)]


GALLERIES = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "constant rows": lambda rng, n, d: np.repeat(rng.normal(size=(n, 1)), d, axis=1),
    "duplicated rows": duplicated,
    "repeated columns": flat_patches,
    "integer grid": lambda rng, n, d: rng.integers(-2, 3, size=(n, d)).astype(float),
    "one-hot": lambda rng, n, d: np.eye(d)[rng.integers(d, size=n)],
    "offset 1e4": lambda rng, n, d: rng.normal(size=(n, d)) + 1e4,
    "offset 1e8": lambda rng, n, d: rng.normal(size=(n, d)) + 1e8,
    "scale 1e-30": lambda rng, n, d: 1e-30 * rng.normal(size=(n, d)),
    "scale 1e-12": lambda rng, n, d: 1e-12 * rng.normal(size=(n, d)),
    "scale 1e18": lambda rng, n, d: 1e18 * rng.uniform(-1, 1, size=(n, d)),
    "zero rows": lambda rng, n, d: rng.normal(size=(n, d)) * (rng.random((n, 1)) < 0.5),
    "one far row": lambda rng, n, d: np.where(np.arange(n)[:, None], rng.normal(size=(n, d)), 1e10),
    "two sizes": lambda rng, n, d: rng.normal(size=(n, d)) * rng.choice([1, 1e-8], size=(n, 1)),
}
galleries = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(sorted(GALLERIES)),
        "seed": st.integers(0, 2**32 - 1),
        "n": st.sampled_from([1, 2, 7, 200, 1023, 1024, 1500]),
        "d": st.sampled_from([1, 3, 16, 70]),
        "metric": st.sampled_from(sorted(METRICS)),
        "dtype": st.sampled_from([np.float32, np.float64]),
        "k": st.sampled_from(["one", "five", "all"]),
    }
)


def drawn(case):
    """Rows, queries (some of them rows), and k."""
    rng = np.random.default_rng(case["seed"])
    points = GALLERIES[case["kind"]](rng, case["n"] + N_QUERIES, case["d"]).astype(case["dtype"])
    rows, queries = points[: case["n"]], points[case["n"] :].copy()
    queries[::3] = rows[rng.integers(len(rows), size=len(queries[::3]))]
    return rows, queries, {"one": 1, "five": min(5, len(rows)), "all": len(rows)}[case["k"]]


def reference(queries, rows, metric):
    """Distances in float64, and what they may be wrong by."""
    x, y = queries.astype(float), rows.astype(float)
    if metric == "dot":
        products = -np.einsum("id,jd->ij", x, y)
        sizes = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
        return products, 1e-6 * np.abs(products) + 1e-13 * sizes
    if metric == "cosine":
        x, y = (z / np.maximum(np.abs(z).max(1, keepdims=True), 1e-300) for z in (x, y))
        x, y = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300) for z in (x, y))
        zero = ~(x.any(axis=1)[:, None] & y.any(axis=1))
        distances = np.where(zero, 1.0, cdist(x, y, "sqeuclidean") / 2)
        return distances, 1e-6 * distances + 1e-15
    name = "cityblock" if metric == "manhattan" else metric
    distances = cdist(x, y, name)
    return distances, 1e-6 * distances


def gaps(found, expected, error):
    """How far the distances at found indices exceed those at the same place of the true order."""
    got = np.take_along_axis(expected, found, axis=1)
    best = np.sort(expected, axis=1)[:, : found.shape[1]]
    return (
        got - best - np.take_along_axis(error, found, axis=1) - error.max(1, keepdims=True) * 1e-9
    )


@thorough
@given(galleries)
def test_every_query_gets_its_nearest_rows(case):
    rows, queries, k = drawn(case)
    clf = PrototypicalClassifier("passthrough", metric=case["metric"])
    clf.fit(rows, np.arange(len(rows)))
    distances, found = clf.kneighbors(queries, k)
    assert distances.shape == found.shape == (len(queries), k)
    assert all(len(np.unique(row)) == k for row in found)
    expected, error = reference(queries, rows, case["metric"])
    assert (gaps(found, expected, error) <= 0).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    np.testing.assert_array_equal(clf.score_samples(queries), -distances[:, 0])
    predicted = clf.predict(queries)
    np.testing.assert_array_equal(predicted, found[:, 0])
    np.testing.assert_array_equal(clf.predict_top_k(queries, 1)[0][:, 0], predicted)
    if len(rows) > 2:
        scores = clf.decision_function(queries)
        assert scores.shape == (len(queries), len(rows))
        np.testing.assert_array_equal(scores.argmax(axis=1), predicted)


@thorough
@given(galleries, st.sampled_from([MatchingClassifier, SiameseClassifier]))
def test_examples_are_found_by_their_keys(case, Classifier):
    rows, queries, k = drawn(case)
    rng = np.random.default_rng(case["seed"])
    y = rng.integers(5, size=len(rows))
    ids = rng.permutation(10 * len(rows))[: len(rows)]
    clf = Classifier("passthrough", metric=case["metric"]).fit(rows, y, ids=ids)
    distances, found = clf.kneighbors(queries, k)
    place = {key: i for i, key in enumerate(ids)}
    index = np.vectorize(place.__getitem__)(found)
    expected, error = reference(queries, rows, case["metric"])
    assert (gaps(index, expected, error) <= 0).all()
    for row, places in zip(distances, index):  # at equal distances by class, then by arrival
        places = places[np.abs(row) > 1e-30]  # float32 does not tell smaller ones apart
        order = np.lexsort((places, y[places], row[np.abs(row) > 1e-30]))
        np.testing.assert_array_equal(order, np.arange(len(places)))
    if Classifier is SiameseClassifier:
        np.testing.assert_array_equal(clf.predict(queries), y[index[:, 0]])


@pytest.mark.parametrize("metric", ["cosine", "dot", "sqeuclidean", "euclidean"])
def test_images_of_flat_patches_lose_no_query(metric):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((3100, 16), dtype=np.float32), 49, axis=1)
    clf = PrototypicalClassifier("passthrough", metric=metric).fit(X[:3000], np.arange(3000))
    expected, error = reference(X[3000:], X[:3000], metric)
    for k in (1, 5):
        _, found = clf.kneighbors(X[3000:], k)
        assert found.shape == (100, k)
        assert (gaps(found, expected, error) <= 0).all()
    np.testing.assert_array_equal(clf.predict(X[3000:]), found[:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(clf.predict(X[3000:]), found[:, 0])
    if metric in ("cosine", "dot"):
        for scale in (1e-24, 1e-30):
            tiny = X[3000:] * np.float32(scale)
            np.testing.assert_array_equal(clf.predict(tiny), found[:, 0])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_torchs_matmul_precision_changes_nothing(precision):
    rng = np.random.default_rng(0)
    rows, queries = (rng.normal(size=(n, 64)).astype(np.float32) for n in (2000, 50))
    clf = PrototypicalClassifier("passthrough").fit(rows, np.arange(2000))
    expected = clf.kneighbors(queries, 5)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = clf.kneighbors(queries, 5)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found, expected)


def test_of_equal_distances_the_first_class_wins_in_every_method():
    clf = PrototypicalClassifier("passthrough")
    clf.fit([[-2.0, -2], [-2, -1], [-2, 1]], ["a", "b", "c"])
    query = [[-2.0, 0.0]]
    assert clf.predict(query) == ["b"]
    assert clf.classes_[clf.decision_function(query).argmax()] == "b"
    assert clf.classes_[clf.predict_proba(query).argmax()] == "b"
    assert clf.predict_top_k(query, 1)[0] == [["b"]]
    assert clf.kneighbors(query, 2, return_distance=False).tolist() == [[1, 2]]
    assert clf.partial_fit([[7e5, 3e7]], ["z"]).predict(query) == ["b"]


@thorough
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(sorted(METRICS)),
    n_classes=st.integers(2, 6),
    n_each=st.integers(1, 4),
    unrelated=st.booleans(),
    Classifier=st.sampled_from([PrototypicalClassifier, MatchingClassifier, SiameseClassifier]),
)
def test_one_set_of_examples_under_several_labels(
    seed, metric, n_classes, n_each, unrelated, Classifier
):
    rng = np.random.default_rng(seed)
    examples = rng.normal(size=(n_each, 9)) * 10 ** rng.uniform(-3, 3)
    X = np.concatenate([examples for _ in range(n_classes)])
    if Classifier is not PrototypicalClassifier:  # whose sums depend on the order by rounding
        X = np.concatenate([rng.permutation(examples) for _ in range(n_classes)])
    y = np.repeat(np.arange(n_classes), n_each)
    if unrelated:
        X, y = np.vstack([X, 5 * examples.max() - X[:1]]), np.append(y, -1)
    clf = Classifier("passthrough", metric=metric).fit(X, y)
    queries = np.vstack([examples, rng.normal(size=(3, 9))])
    assert not set(clf.predict(queries)) - {0, -1}
    first = clf.decision_function(queries)
    if first.ndim == 2:
        np.testing.assert_array_equal(clf.classes_[first.argmax(axis=1)], clf.predict(queries))


@thorough
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(sorted(METRICS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    far=st.sampled_from([1.0, 1e4, 1e8, 1e12, 1e17]),
    n_far=st.integers(0, 4),
)
def test_other_rows_change_no_distance(seed, metric, dtype, far, n_far):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, 8, generator=generator, dtype=dtype) for n in (4, 5))
    y[0] = x[0] * (1 + 1e-4)
    others = far * torch.randn(n_far, 8, generator=generator, dtype=dtype)
    alone = torch.stack([pairwise_distances(x, one[None], metric)[:, 0] for one in y], 1)
    together = pairwise_distances(x, torch.cat([others, y]), metric)[:, n_far:]
    size = x.norm(dim=1).outer(y.norm(dim=1)) if metric == "dot" else 0
    assert ((together - alone).abs() <= 1e-5 * alone.abs() + 1e-12 * size).all()


def test_a_far_row_takes_nobodys_identity():
    clf = PrototypicalClassifier("passthrough").fit(np.float32([[0], [10]]), ["ada", "bob"])
    clf.partial_fit(np.float32([[1e10]]), ["x"])
    assert clf.predict(np.float32([[10], [0], [1e10]])).tolist() == ["bob", "ada", "x"]
    distances = pairwise_distances(torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [1e8]]))
    np.testing.assert_allclose(distances, [[1.0, 0.0, 1e16]], rtol=1e-6)
    with pytest.raises(ValueError, match="too large for float32"):
        PrototypicalClassifier("passthrough", reject_below=-1).fit([[0.0], [1.0]], [0, 1]).predict(
            [[1e160]]
        )


@pytest.mark.parametrize("clf", [PrototypicalClassifier(), MatchingClassifier()], ids=str)
def test_readers_beside_a_writer_see_one_state(clf):
    rng = np.random.default_rng(0)
    residents = rng.normal(size=(200, 8))
    names = np.array([f"resident {i:03}" for i in range(200)])
    clf.set_params(encoder="passthrough", metric="euclidean").fit(residents, names)
    wrong, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            i = rng.integers(200)
            answers = clf.predict(residents[[i]])[0], clf.predict_proba(residents[[i]])
            if answers[0] != names[i] or not np.isfinite(answers[1]).all():
                wrong.append((names[i], answers[0]))
            clf.kneighbors(residents[[i]], 3)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for i in range(60):  # names that come before, between and after the residents'
            label = ["a visitor", "resident 100 b", "visitor"][i % 3]
            clf.partial_fit(rng.normal(size=(1, 8)) + 100, [label])
            clf.remove_class(label)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong
    np.testing.assert_array_equal(clf.classes_, names)
