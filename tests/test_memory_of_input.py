"""No call copies or casts all of its examples: a batch at a time is all that is held beside them.

tracemalloc sees what numpy allocates; benchmarks/memory_of_input.py measures all memory.
"""

import tracemalloc

import h5py
import numpy as np
import pytest
import torch
import zarr
from sklearn.frozen import FrozenEstimator

from sk_fewshot import (
    MatchingClassifier,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseTransformer,
    episode_score,
)

N, D = 4000, 3000
MB = 10**6
BATCH = 6 * MB
TINY = {
    "module_params": {"hidden": (4,)},
    "embedding_dim": 4,
    "max_epochs": 1,
    "batches_per_epoch": 2,
    "random_state": 0,
}
Y = np.arange(N) % 20
SAME = np.arange(N // 2) % 2
EXAMPLES = np.random.default_rng(0).integers(256, size=(N, D), dtype=np.uint8)
EXAMPLES.flags.writeable = False
FEW, FEW_Y = EXAMPLES[:200], Y[:200]
ENCODER = PrototypicalTransformer(**TINY).fit(FEW, FEW_Y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


def in_memory_map(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def in_h5py(X, folder):
    with h5py.File(folder / "X.h5", "w") as file:
        file["X"] = X
    return h5py.File(folder / "X.h5")["X"]


KINDS = {
    "uint8": lambda X, folder: X,
    "float16": lambda X, folder: X.astype(np.float16),
    "bfloat16": lambda X, folder: torch.tensor(X, dtype=torch.bfloat16),
    "float32": lambda X, folder: X.astype(np.float32),
    "float32, Fortran order": lambda X, folder: np.asfortranarray(X, dtype=np.float32),
    "reversed float64": lambda X, folder: X.astype(np.float64)[::-1],
    "memory map": in_memory_map,
    "h5py": in_h5py,
    "zarr": lambda X, folder: zarr.create_array(
        folder / "X.zarr", data=X, chunks=(100, D), compressors=None
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def examples(request, folder):
    return KINDS[request.param](EXAMPLES, folder)


def frozen(classifier):
    return classifier(FrozenEstimator(ENCODER)).fit(FEW, FEW_Y)


class Pairs:
    """Pairs of rows that follow each other, of an array in a file."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, (N // 2, 2, D), rows.dtype

    def __getitem__(self, place):
        start, stop, _ = place.indices(N // 2)
        return self.rows[2 * start : 2 * stop].reshape(-1, 2, D)


def as_pairs(X):
    return X.reshape(-1, 2, D) if hasattr(X, "reshape") else Pairs(X)


CALLS = {
    "fit": lambda X: PrototypicalTransformer(**TINY).fit(X, Y),
    "validation_classes": lambda X: PrototypicalTransformer(**TINY, validation_classes=0.3).fit(
        X, Y
    ),
    "meta_fit": lambda X: PrototypicalClassifier(PrototypicalTransformer(**TINY)).meta_fit(X, Y),
    "transform": ENCODER.transform,
    "classifier's fit": lambda X: MatchingClassifier(FrozenEstimator(ENCODER)).fit(X, Y),
    "predict": lambda X: frozen(PrototypicalClassifier).predict(X),
    "episode_score": lambda X: episode_score(
        frozen(PrototypicalClassifier), X, Y, n_query=2, n_episodes=5, random_state=0
    ),
}
OF_PAIRS = {
    "fit": lambda X: PairClassifier(FrozenEstimator(ENCODER)).fit(X, SAME),
    "fit, unfrozen": lambda X: PairClassifier(SiameseTransformer(**TINY), random_state=0).fit(
        X, SAME
    ),
}


def allocated(call, X):
    """What numpy holds at most during a call, beyond what it held before."""
    tracemalloc.start()
    try:
        call(X)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_bytes(X):
    return N * D * X.dtype.itemsize


@pytest.mark.parametrize("call", CALLS)
def test_a_call_holds_a_tenth_of_its_examples_and_a_batch(examples, call):
    assert allocated(CALLS[call], examples) < n_bytes(examples) / 10 + BATCH


@pytest.mark.parametrize("call", OF_PAIRS)
def test_a_call_holds_a_tenth_of_its_pairs_and_a_batch(examples, call):
    if isinstance(examples, np.ndarray) and not examples.flags.c_contiguous:
        pytest.skip("reshape has copied them")
    pairs = as_pairs(examples)
    assert allocated(OF_PAIRS[call], pairs) < n_bytes(examples) / 10 + BATCH


def test_predict_does_not_hold_the_scores_of_all_queries():
    rng = np.random.default_rng(0)
    clf = PrototypicalClassifier("passthrough").fit(rng.random((500, 4)), np.arange(500))
    queries = rng.random((10_000, 4))
    assert allocated(clf.predict, queries) < 10_000 * 500 * 8 / 2
