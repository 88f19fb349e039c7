"""Transformers, losses, checkpoints and files."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils._pytree import tree_leaves

import sk_fewshot
from sk_fewshot import load, losses, save
from sk_fewshot.encoders import Conv4
from sk_fewshot.heads import (
    FullContext,
    MatchingHead,
    PrototypicalHead,
    RelationHead,
    SiameseHead,
)
from sk_fewshot.losses import EpisodeLoss
from sk_fewshot.metrics import make_pairs

TRANSFORMERS = [name for name in sk_fewshot.__all__ if name.endswith("Transformer")]
SHORT = {"max_epochs": 2, "batches_per_epoch": 2, "random_state": 0}
VARIANTS = {
    "SiameseTransformer": [{}, {"loss": "bce"}, {"loss": "bce", "metric": "cosine"}],
    "TripletTransformer": [
        {},
        {"mining": "all"},
        {"mining": "hard"},
        {"loss": "ratio"},
        {"metric": "cosine"},
    ],
    "PrototypicalTransformer": [{}, {"metric": "cosine"}, {"validation_classes": 0.4}],
    "MatchingTransformer": [{}, {"full_context": True}],
    "RelationTransformer": [{}, {"loss": "softmax"}],
}
CASES = [(name, params) for name in TRANSFORMERS for params in VARIANTS.get(name, [{}])]


def named(case):
    return str(case) if isinstance(case, dict) else case


def transformer(name, device, **params):
    return getattr(sk_fewshot, name)(device=device, **{**SHORT, **params})


def test_every_transformer_is_tried():
    assert len(TRANSFORMERS) >= 9


@pytest.mark.parametrize(("name", "params"), CASES, ids=named)
def test_transformer_learns_the_same(digits, device, assert_same, name, params):
    X, y, novel, _ = digits
    there = transformer(name, "twin", **params).fit(X, y)
    here = transformer(name, "cpu", **params).fit(X, y)
    assert all(p.device.type == "twin" for p in there.module_.parameters())
    losses = ([epoch["train_loss"] for epoch in e.history_] for e in (there, here))
    if "full_context" in params:  # the CPU's own LSTM rounds otherwise, which Adam amplifies
        np.testing.assert_allclose(*losses, rtol=1e-3)
        return
    assert_same(*losses)
    assert_same(there.transform(novel[:40]), here.transform(novel[:40]))


def test_generator_of_the_device_is_seeded_and_restored(digits):
    X, y, _, _ = digits
    states = []

    class Note(Callback):
        def on_epoch_begin(self, net, **kwargs):
            states.append(torch.twin.get_rng_state())

    settings = {"net_params": {"callbacks": [Note()]}, "max_epochs": 1}
    for seed in (1, 2):
        torch.twin.manual_seed(seed)
        before = torch.twin.get_rng_state()
        transformer("PrototypicalTransformer", "twin", **settings).fit(X, y)
        assert torch.equal(torch.twin.get_rng_state(), before)
    assert torch.equal(*states)
    assert not torch.equal(states[0], before)


@pytest.mark.parametrize("loss", ["contrastive", "bce"])
def test_pairs_are_learned_the_same(digits, device, assert_same, loss):
    X, y, novel, _ = digits
    pairs, same = make_pairs(X, y, n_pairs=60, random_state=0)
    found = []
    for n_batches in (1, 4):
        settings = {"loss": loss, "max_epochs": 1, "batches_per_epoch": n_batches}
        with device.waits() as waits:
            there = transformer("SiameseTransformer", "twin", **settings).fit_pairs(pairs, same)
        found.append(len(waits))
    assert found[1] - found[0] <= 3, "\n".join(map(str, waits))
    here = transformer("SiameseTransformer", "cpu", **settings).fit_pairs(pairs, same)
    assert_same(there.transform(novel[:40]), here.transform(novel[:40]))


@pytest.mark.parametrize(("name", "params"), CASES, ids=named)
def test_a_training_step_waits_for_the_device_at_most_once(digits, device, name, params):
    X, y, _, _ = digits
    counts = []
    for n_batches in (1, 4):
        settings = {**params, "max_epochs": 1, "batches_per_epoch": n_batches}
        settings.update(augment=lambda rows: rows.flip(-1), validation_classes=None)
        with device.waits() as waits:
            transformer(name, "twin", **settings).fit(X, y)
        counts.append(len(waits))
    assert counts[1] - counts[0] <= 3, "\n".join(map(str, waits))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_images_are_learned_the_same(digits, assert_same, name):
    X, y, novel, _ = digits
    X, novel = (x.reshape(-1, 1, 8, 8) for x in (X, novel[:20]))
    tiny = {"max_epochs": 1, "batches_per_epoch": 2, "module": Conv4}
    there = transformer(name, "twin", **tiny).fit(X, y)
    here = transformer(name, "cpu", **tiny).fit(X, y)
    assert_same(there.transform(novel), here.transform(novel))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_pickle_and_file_open_on_the_cpu(digits, tmp_path, name):
    X, y, novel, _ = digits
    fitted = transformer(name, "twin").fit(X, y)
    expected = fitted.transform(novel[:9])
    save(fitted, tmp_path / "fitted.sk")
    for moved in (pickle.loads(pickle.dumps(fitted)), load(tmp_path / "fitted.sk")):
        for module in (moved.module_, moved.loss_):
            assert all(t.device.type == "cpu" for t in module.state_dict().values())
        np.testing.assert_array_equal(moved.transform(novel[:9]), expected)
    np.testing.assert_array_equal(copy.deepcopy(fitted).transform(novel[:9]), expected)


def test_module_instance_on_the_device_is_taken_and_pickled(digits):
    X, y, novel, _ = digits
    module = nn.Linear(64, 8).to("twin")
    fitted = transformer("PrototypicalTransformer", "twin", module=module).fit(X, y)
    moved = pickle.loads(pickle.dumps(fitted))
    assert all(p.device.type == "cpu" for p in moved.module.parameters())
    np.testing.assert_array_equal(moved.transform(novel[:9]), fitted.transform(novel[:9]))


class Interrupt(Callback):
    """Presses Ctrl-C in the last epoch, where asked to."""

    pressed = False

    def on_batch_end(self, net, **kwargs):
        if Interrupt.pressed and net.history[-1, "epoch"] == SHORT["max_epochs"]:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name", ["PrototypicalTransformer", "RelationTransformer", "SphereFaceTransformer"]
)
def test_interrupted_training_resumes_to_the_same(digits, tmp_path, monkeypatch, name):
    X, y, novel, _ = digits
    settings = {"net_params": {"callbacks": [Interrupt()]}}
    whole = transformer(name, "twin", **settings).fit(X, y)
    path = tmp_path / "checkpoint"
    monkeypatch.setattr(Interrupt, "pressed", True)
    with pytest.raises(KeyboardInterrupt):
        transformer(name, "twin", checkpoint=path, **settings).fit(X, y)
    tensors = tree_leaves(torch.load(io.BytesIO(path.read_bytes().split(b"\n", 1)[1])))
    assert all(t.device.type == "cpu" for t in tensors if isinstance(t, torch.Tensor))
    monkeypatch.undo()
    resumed = transformer(name, "twin", checkpoint=path, **settings).fit(X, y)
    np.testing.assert_array_equal(resumed.transform(novel[:9]), whole.transform(novel[:9]))


METRICS = ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]
LOSSES = [
    *(losses.ContrastiveLoss(metric=metric) for metric in METRICS),
    *(losses.PairBCELoss(6, metric) for metric in METRICS),
    *(losses.TripletRatioLoss(metric) for metric in METRICS),
    *(
        losses.TripletLoss(mining=mining, metric=metric, soft=soft)
        for mining in ("all", "hard", "semihard")
        for metric in METRICS
        for soft in (True, False)
    ),
    *(loss(9, 6) for loss in (losses.SphereFaceLoss, losses.AMSoftmaxLoss, losses.ArcFaceLoss)),
    losses.SupConLoss(),
    EpisodeLoss(PrototypicalHead()),
    EpisodeLoss(PrototypicalHead("cosine")),
    EpisodeLoss(MatchingHead()),
    EpisodeLoss(MatchingHead(context=FullContext(6))),
    EpisodeLoss(SiameseHead()),
    EpisodeLoss(SiameseHead(comparator=losses.PairBCELoss(6))),
    EpisodeLoss(RelationHead(6)),
    EpisodeLoss(RelationHead(6, loss="softmax", pooling="sum")),
]


def described(loss):
    settings = (getattr(loss, key, None) for key in ("mining", "metric", "soft", "head"))
    return "-".join(
        [type(loss).__name__, *(str(s).split("(")[0] for s in settings if s is not None)]
    )


def batch():
    """Embeddings (27, 6) of nine classes, class by class, two of them equal, and their labels."""
    z = torch.randn(27, 6, generator=torch.Generator().manual_seed(0))
    z[3] = z[0]
    z[4] = z[5]
    return z, torch.arange(9).repeat_interleave(3)


def value_and_gradients(loss, z, y):
    z = z.requires_grad_()
    value = loss(z, y)
    value.backward()
    return value, z.grad, *(p.grad for p in loss.parameters() if p.grad is not None)


@pytest.mark.parametrize("loss", LOSSES, ids=described)
@pytest.mark.parametrize("order", ["class by class", "mixed"])
def test_loss_and_gradients_are_the_same(assert_same, loss, order):
    z, y = batch()
    if order == "mixed":
        shuffled = torch.randperm(27, generator=torch.Generator().manual_seed(1))
        z, y = z[shuffled], y[shuffled]
    expected = value_and_gradients(copy.deepcopy(loss), z.clone(), y)
    there = value_and_gradients(copy.deepcopy(loss).to("twin"), z.to("twin"), y.to("twin"))
    assert all(x.device.type == "twin" for x in there)
    bitwise = {"bitwise": False} if getattr(getattr(loss, "head", None), "context", None) else {}
    for ours, other in zip(there, expected, strict=True):
        assert_same(ours, other, **bitwise)


@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_labels_may_stay_on_the_cpu(assert_same, loss):
    z, y = batch()
    loss = copy.deepcopy(loss).to("twin").eval()
    assert_same(loss(z.to("twin"), y), loss(z.to("twin"), y.to("twin")))


def test_labels_outside_the_classes_are_refused():
    z, y = batch()
    loss = losses.ArcFaceLoss(8, 6).to("twin")
    with pytest.raises(ValueError, match=r"from 0 to n_classes - 1 = 7, got labels from 0 to 8"):
        loss(z.to("twin"), y.to("twin"))
    with pytest.raises(ValueError, match="An episode needs classes of one size above n_shot=3"):
        EpisodeLoss(PrototypicalHead(), 3)(z.to("twin"), y.to("twin"))
