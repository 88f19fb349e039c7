"""What is frozen computes bitwise the same before and after `fit`, and the rest learns."""

import copy
import inspect

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Freezer
from torch import nn

import sk_fewshot
from sk_fewshot import (
    PrototypicalTransformer,
    RelationTransformer,
    SphereFaceTransformer,
    load,
    save,
)
from sk_fewshot.transformers import __all__ as TRANSFORMERS

TINY = {"max_epochs": 3, "batches_per_epoch": 4, "random_state": 0}


class Pretrained(nn.Module):
    """A body with everything that changes without a gradient, and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.BatchNorm1d(8, affine=False)
        )
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


class KeepsItsBody(Pretrained):
    """Keeps the statistics of its body by itself, in the usual way; its weights learn."""

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self


@pytest.fixture
def pretrained(blobs):
    """A body with statistics of its own."""
    torch.manual_seed(0)
    module = Pretrained()
    module(torch.from_numpy(3 * blobs[0] + 1))
    return module.eval()


def without_gradient(module, names=("body",)):
    for name in names:
        module.get_submodule(name).requires_grad_(False)
    return module


def noisy(batch):
    return 2 * batch + 0.1 * torch.randn_like(batch)


def assert_same(part, before, X):
    for name, tensor in before.state_dict().items():
        assert torch.equal(part.state_dict()[name], tensor), name
    x = torch.from_numpy(X)
    with torch.no_grad():
        assert torch.equal(part(x), before(x))


WAYS = {
    "parameter": lambda module: {"module": module, "frozen": ["body"]},
    "a pattern of parts": lambda module: {"module": module, "frozen": ("bod?.*",)},
    "Freezer": lambda m: {"module": m, "net_params": {"callbacks": [Freezer("body.*")]}},
    "no gradient": lambda module: {"module": without_gradient(copy.deepcopy(module))},
}


@pytest.mark.parametrize("augment", [None, noisy])
@pytest.mark.parametrize("validation_classes", [None, 0.4])
@pytest.mark.parametrize("way", WAYS)
def test_frozen_body_stays_and_the_rest_learns(blobs, pretrained, way, validation_classes, augment):
    params = {**TINY, "augment": augment, "validation_classes": validation_classes}
    encoder = PrototypicalTransformer(**params, **WAYS[way](pretrained)).fit(*blobs)
    assert_same(encoder.module_.body, pretrained.body, blobs[0])
    assert not torch.equal(encoder.module_.head.weight, pretrained.head.weight)
    assert not torch.equal(encoder.module_.norm.running_mean, pretrained.norm.running_mean)


def test_batches_meet_frozen_parts_in_eval_mode(blobs, pretrained):
    modes = []

    class Watch(Callback):
        def on_grad_computed(self, net, **kwargs):
            parts = net.module_
            modes.append((parts.body.training, parts.body[2].training, parts.norm.training))

    params = {**TINY, "validation_classes": 0.4, "net_params": {"callbacks": [Watch()]}}
    PrototypicalTransformer(**params, module=pretrained, frozen=["body"]).fit(*blobs)
    assert modes == [(False, False, True)] * 12


def test_single_layers_and_parameters_are_frozen_by_name(blobs, pretrained):
    params = {**TINY, "module": pretrained}
    encoder = PrototypicalTransformer(**params, frozen=["*.weight", "norm"]).fit(*blobs)
    before, after = pretrained.state_dict(), encoder.module_.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"body.0.bias", "body.1.bias", "body.1.running_mean", "head.bias"} <= changed
    assert not any("weight" in name or "norm" in name for name in changed)


def test_from_the_epoch_on_in_which_it_is_frozen(blobs, pretrained):
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(copy.deepcopy(net.module_.body))

    callbacks = {"callbacks": [Freezer("body.*", at=2), Watch()]}
    PrototypicalTransformer(**TINY, module=pretrained, net_params=callbacks).fit(*blobs)
    assert not torch.equal(seen[0][1].running_mean, pretrained.body[1].running_mean)
    for later in seen[1:]:
        assert_same(later.eval(), seen[0].eval(), blobs[0])


def test_statistics_that_a_module_keeps_itself_are_not_renewed(blobs, pretrained):
    module = KeepsItsBody()
    module.load_state_dict(pretrained.state_dict())
    encoder = PrototypicalTransformer(**TINY, module=module, augment=noisy).fit(*blobs)
    for i in (1, 3):
        assert torch.equal(encoder.module_.body[i].running_mean, module.body[i].running_mean)
    assert not torch.equal(encoder.module_.body[0].weight, module.body[0].weight)


def test_a_loss_may_learn_beside_a_frozen_encoder(blobs, pretrained):
    encoder = RelationTransformer(**TINY, module=pretrained, frozen=["*"], augment=noisy)
    encoder.fit(*blobs)
    assert_same(encoder.module_, pretrained, blobs[0])
    untrained = RelationTransformer(**{**TINY, "lr": 1e-30}, module=pretrained, frozen=["*"])
    before, after = untrained.fit(*blobs).head_.state_dict(), encoder.head_.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("way", ["parameter", "Freezer", "no gradient", "no parameters"])
def test_nothing_to_learn_is_an_error(blobs, pretrained, way):
    params = {
        "parameter": {"module": pretrained, "frozen": ["*"]},
        "Freezer": {"module": pretrained, "net_params": {"callbacks": [Freezer("*")]}},
        "no gradient": {"module": without_gradient(pretrained, [""])},
        "no parameters": {"module": nn.BatchNorm1d(5, affine=False)},
    }[way]
    with pytest.raises(ValueError, match=r"nothing that learns: .* frozen|empty parameter list"):
        PrototypicalTransformer(**TINY, **params).fit(*blobs)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracing reads it
def test_frozen_parts_of_a_compiled_network(blobs, pretrained):
    compiled = {"compile": True, "compile__backend": "eager"}
    params = {**TINY, "module": pretrained, "frozen": ["body"], "augment": noisy}
    encoder = PrototypicalTransformer(**params, net_params=compiled).fit(*blobs)
    assert_same(encoder.module_.body, pretrained.body, blobs[0])
    plain = PrototypicalTransformer(**params).fit(*blobs)
    np.testing.assert_array_equal(encoder.transform(blobs[0]), plain.transform(blobs[0]))


def test_clipping_decay_and_groups_leave_it_alone(blobs, pretrained):
    groups = [("body.*", {"lr": 0.1}), ("head.*", {"lr": 0.01})]
    encoder = SphereFaceTransformer(
        **TINY,
        module=pretrained,
        frozen=["body"],
        optimizer="adamw",
        net_params={"optimizer__weight_decay": 0.5, "optimizer__param_groups": groups},
    ).fit(*blobs)
    assert_same(encoder.module_.body, pretrained.body, blobs[0])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_transformer_freezes_and_says_so_alike(name):
    cls = getattr(sk_fewshot, name)
    rng = np.random.default_rng(0)
    X, y = rng.random((24, 1, 8, 8), dtype=np.float32), np.repeat(range(4), 6)
    params = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}
    encoder = cls(**params, frozen=["*blocks.0.*", "*blocks.1"]).fit(X, y)
    frozen = [p.requires_grad for p in encoder.module_.parameters()]
    assert frozen[:6] == [False] * 6
    assert all(frozen[6:])
    described = inspect.getdoc(cls).partition("frozen : ")[2].partition("augment : ")[0]
    of_another = inspect.getdoc(PrototypicalTransformer).partition("frozen : ")[2]
    assert described == of_another.partition("augment : ")[0] != ""


def test_frozen_is_saved(blobs, tmp_path):
    encoder = PrototypicalTransformer(**TINY, frozen=["learned.0", "scale"]).fit(*blobs)
    save(encoder, tmp_path / "encoder")
    loaded = load(tmp_path / "encoder")
    assert loaded.frozen == ["learned.0", "scale"]
    np.testing.assert_array_equal(loaded.transform(blobs[0]), encoder.transform(blobs[0]))
