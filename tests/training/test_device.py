"""Devices that are not there, or cannot compute: refused in `fit`, before anything is trained."""

import numpy as np
import pytest
import torch

import sk_fewshot
from sk_fewshot.encoders import encode
from sk_fewshot.metrics import make_pairs

ESTIMATORS = {
    name: cls
    for name, cls in vars(sk_fewshot).items()
    if isinstance(cls, type) and "device" in getattr(cls, "_parameter_constraints", {})
}
ABSENT = ["cuda:99", "meta", "hpu", "vulkan", torch.device("meta"), "cpu:7"]
ABSENT += [] if torch.cuda.is_available() else ["cuda", "cuda:0"]
ABSENT += [] if torch.backends.mps.is_available() else ["mps"]
ABSENT += [] if torch.xpu.is_available() else ["xpu", "xpu:0"]


def test_every_estimator_is_tried():
    assert len(ESTIMATORS) >= 13


@pytest.mark.parametrize("device", ABSENT, ids=repr)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_absent_device_is_refused_in_fit(blobs, name, device):
    X, y = blobs
    if name == "PairClassifier":
        X, y = make_pairs(X, y, n_pairs=20, random_state=0)
    params = {"encoder": "passthrough"} if hasattr(ESTIMATORS[name], "predict") else {}
    estimator = ESTIMATORS[name](**params, device=device)
    before = vars(estimator).copy()
    with pytest.raises(ValueError, match=rf"device='{device}' is not there"):
        estimator.fit(X, y)
    assert vars(estimator) == before


def test_absent_device_is_refused_in_encode():
    with pytest.raises(ValueError, match="device='meta' is not there"):
        encode(torch.nn.Linear(3, 2), np.zeros((4, 3)), device="meta")


@pytest.mark.parametrize("device", ["gpu", "", "cpu:x", "cuda:-1"])
def test_names_that_torch_does_not_know_are_refused(blobs, device):
    with pytest.raises(ValueError, match=f"device must be 'auto', .* got '{device}'"):
        sk_fewshot.PrototypicalTransformer(device=device).fit(*blobs)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu"), "auto"])
def test_present_devices_work(blobs, device):
    tiny = {"max_epochs": 1, "batches_per_epoch": 1}
    encoder = sk_fewshot.PrototypicalTransformer(**tiny, device=device).fit(*blobs)
    assert encoder.transform(blobs[0]).shape == (60, 64)
