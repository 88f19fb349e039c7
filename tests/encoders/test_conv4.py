"""Conv4: the papers' function, shapes, and errors that name the argument."""

import pickle

import pytest
import torch
from torch.nn import functional as F

from sk_fewshot.encoders import Conv4


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def papers_order(module, x, pools):
    """Convolution, BatchNorm, ReLU, max-pooling in ordinary memory, by functions."""
    for (convolution, norm, *_), pool in zip(module.blocks, pools, strict=True):
        x = F.conv2d(x.contiguous(), convolution.weight.contiguous(), padding=1)
        x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
        x = F.relu(x)
        x = F.max_pool2d(x, 2) if pool else x
    return x.reshape(len(x), -1)


@pytest.mark.parametrize(
    ("shape", "n_poolings", "map_shape"),
    [
        ((1, 28, 28), None, (64, 1, 1)),
        ((3, 84, 84), None, (64, 5, 5)),
        ((1, 16, 16), None, (64, 1, 1)),
        ((1, 8, 8), None, (64, 2, 2)),
        ((1, 8, 8), 3, (64, 1, 1)),
        ((1, 28, 28), 2, (64, 7, 7)),
        ((2, 3, 9), None, (64, 3, 9)),
        ((2, 3, 9), 1, (64, 1, 4)),
        ((1, 1, 1), None, (64, 1, 1)),
        ((1, 5, 4), 0, (64, 5, 4)),
    ],
)
def test__shape__maps_and_embeddings(shape, n_poolings, map_shape):
    module = Conv4(shape, n_poolings=n_poolings)
    assert module.map_shape == map_shape
    embeddings = module(images(3, *shape))
    assert embeddings.shape == (3, module.embedding_dim)
    assert module.embedding_dim == torch.Size(map_shape).numel()


@pytest.mark.parametrize(
    ("shape", "n_poolings", "pools"),
    [
        ((1, 28, 28), None, (1, 1, 1, 1)),
        ((3, 17, 20), 2, (1, 1, 0, 0)),
        ((1, 8, 8), None, (0, 0, 1, 1)),
        ((1, 9, 12), 3, (0, 1, 1, 1)),
    ],
)
def test__values_and_gradients__equal_papers_order(shape, n_poolings, pools):
    torch.manual_seed(0)
    module = Conv4(shape, n_filters=8, n_poolings=n_poolings)
    x = images(6, *shape)
    weights = images(module.embedding_dim)

    parameters = list(module.parameters())
    ours = module(x)
    theirs = papers_order(module, x, pools)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad((ours**2 @ weights).sum(), parameters),
        torch.autograd.grad((theirs**2 @ weights).sum(), parameters),
        rtol=1e-3,
        atol=1e-3,
    )


def test__map_shape__unflattens_to_maps():
    module = Conv4((1, 12, 8), n_filters=5, n_poolings=1).eval()
    x = images(2, 1, 12, 8)
    torch.testing.assert_close(module(x).unflatten(1, module.map_shape), module.blocks(x))


def test__embedding_dim__one_linear_layer_on_top():
    module = Conv4((1, 28, 28), 10).eval()
    x = images(2, 1, 28, 28)
    maps = module.blocks(x).flatten(1)
    torch.testing.assert_close(
        module(x), F.linear(maps, module.head.weight, module.head.bias), rtol=1e-5, atol=1e-6
    )
    assert module.embedding_dim == 10


def test__memory_format_of_input__does_not_matter():
    module = Conv4((3, 8, 8)).eval()
    x = images(4, 3, 8, 8)
    assert torch.equal(module(x), module(x.contiguous(memory_format=torch.channels_last)))
    assert torch.equal(module(x), module(x.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)))


def test__pickle__same_values():
    module = Conv4((1, 8, 8), 3).eval()
    x = images(2, 1, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), module(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (28, 28)}, r"image_shape must be three positive integers.*\(28, 28\)"),
        ({"image_shape": (0, 8, 8)}, "image_shape must be three positive integers"),
        ({"image_shape": (1, 8.0, 8)}, "image_shape must be three positive integers"),
        ({"image_shape": "abc"}, "'image_shape' parameter of Conv4"),
        ({"embedding_dim": 0}, "'embedding_dim' parameter of Conv4"),
        ({"n_filters": 2.5}, "'n_filters' parameter of Conv4"),
        ({"n_poolings": 5}, "'n_poolings' parameter of Conv4"),
        ({"n_poolings": 4}, "n_poolings must be at most 3 for images of 8 x 8 pixels, got 4"),
    ],
)
def test__bad_argument__named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv4(**{"image_shape": (1, 8, 8)} | arguments)


@pytest.mark.parametrize("shape", [(2, 1, 8, 9), (2, 8, 8), (2, 3, 8, 8), (2, 64)])
def test__wrong_images__both_shapes_in_error(shape):
    with pytest.raises(ValueError, match=rf"\(n, 1, 8, 8\), got \({', '.join(map(str, shape))}\)"):
        Conv4((1, 8, 8))(images(*shape))


def test__step__learns():
    torch.manual_seed(0)
    module = Conv4((1, 8, 8), 2)
    x, y = images(20, 1, 8, 8), torch.arange(20) % 2
    optimizer = torch.optim.Adam(module.parameters())
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
