"""A module instance as parameter: its pickle depends on its content, and brings it back whole."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from torch import nn

from sk_fewshot import PrototypicalTransformer, TripletTransformer
from sk_fewshot.encoders import Conv4
from sk_fewshot.losses import TripletLoss


class Everything(nn.Module):
    """Tied weights, weights in lists, types that numpy lacks, odd shapes and memory layouts."""

    def __init__(self):
        super().__init__()
        self.conv4 = Conv4((1, 8, 8), n_filters=4)
        self.lstm = nn.LSTM(3, 4, 2)
        self.tied, self.same = nn.Linear(4, 4), nn.Linear(4, 4)
        self.same.weight = self.tied.weight
        self.in_a_list = [self.tied, self.same]
        self.fixed = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64), requires_grad=False)
        self.listed = nn.ParameterList([nn.Parameter(torch.ones(2))])
        self.register_buffer("scalar", torch.tensor(3, dtype=torch.bfloat16))
        self.register_buffer("expanded", torch.ones(1, 3).expand(5, 3))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("missing", None)


@pytest.fixture(scope="module")
def blobs(clusters):
    """Four classes of eight examples."""
    return clusters(4, 8)


@pytest.mark.parametrize(
    "transformer",
    [
        PrototypicalTransformer(module=Everything()),
        TripletTransformer(loss=TripletLoss(), module=nn.Linear(5, 3), augment=nn.BatchNorm1d(5)),
    ],
    ids=["module", "loss and augment"],
)
def test_clones_hash_alike_and_others_do_not(transformer):
    hashes = {joblib.hash(clone(transformer)) for _ in range(5)}
    hashes.add(joblib.hash(pickle.loads(pickle.dumps(transformer))))
    assert len(hashes) == 1
    other = clone(transformer)
    with torch.no_grad():
        next(other.module.parameters()).view(-1)[0] += 1
    assert joblib.hash(other) not in hashes


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["copy", "pickle"]
)
def test_a_copy_is_whole(copied):
    module = Everything()
    made = copied(PrototypicalTransformer(module=module)).module
    theirs = made.state_dict(keep_vars=True)
    for name, tensor in module.state_dict(keep_vars=True).items():
        assert type(theirs[name]) is type(tensor), name
        assert theirs[name].dtype == tensor.dtype, name
        assert theirs[name].requires_grad == tensor.requires_grad, name
        assert torch.equal(theirs[name], tensor), name
        assert name == "expanded" or theirs[name].stride() == tensor.stride(), name
        assert theirs[name].numel() == 0 or theirs[name].data_ptr() != tensor.data_ptr(), name
    assert made.same.weight is made.tied.weight
    assert made.in_a_list == [made.tied, made.same]
    assert made.lstm(torch.zeros(2, 1, 3))[0].shape == (2, 1, 4)


calls = []


def counted(batch):
    calls.append(len(batch))
    return batch


def test_memory_of_a_pipeline_fits_an_encoder_once_a_split(blobs, tmp_path):
    X, y = blobs
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    encoder = PrototypicalTransformer(
        module=module, augment=counted, max_epochs=1, batches_per_epoch=1, random_state=0
    )
    steps = [("encoder", encoder), ("classifier", KNeighborsClassifier())]
    search = GridSearchCV(
        Pipeline(steps, memory=str(tmp_path)), {"classifier__n_neighbors": [1, 2, 3]}, cv=2
    )
    calls.clear()
    search.fit(X, y)
    assert len(calls) == 3  # two splits and all of X
    plain = GridSearchCV(Pipeline(steps), search.param_grid, cv=2).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), plain.predict_proba(X))
