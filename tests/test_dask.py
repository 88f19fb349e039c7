"""Grid searches and episodes over a Dask cluster of two processes."""

import multiprocessing
import os

import joblib
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from sk_fewshot import (
    EpisodeSplit,
    PrototypicalClassifier,
    PrototypicalTransformer,
    episode_score,
)

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two workers; forked where that goes, as a spawned one takes 4 seconds."""
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        yield


@pytest.fixture(scope="module")
def novel(digits):
    images, y = digits
    return images[y >= 5], y[y >= 5]


@pytest.fixture(scope="module")
def clf(digits):
    images, y = digits
    encoder = PrototypicalTransformer(max_epochs=1, batches_per_epoch=2, random_state=0)
    return PrototypicalClassifier(FrozenEstimator(encoder.fit(images[y < 5], y[y < 5])))


def process(estimator, X, y):
    return os.getpid()


def test_work_goes_to_both_workers(clf, novel):
    with joblib.parallel_config(backend="dask"):
        scores = episode_score(clf, *novel, n_episodes=8, scoring=process).scores
    assert len(np.unique(scores)) == 2
    assert os.getpid() not in scores


def test_episode_scores_are_the_local_ones(clf, novel):
    params = {"n_episodes": 4, "scoring": "neg_log_loss", "random_state": 0}
    expected = episode_score(clf, *novel, **params).scores
    with joblib.parallel_config(backend="dask"):
        scores = episode_score(clf, *novel, **params, n_jobs=2).scores
    np.testing.assert_array_equal(scores, expected)


def test_grid_search_over_a_frozen_encoder_is_the_local_one(clf, novel):
    grid = {"metric": ["sqeuclidean", "cosine"]}
    episodes = EpisodeSplit(n_episodes=2, random_state=0)
    search = GridSearchCV(clf, grid, scoring="neg_log_loss", cv=episodes)
    expected = search.fit(*novel)
    means, best = expected.cv_results_["mean_test_score"], expected.predict_proba(novel[0])
    with joblib.parallel_config(backend="dask"):
        search.fit(*novel)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], means)
    np.testing.assert_array_equal(search.predict_proba(novel[0]), best)
