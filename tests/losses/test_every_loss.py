"""What holds for every loss on embeddings and labels."""

import copy
import inspect

import pytest
import torch

from sk_fewshot import losses
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss, TripletLoss, TripletRatioLoss


def made(name):
    """One of the package's losses, for 6 classes and embeddings of 4 numbers."""
    cls, sizes = getattr(losses, name), {"n_classes": 6, "embedding_dim": 4}
    needed = inspect.signature(cls).parameters
    return cls(**{size: value for size, value in sizes.items() if size in needed})


# EpisodeLoss takes batches of equal classes alone, and has its test beside the heads.
SINGLE = [made(name) for name in losses.__all__ if name != "EpisodeLoss"]
METRICS = ["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]
ON_PAIRS = [ContrastiveLoss(metric=metric) for metric in METRICS]
ON_PAIRS += [PairBCELoss(4, metric) for metric in METRICS]
ON_TRIPLETS = [TripletRatioLoss(metric) for metric in METRICS]
ON_TRIPLETS += [
    TripletLoss(mining=mining, metric=metric, normalize=normalize, soft=soft)
    for mining in ("all", "hard", "semihard")
    for metric in METRICS
    for normalize in (True, False)
    for soft in (True, False)
]
ON_CLASSES = [loss for loss in SINGLE if hasattr(loss, "logits")]
BY_METRIC = ON_PAIRS + ON_TRIPLETS
LOSSES = BY_METRIC + [loss for loss in SINGLE if type(loss) not in set(map(type, BY_METRIC))]


def name(loss):
    settings = (getattr(loss, key, "") for key in ("mining", "metric", "normalize", "soft"))
    return "-".join([type(loss).__name__, *map(str, settings)]).rstrip("-")


every_loss = pytest.mark.parametrize("loss", LOSSES, ids=name)
every_kind = pytest.mark.parametrize("loss", SINGLE, ids=name)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(24, 4, generator=generator)
    z[6] = z[0]  # of one class
    z[7] = z[2]  # of two classes
    z[8:10] = 0
    return z, torch.arange(24) % 6


def value_and_gradient(loss, z, y):
    loss = copy.deepcopy(loss).to(z.dtype if z.dtype == torch.float64 else torch.float32)
    z = z.clone().requires_grad_()
    value = loss(z, y)
    value.backward()
    return value.detach(), z.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
@every_loss
def test_loss__tiny_and_huge_embeddings__value_and_gradient_are_finite(loss, batch, scale, dtype):
    z, y = batch
    squared_again = isinstance(loss, ContrastiveLoss) and loss.metric in ("sqeuclidean", "dot")
    if squared_again and dtype == torch.float32:
        scale = min(scale, 1e8)  # to the fourth power 1e32, and float32 ends at 1e38
    value, gradient = value_and_gradient(loss, z.to(dtype) * scale, y)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
@every_kind
def test_loss__bfloat16_autocast__is_computed_in_full_precision(loss, batch, scale):
    z, y = batch
    z = (z * scale).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = copy.deepcopy(loss)(z.requires_grad_(), y)
    value.backward()
    assert value.dtype == torch.float32
    assert z.grad.isfinite().all()
    wanted, gradient = value_and_gradient(loss, z.detach().float(), y)
    assert value == wanted
    assert torch.equal(z.grad, gradient.bfloat16())


@every_loss
def test_loss__float32__is_near_float64(loss, batch):
    z, y = batch
    z = z[torch.arange(24) != 9] + 1e-3 * torch.arange(23).unsqueeze(1)  # no ties
    y = y[torch.arange(24) != 9]
    value, gradient = value_and_gradient(loss, z, y)
    wanted, wanted_gradient = value_and_gradient(loss, z.double(), y)
    torch.testing.assert_close(value, wanted.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, wanted_gradient.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("y", [[0], [0, 1], [0, 1, 2], [3, 3, 3], []], ids=str)
@pytest.mark.parametrize("loss", ON_TRIPLETS, ids=name)
def test_loss__no_triplet__is_zero_and_still_connected(loss, y):
    z = 1e15 * torch.ones(len(y), 4)
    value, gradient = value_and_gradient(loss, z, torch.tensor(y, dtype=torch.int64))
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(z))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("loss", ON_PAIRS, ids=name)
def test_loss__no_pair__is_zero_and_still_connected(loss, n):
    z = 1e15 * torch.ones(n, 4)
    value, gradient = value_and_gradient(loss, z, torch.zeros(n, dtype=torch.int64))
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(z))


