"""folded: the same function in eval mode, fewer layers, the original unchanged."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sk_fewshot.encoders import MLP, Conv4, folded
from sk_fewshot.encoders._folding import folded_once


def trained(module, x):
    """Statistics and weights that differ from their initial values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for _ in range(3):
            module(2 * x + 1)
    return module


class Shared(nn.Module):
    """One convolution under two names, followed by BatchNorm under one of them only."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding=1)
        self.second = nn.Sequential(self.first, nn.BatchNorm2d(2))

    def forward(self, x):
        return self.second(self.first(x)).mean((2, 3))


class Branches(nn.Module):
    """What tracing would not see: the forward pass looks at its input."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))

    def forward(self, x):
        if x.shape[-1] > 3:
            x = self.blocks(x)
        return x.flatten(1)


def batch_statistics():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))


def weight_norm():
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.BatchNorm2d(3))


def twice():
    block = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    return nn.Sequential(block, nn.ReLU(), block)


MODULES = {
    "conv4": lambda: Conv4((2, 8, 8)),
    "no affine": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False)),
    "groups": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, stride=2), nn.BatchNorm2d(4)),
    "one dimension": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(2, 3, 5), nn.BatchNorm1d(3), nn.Flatten()
    ),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.BatchNorm1d(9)),
    "mlp": lambda: nn.Sequential(nn.Flatten(), MLP(128)),
    "dropout": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Dropout(0.5), nn.BatchNorm2d(3)),
    "shared": Shared,
    "branches": Branches,
    "batch statistics": batch_statistics,
    "weight norm": weight_norm,
    "twice": twice,
}


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test__values__equal_eval_mode(name):
    torch.manual_seed(0)
    x = torch.randn(5, 2, 8, 8)
    module = trained(MODULES[name](), x)
    before = copy.deepcopy(module.state_dict())
    result = folded(module)
    assert module.training
    assert not any(child.training for child in result.modules())
    torch.testing.assert_close(result(x), module.eval()(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["conv4", "no affine", "groups", "one dimension", "branches"])
def test__batch_norm__gone(name):
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert not any(isinstance(child, norms) for child in folded(MODULES[name]()).modules())


def test__hooks__see_the_same():
    seen = []
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    trained(module, torch.randn(4, 2, 8, 8))
    module[0].register_forward_hook(lambda _, __, output: seen.append(output))
    x = torch.randn(1, 2, 8, 8)
    folded(module)(x)
    module.eval()(x)
    torch.testing.assert_close(*seen)


def test__channels_last__kept():
    result = folded(Conv4((3, 8, 8)))
    for block in result.blocks:
        assert block[0].weight.is_contiguous(memory_format=torch.channels_last)


def test__threads__do_not_disturb_each_other():
    module = Conv4((1, 8, 8), n_filters=4)
    x = torch.randn(2, 1, 8, 8)
    expected = folded(module)(x)
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda _: folded(module)(x), range(50))
        assert all(torch.equal(result, expected) for result in results)


class Owner:
    """Lives as long as the copy is wanted."""


