"""Encoding and training of Conv4 beside the plain module, and beside the machine's convolutions.

One thread, ours and the peer in turn, equal values checked in the same run. The peer is the
network as it is usually written (convolution, BatchNorm, ReLU, max-pooling, ordinary memory),
called on chunks of 256 images. The floor is the fastest convolution measured alone.

    OMP_NUM_THREADS=1 python benchmarks/encoding.py --rounds 3
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from _report import arguments, interleaved, ratio, report
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot.encoders import Conv4, encode, folded

SHAPE = (1, 28, 28)
N_IMAGES, OTHER_SIZES = 10_000, (1_000, 30_000)
N_WAY, N_SHOT, N_QUERY = 60, 5, 5
PEAK_CASES = [(64, 14, 16), (64, 28, 16), (64, 56, 16), (128, 28, 16)]  # channels, side, images


def plain_conv4() -> nn.Sequential:
    """Conv4 as papers' code has it."""
    layers: list[nn.Module] = []
    for n_in in (1, 64, 64, 64):
        layers += [nn.Conv2d(n_in, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


def same_weights() -> tuple[Conv4, nn.Sequential]:
    """Ours and the plain module, with statistics that are not the initial ones."""
    torch.manual_seed(0)
    ours, plain = Conv4(SHAPE), plain_conv4()
    ours(torch.rand(256, *SHAPE))
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    return ours, plain


def flop_per_image() -> int:
    """Multiplications and additions of the four convolutions."""
    sides, channels = (28, 14, 7, 3), (1, 64, 64, 64)
    return sum(2 * 9 * n_in * 64 * side**2 for side, n_in in zip(sides, channels, strict=True))


@torch.inference_mode()
def plain_encode(plain: nn.Module, X: np.ndarray) -> np.ndarray:
    """Embed on chunks of 256."""
    return torch.cat([plain(chunk) for chunk in torch.from_numpy(X).split(256)]).numpy()


@torch.inference_mode()
def peak(rounds: int) -> float:
    """FLOP per second of the fastest convolution in the fastest of the rounds."""
    rates = []
    for channels, side, n in PEAK_CASES:
        convolution = nn.Conv2d(channels, channels, 3, padding=1)
        convolution = convolution.to(memory_format=torch.channels_last)
        x = torch.rand(n, channels, side, side).contiguous(memory_format=torch.channels_last)
        convolution(x)
        seconds = min(interleaved(10 * rounds, alone=lambda c=convolution, x=x: c(x))["alone"])
        rates.append(2 * 9 * channels**2 * side**2 * n / seconds)
    return max(rates)


def encoding(rounds: int) -> Iterator[dict[str, object]]:
    """Images a second, ours beside the plain module and the convolutions' peak."""
    ours, plain = same_weights()
    plain.eval()
    X = np.random.default_rng(0).random((max(OTHER_SIZES), *SHAPE), dtype=np.float32)
    part = X[:N_IMAGES]
    np.testing.assert_allclose(
        encode(folded(ours), part), plain_encode(plain, part), rtol=1e-3, atol=1e-4
    )
    seconds = interleaved(
        rounds,
        ours=lambda: encode(folded(ours), part),
        peer=lambda: plain_encode(plain, part),
        **{str(n): lambda n=n: encode(folded(ours), X[:n]) for n in OTHER_SIZES},
    )
    rate = N_IMAGES / min(seconds["ours"])
    yield {
        "case": f"encode {N_IMAGES} images",
        "ours_images_per_s": rate,
        "plain_images_per_s": N_IMAGES / min(seconds["peer"]),
        "times": ratio(seconds, "peer"),
        "target": 4,
    }
    highest = peak(rounds)
    yield {
        "case": "fraction of the convolutions' peak",
        "peak_gflop_per_s": highest / 1e9,
        "fraction": rate * flop_per_image() / highest,
        "target": 0.6,
    }
    for n in OTHER_SIZES:
        yield {"case": f"encode {n} images", "ours_images_per_s": n / min(seconds[str(n)])}


def episode_loss(embeddings: Tensor) -> Tensor:
    """Prototypical loss of a class-major batch."""
    z = embeddings.unflatten(0, (N_WAY, N_SHOT + N_QUERY))
    prototypes, queries = z[:, :N_SHOT].mean(1), z[:, N_SHOT:].flatten(0, 1)
    y = torch.arange(N_WAY).repeat_interleave(N_QUERY)
    return F.cross_entropy(-torch.cdist(queries, prototypes).square(), y)


def gradients(module: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the loss in float64, where rounding does not decide which pixel is largest."""
    module = copy.deepcopy(module).double()
    return torch.autograd.grad(episode_loss(module(images.double())), list(module.parameters()))


def training(rounds: int) -> Iterator[dict[str, object]]:
    """One step of Adam on a 60-way 5+5 episode."""
    modules = dict(zip(("ours", "peer"), same_weights(), strict=True))
    optimizers = {name: torch.optim.Adam(module.parameters()) for name, module in modules.items()}
    images = torch.rand(N_WAY * (N_SHOT + N_QUERY), *SHAPE)
    torch.testing.assert_close(*(gradients(module, images) for module in modules.values()))

    def step(name: str) -> Tensor:
        loss = episode_loss(modules[name](images))
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
        return loss.detach()

    torch.testing.assert_close(step("ours"), step("peer"), rtol=1e-4, atol=1e-5)
    seconds = interleaved(3 * rounds, ours=lambda: step("ours"), peer=lambda: step("peer"))
    yield {
        "case": f"training step, {N_WAY}-way {N_SHOT}+{N_QUERY}",
        "ours_s": min(seconds["ours"]),
        "plain_s": min(seconds["peer"]),
        "times": ratio(seconds, "peer"),
        "target": 1.6,
    }


def main() -> None:
    """Print both tables."""
    given = arguments(__doc__)
    rows = (row for part in (encoding, training) for row in part(given.rounds))
    report("encoding", rows, given.json)


if __name__ == "__main__":
    main()