@pytest.mark.parametrize("loss", ON_CLASSES, ids=name)
def test_loss__no_example__is_zero_and_still_connected(loss):
    value, gradient = value_and_gradient(loss, torch.ones(0, 4), torch.ones(0, dtype=torch.int64))
    assert value == 0
    assert gradient.shape == (0, 4)


@every_kind
def test_loss__not_a_number__is_not_hidden(loss, batch):
    z, y = batch
    z[3, 1] = torch.nan
    assert copy.deepcopy(loss)(z, y).isnan()


@every_kind
def test_loss__examples_in_another_order__is_the_same(loss, batch):
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(24, 4, generator=generator, dtype=torch.float64), batch[1]
    order = torch.randperm(24, generator=generator)
    value, gradient = value_and_gradient(loss, z, y)
    shuffled, shuffled_gradient = value_and_gradient(loss, z[order], y[order])
    torch.testing.assert_close(shuffled, value)
    torch.testing.assert_close(shuffled_gradient, gradient[order])


@every_kind
def test_loss__int32_labels__are_taken(loss, batch):
    z, y = batch
    assert copy.deepcopy(loss)(z, y.int()) == copy.deepcopy(loss)(z, y)


@pytest.mark.parametrize("loss", [one for one in SINGLE if one not in ON_CLASSES], ids=name)
def test_loss__arbitrary_labels__only_equality_matters(loss, batch):
    z, y = batch
    labels = torch.tensor([-5, 10**12, 0, 3, 7, -1])[y]
    assert loss(z, labels) == loss(z, y)


@every_kind
def test_loss__validation__runs_without_a_graph(loss, batch):
    z, y = batch
    loss = copy.deepcopy(loss).eval()
    wanted = loss(z.requires_grad_(), y)
    with torch.no_grad():
        value = loss(z, y)
    assert not value.requires_grad
    torch.testing.assert_close(value, wanted.detach())


@every_kind
@pytest.mark.parametrize(
    ("z", "y", "error", "message"),
    [
        (torch.ones(3, 4, dtype=torch.int64), torch.ones(3).long(), TypeError, "embeddings must"),
        ([[1.0] * 4], torch.ones(1).long(), TypeError, "embeddings must"),
        (torch.ones(3, 4), torch.ones(3), TypeError, "y must"),
        (torch.ones(3, 4, 1), torch.ones(3).long(), ValueError, "embeddings must"),
        (torch.ones(3, 4), torch.ones(2).long(), ValueError, "y must"),
    ],
)
def test_loss__bad_batch__names_the_argument(loss, z, y, error, message):
    with pytest.raises(error, match=message):
        loss(z, y)


@pytest.mark.parametrize("loss", [PairBCELoss(4), *ON_CLASSES], ids=name)
def test_loss__another_width__names_embedding_dim(loss):
    with pytest.raises(ValueError, match="embedding_dim=4 columns, got 3"):
        loss(torch.ones(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("loss", ON_CLASSES, ids=name)
@pytest.mark.parametrize("label", [-1, 6])
def test_loss__label_outside_the_classes__names_the_range(loss, label):
    with pytest.raises(ValueError, match=r"n_classes - 1 = 5, got labels from"):
        loss(torch.ones(2, 4), torch.tensor([0, label]))


@pytest.mark.parametrize("loss", ON_CLASSES, ids=name)
def test_loss__class_weights__are_saved_and_come_back(loss, batch):
    z, _ = batch
    other = type(loss)(6, 4)
    assert not torch.equal(other.logits(z), loss.logits(z))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.logits(z), loss.logits(z))
