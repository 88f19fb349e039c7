"""folded: the same function in eval mode, fewer layers, the original unchanged."""

import copy
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


def test__folded_once__follows_changes_of_the_weights():
    module = nn.Sequential(nn.Linear(3, 2)).eval()
    first = folded_once(module)
    assert folded_once(module) is first
    with torch.no_grad():
        module[0].weight += 1
    x = torch.randn(4, 3)
    torch.testing.assert_close(folded_once(module)(x), module(x))
