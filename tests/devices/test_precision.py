"""float32 products keep their digits, whatever torch is told about TensorFloat-32 and bfloat16."""

import threading

import numpy as np
import pytest
import torch

from sk_fewshot import PrototypicalClassifier, SiameseClassifier, episode_score
from sk_fewshot._utils.precision import exact_products
from sk_fewshot.losses import ContrastiveLoss, TripletLoss

CPU = torch.device("cpu")
MATMUL = torch.backends.mkldnn.matmul
OPERATIONS = [MATMUL, torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn]
SETTINGS = {
    "older setting, high": lambda: torch.set_float32_matmul_precision("high"),
    "older setting, medium": lambda: torch.set_float32_matmul_precision("medium"),
    "newer setting, of one operation": lambda: setattr(MATMUL, "fp32_precision", "bf16"),
    "newer setting, of all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
}


@pytest.fixture(params=SETTINGS)
def lowered(request):
    """A setting by which products lose digits; what it reads, before it is taken back."""
    SETTINGS[request.param]()
    yield precisions()
    torch.backends.fp32_precision = "none"
    for operation in OPERATIONS:
        operation.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")


def precisions():
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer setting alone was used
        older = None
    return [older, *(operation.fp32_precision for operation in OPERATIONS)]


def test_precision_is_raised_inside_and_restored(lowered):
    assert not {"tf32", "bf16"}.isdisjoint(lowered)
    with exact_products(CPU):
        assert {"tf32", "bf16"}.isdisjoint(precisions())
        with exact_products(CPU):
            pass
        assert {"tf32", "bf16"}.isdisjoint(precisions())
    assert precisions() == lowered
    with pytest.raises(ZeroDivisionError), exact_products(CPU):
        raise ZeroDivisionError
    assert precisions() == lowered


@pytest.mark.parametrize("lowered", ["newer setting, of all"], indirect=True)
def test_setting_of_all_is_followed_afterwards(lowered):
    with exact_products(CPU):
        pass
    torch.backends.fp32_precision = "ieee"
    assert MATMUL.fp32_precision == "ieee"


def test_a_thread_that_leaves_lowers_nobody_elses_precision(lowered):
    inside, may_leave = threading.Event(), threading.Event()

    def first():
        with exact_products(CPU):
            inside.set()
            assert may_leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with exact_products(CPU):
        may_leave.set()
        thread.join()
        assert {"tf32", "bf16"}.isdisjoint(precisions())
    assert precisions() == lowered


def test_losses_classifiers_and_episodes_compare_exactly(lowered):
    seen = []

    def metric(x, y):
        seen.append(precisions())
        return torch.cdist(x, y)

    rng = np.random.default_rng(0)
    X, y = rng.random((60, 4), dtype=np.float32), np.arange(60) % 3
    losses = [ContrastiveLoss(metric=metric), TripletLoss(metric=metric)]
    for loss in losses:
        loss(torch.from_numpy(X), torch.from_numpy(y))
    for classifier in (PrototypicalClassifier, SiameseClassifier):
        clf = classifier("passthrough", metric=metric).fit(X, y)
        clf.predict_proba(X)
        clf.kneighbors(X, 2)
    episode_score(clf, X, y, n_way=3, n_episodes=5, random_state=0)
    assert len(seen) > 10
    assert all({"tf32", "bf16"}.isdisjoint(found) for found in seen)
    assert precisions() == lowered
