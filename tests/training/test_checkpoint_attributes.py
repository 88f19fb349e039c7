"""What modules, losses and augmentations keep beside their `state_dict`: resumed, or refused."""

import random
from collections import deque

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Freezer
from torch import nn

from sk_fewshot import PrototypicalTransformer, SphereFaceTransformer, TripletTransformer
from sk_fewshot.augmentation import RandomAffine


class Interrupt(Callback):
    """Presses Ctrl-C in the middle of an epoch."""

    epoch = None

    def on_batch_begin(self, net, training=False, **kwargs):
        if net.history[-1, "epoch"] == Interrupt.epoch and len(net.history[-1, "batches"]) == 1:
            raise KeyboardInterrupt


def resumed(make, X, y, path):
    """Fit with Ctrl-C in the second and in the fourth epoch, then to the end."""
    try:
        for Interrupt.epoch in (2, 4):
            with pytest.raises(KeyboardInterrupt):
                make(checkpoint=path).fit(X, y)
    finally:
        Interrupt.epoch = None
    return make(checkpoint=path).fit(X, y)


TINY = {
    "max_epochs": 4,
    "batches_per_epoch": 2,
    "random_state": 0,
    "net_params": {"callbacks": [Interrupt()]},
}


class Steps(nn.Linear):
    """Grows with what it has seen, kept in all kinds of attributes."""

    def __init__(self, n_features):
        super().__init__(n_features, 4)
        self.n_steps = 0
        self.seen = [(0, {"largest": np.float32(0)})]
        self.register_buffer("passing", torch.zeros(4), persistent=False)
        self.parts = [self.weight, self]

    def forward(self, x):
        if self.training:
            self.n_steps += 1
            self.mean = x.mean().detach()
            self.passing = self.passing + self.mean
            self.seen = [(self.n_steps, {"largest": x.max().item()})]
        return super().forward(x) * (1 + self.n_steps) + self.passing + self.seen[0][1]["largest"]


class Patient(nn.Module):
    """A loss that remembers embeddings in a tuple."""

    def __init__(self):
        super().__init__()
        self.last = (torch.zeros(1), 0)

    def forward(self, embeddings, y):
        distance = (embeddings - self.last[0]).square().mean() + embeddings.square().mean()
        if self.training:
            self.last = (embeddings.detach().mean(0), self.last[1] + 1)
        return distance


class Louder:
    """An augmentation that grows louder."""

    def __init__(self):
        self.volume = 0.0

    def __call__(self, batch):
        self.volume += 0.1
        return batch + self.volume * torch.randn_like(batch)


class LouderModule(nn.Module):
    """One that keeps its volume in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("volume", torch.zeros(()))

    def forward(self, batch):
        self.volume += 0.1
        return batch + self.volume * torch.randn_like(batch)


@pytest.mark.parametrize(
    "params",
    [
        {"module": Steps},
        {"loss": Patient},
        {"augment": Louder()},
        {"augment": LouderModule()},
        {"augment": RandomAffine(), "image_shape": (1, 1, 5)},
    ],
    ids=["module", "loss", "object", "augment module", "RandomAffine"],
)
def test_attributes_that_change_go_on(blobs, tmp_path, params):
    def make(**more):
        # an augmentation is not cloned by fit: each fit begins with one as it was
        fresh = {k: type(v)() if k == "augment" else v for k, v in params.items()}
        return TripletTransformer(**TINY, **{"loss": "hinge", **fresh}, **more)

    whole = make().fit(*blobs)
    again = resumed(make, *blobs, tmp_path / "checkpoint")
    np.testing.assert_array_equal(again.transform(blobs[0]), whole.transform(blobs[0]))
    assert [e["train_loss"] for e in again.history_] == [e["train_loss"] for e in whole.history_]


def test_memory_of_a_loss_of_pytorch_metric_learning_goes_on(blobs, tmp_path):
    losses = pytest.importorskip("pytorch_metric_learning.losses")

    def make(**more):
        loss = losses.CrossBatchMemory(losses.NTXentLoss(), embedding_size=64, memory_size=200)
        return TripletTransformer(
            **TINY, loss=loss, classes_per_batch=6, samples_per_class=4, **more
        )

    whole = make().fit(*blobs)
    again = resumed(make, *blobs, tmp_path / "checkpoint")
    assert 0 < again.loss_.queue_idx == whole.loss_.queue_idx
    np.testing.assert_array_equal(again.transform(blobs[0]), whole.transform(blobs[0]))


class Recent(nn.Module):
    """A loss whose memory is a deque."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()
        self.inner.recent = deque(maxlen=3)

    def forward(self, embeddings, y):
        self.inner.recent.append(float(embeddings.detach().mean()))
        return embeddings.square().mean()


class OwnGenerator:
    """An augmentation that draws from a generator of its own."""

    def __init__(self, generator):
        self.generator = generator

    def __call__(self, batch):
        if isinstance(self.generator, torch.Generator):
            return batch + torch.rand(1, generator=self.generator)
        return batch + self.generator.random()


def drawing():
    generator = np.random.default_rng(0)
    return lambda batch: batch + generator.random()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": Recent}, r"loss changes in its attribute 'inner.recent'.*deque"),
        ({"augment": OwnGenerator(np.random.default_rng(0))}, r"augment .*'generator'.*Generator"),
        ({"augment": OwnGenerator(random.Random(0))}, r"augment .*'generator'.*Random"),
        ({"augment": OwnGenerator(torch.Generator())}, r"augment .*'generator'.*Generator"),
        ({"augment": drawing()}, r"augment changes as it trains, to <function"),
    ],
    ids=["deque", "numpy", "python", "torch", "closure"],
)
def test_what_a_file_cannot_hold_is_refused(blobs, tmp_path, params, message):
    params = {**TINY, "loss": "hinge", **params}
    path = tmp_path / "checkpoint"
    with pytest.raises(ValueError, match=f"{message}.*which a checkpoint cannot hold"):
        TripletTransformer(**params, checkpoint=path).fit(*blobs)
    assert TripletTransformer(**params).fit(*blobs).n_iter_ == 4


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_a_freezer_froze_stays_frozen(blobs, tmp_path, at):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def make(**more):
        callbacks = [Freezer(["0.*", "1.*"], at=at), Interrupt()]
        params = {**TINY, "net_params": {"callbacks": callbacks}, **more}
        return PrototypicalTransformer(module=module, **params)

    whole = make().fit(*blobs)
    again = resumed(make, *blobs, tmp_path / "checkpoint")
    for name, weight in whole.module_.state_dict().items():
        assert torch.equal(again.module_.state_dict()[name], weight), name


def test_a_finished_training_brings_its_attributes_back(blobs, tmp_path):
    params = {**TINY, "checkpoint": tmp_path / "checkpoint", "module": Steps}
    first = SphereFaceTransformer(**params).fit(*blobs)
    again = SphereFaceTransformer(**params).fit(*blobs)
    assert again.module_.n_steps == first.module_.n_steps == 8
    np.testing.assert_array_equal(again.transform(blobs[0]), first.transform(blobs[0]))
