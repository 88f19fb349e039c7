"""The recipes for speed in the guide: torch.compile and bfloat16."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer, episode_score
from sk_fewshot.encoders import Conv4

SHORT = {"max_epochs": 2, "batches_per_epoch": 20, "n_way": 5, "random_state": 0}


class BFloat16(nn.Module):
    """Computes in bfloat16 where it is safe."""

    def __init__(self, image_shape):
        super().__init__()
        self.encoder = Conv4(image_shape)

    def forward(self, x):
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.encoder(x).float()


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracing reads it
def test__compile__trains_the_same_network(digits):
    X, y = digits
    # this backend needs no C++ compiler
    compiled = {"compile": True, "compile__backend": "eager"}
    plain = PrototypicalTransformer(**SHORT).fit(X[y < 5], y[y < 5])
    fitted = PrototypicalTransformer(**SHORT, net_params=compiled).fit(X[y < 5], y[y < 5])
    assert type(fitted.net_.module_) is not Conv4
    assert type(fitted.module_) is Conv4
    np.testing.assert_array_equal(fitted.transform(X[:50]), plain.transform(X[:50]))


def test__bfloat16__learns_as_float32_does(digits):
    X, y = digits
    scores = []
    for module in (None, BFloat16):
        clf = PrototypicalClassifier(PrototypicalTransformer(module=module, **SHORT))
        clf.meta_fit(X[y < 5], y[y < 5])
        scores.append(episode_score(clf, X[y >= 5], y[y >= 5], random_state=0))
    difference = abs(scores[0].mean - scores[1].mean)
    assert difference < 0.05
    assert scores[1].mean > 0.6
