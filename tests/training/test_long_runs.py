"""Many fits in one process leave nothing behind."""

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer

TASKS = Path("/proc/self/task")


def held():
    """Open files, threads and child processes of this process."""
    tasks = list(TASKS.iterdir())
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return len(os.listdir("/proc/self/fd")), len(tasks), children


@pytest.mark.skipif(not TASKS.exists(), reason="counts files and threads in /proc")
def test_fits_leave_no_file_thread_process_or_net(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((20, 4)), np.repeat([0, 1], 10)
    nets = []

    def cycle(checkpoint):
        encoder = PrototypicalTransformer(
            max_epochs=1, batches_per_epoch=1, random_state=0, checkpoint=checkpoint
        )
        clf = PrototypicalClassifier(encoder).meta_fit(X, y).fit(X, y)
        clf.predict(X)
        nets.append(weakref.ref(clf.encoder.estimator.net_))

    cycle(tmp_path / "first")
    before = held()
    for i in range(20):
        cycle(tmp_path / str(i % 2))
    gc.collect()
    assert held() == before
    assert not [net for net in nets if net() is not None]
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "first"]