class Net(nn.Module):
    """What is folded, what is shared, and attributes of all kinds."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.LeakyReLU(0.1))
        self.head = nn.Linear(108, 5)
        self.register_buffer("shift", torch.zeros(5))
        self.steps = [[self.blocks, nn.Flatten()], [self.head]]
        self.factors = {"of": [1.0]}
        self.scale = torch.ones(())
        self.power = 1.0

    def forward(self, x):
        for step in (step for some in self.steps for step in some):
            x = step(x)
        return x**self.power * self.scale * self.factors["of"][0] + self.shift


class Doubled(nn.Linear):
    """Another class with the same attributes."""

    def forward(self, x):
        return 2 * super().forward(x)


CHANGES = {
    "data": lambda m: m.head.weight.data.zero_(),
    "data of a convolution": lambda m: m.blocks[0].weight.data.zero_(),
    "data of a BatchNorm": lambda m: m.blocks[1].running_var.data.fill_(9),
    "in place": lambda m: m.blocks[1].bias.requires_grad_(False).add_(1),
    "another memory": lambda m: setattr(m.head.weight, "data", torch.ones(5, 108)),
    "another memory of a convolution": lambda m: setattr(
        m.blocks[0].weight, "data", torch.ones(3, 2, 3, 3)
    ),
    "a buffer": lambda m: m.shift.fill_(3),
    "another buffer": lambda m: setattr(m, "shift", torch.ones(5)),
    "another parameter": lambda m: setattr(m.head, "bias", nn.Parameter(torch.ones(5))),
    "a replaced layer": lambda m: m.blocks.__setitem__(2, nn.Tanh()),
    "a replaced convolution": lambda m: m.blocks.__setitem__(0, nn.Conv2d(2, 3, 3)),
    "a replaced BatchNorm": lambda m: m.blocks.__setitem__(1, nn.Identity()),
    "an added layer": lambda m: m.blocks.append(nn.Sigmoid()),
    "a deleted layer": lambda m: m.blocks.__delitem__(2),
    "steps": lambda m: m.steps[0].append(nn.Sigmoid()),
    "a setting of a layer": lambda m: setattr(m.blocks[2], "negative_slope", 0.9),
    "a number": lambda m: setattr(m, "power", 2.0),
    "a plain tensor": lambda m: m.scale.fill_(7),
    "another plain tensor": lambda m: setattr(m, "scale", torch.tensor(7.0)),
    "within a dict": lambda m: m.factors["of"].__setitem__(0, 5.0),
    "a hook": lambda m: m.blocks[0].register_forward_hook(lambda *args: args[2] * 2),
    "a parametrization": lambda m: (
        parametrizations.weight_norm(m.head)
        .parametrizations.weight[0]
        .register_forward_hook(lambda *args: args[2] * 2)
    ),
    "another forward": lambda m: setattr(m.head, "forward", lambda x: x[:, :5]),
    "another class": lambda m: setattr(m.head, "__class__", Doubled),
    "double": lambda m: m.double(),
    "loaded": lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}),
}


def outputs(module, owner):
    x = torch.linspace(-1, 1, 256).reshape(2, 2, 8, 8)
    with torch.inference_mode():
        return folded_once(module, owner)(x.to(next(module.parameters()).dtype))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("before", [[], ["a number"], ["a replaced convolution", "a buffer"]])
def test__folded_once__follows_whatever_is_changed(name, before):
    torch.manual_seed(0)
    module, owner = Net().eval(), Owner()
    for first in before:
        CHANGES[first](module)
        outputs(module, owner)
    was = outputs(module, owner)
    assert torch.equal(outputs(module, owner), was)
    CHANGES[name](module)
    module.eval()
    now = outputs(module, owner)
    x = torch.linspace(-1, 1, 256).reshape(2, 2, 8, 8).to(now.dtype)
    torch.testing.assert_close(now, module(x), check_device=False)
    torch.testing.assert_close(now, folded(module)(x))
    if name not in before:
        assert now.dtype != was.dtype or not torch.equal(now, was)


def test__folded_once__is_one_copy_until_then():
    module, owner = Net().eval(), Owner()
    first = folded_once(module, owner)
    assert folded_once(module, owner) is first
    assert first.head.weight is module.head.weight
    assert first.steps[0][0] is first.blocks is not module.blocks
    module.train()
    assert not folded_once(module, owner).training
    other = Net().eval()
    assert folded_once(other, owner).head.weight is other.head.weight


def test__folded_once__ends_with_its_owner():
    module, owner = Net().eval(), Owner()
    module.itself = [module]
    alive = weakref.ref(folded_once(module, owner))
    del owner
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", MODULES)
def test__folded_once__equals_folded(name):
    torch.manual_seed(0)
    x = torch.randn(5, 2, 8, 8)
    module = trained(MODULES[name](), x).eval()
    with torch.inference_mode():
        assert torch.equal(folded_once(module, Owner())(x), folded(module)(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test__folded_once__of_a_script():
    module = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU())).eval()
    owner, x = Owner(), torch.randn(4, 3)
    with torch.inference_mode():
        assert torch.equal(folded_once(module, owner)(x), module(x))
        next(module.parameters()).zero_()
        assert torch.equal(folded_once(module, owner)(x), module(x))
