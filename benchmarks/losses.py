"""Time and memory of the losses beside pytorch-metric-learning's, at equal values.

One thread, forward and backward, ours and the peer's in turn; medians of processor time, so that a
busy machine disturbs less. The floor is the time of the matrix products alone, in float32, which
both sides need. Needs ``pip install "pytorch-metric-learning==2.9.*"``.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from _report import arguments, report
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor, nn

from sk_fewshot.losses import (
    AMSoftmaxLoss,
    ArcFaceLoss,
    ContrastiveLoss,
    SphereFaceLoss,
    TripletLoss,
)

DIM, PER_CLASS, MARGIN = 128, 4, 0.2
CONTRASTIVE_KINDS = "few pairs within the margin", "all pairs within the margin", "peer as shipped"
SQUARED = distances.LpDistance(power=2)
UNSQUARED = distances.LpDistance(normalize_embeddings=False)


class HadsellPeer(losses.ContrastiveLoss):
    """The peer's contrastive loss, squared as in the paper and halved as ours is balanced."""

    def get_per_pair_loss(self, pair_dists, pos_or_neg):
        return super().get_per_pair_loss(pair_dists, pos_or_neg).square() / 4


@dataclass
class Case:
    """One comparison: losses of embeddings (n, DIM) and labels, and what their products cost."""

    name: str
    target: float  # how many times as fast ours should be
    ours: Callable[[Tensor, Tensor], Tensor]
    peer: Callable[[Tensor, Tensor], Tensor]
    z: Tensor
    y: Tensor
    others: Tensor  # (m, DIM), what the embeddings are multiplied with
    n_products: int
    repeats: int
    equal: bool = True

    def floor(self) -> None:
        """Do the matrix products alone."""
        x = self.z.detach()
        product = x @ self.others.T
        if self.n_products == 3:
            _ = product @ self.others, product.T @ x


def embeddings(n: int, length: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points of classes of 4, half spread around a direction of the class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n // PER_CLASS).repeat_interleave(PER_CLASS)
    centres = torch.randn(len(y) // PER_CLASS, DIM, generator=generator)
    z = centres[y] + torch.randn(n, DIM, generator=generator)
    return (length * nn.functional.normalize(z)).requires_grad_(), y


def triplet_peer(mining: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Peer of TripletLoss(0.2, mining)."""
    reducer = reducers.MeanReducer() if mining == "hard" else reducers.AvgNonZeroReducer()
    loss = losses.TripletMarginLoss(MARGIN, distance=SQUARED, reducer=reducer)
    if mining == "all":
        return loss
    miner = miners.TripletMarginMiner(MARGIN, type_of_triplets="semihard", distance=SQUARED)
    if mining == "hard":
        miner = miners.BatchHardMiner(distance=SQUARED)
    return lambda z, y: loss(z, y, miner(z, y))


def triplet_case(mining: str, n: int, target: float, repeats: int) -> Case:
    """Ours needs the products' gradient only where many triplets are active."""
    z, y = embeddings(n)
    ours = TripletLoss(MARGIN, mining)
    n_products = 1 if mining == "hard" else 3
    name = f"triplet {mining}, B={n}"
    return Case(name, target, ours, triplet_peer(mining), z, y, z.detach(), n_products, repeats)


def contrastive_case(kind: str, n: int, target: float, repeats: int) -> Case:
    """Few pairs are within the margin of trained embeddings, all of those not yet trained."""
    z, y = embeddings(n, 0.5 if kind == "all pairs within the margin" else 1.0)
    peer: nn.Module = HadsellPeer(distance=UNSQUARED, reducer=reducers.MeanReducer())
    if kind == "peer as shipped":
        peer = losses.ContrastiveLoss(distance=UNSQUARED)
    name = f"contrastive ({kind}), B={n}"
    equal = kind != "peer as shipped"
    return Case(name, target, ContrastiveLoss(), peer, z, y, z.detach(), 3, repeats, equal)


def softmax_case(name: str, n_classes: int, target: float, repeats: int) -> Case:
    """Ours and the peer's share their weights."""
    ours: nn.Module
    if name == "SphereFace":
        ours = SphereFaceLoss(n_classes, DIM, annealing=False)
        peer = losses.SphereFaceLoss(n_classes, DIM)
    elif name == "AM-Softmax":
        ours = AMSoftmaxLoss(n_classes, DIM)
        peer = losses.CosFaceLoss(n_classes, DIM, margin=0.35, scale=30)
    else:
        ours = ArcFaceLoss(n_classes, DIM)
        peer = losses.ArcFaceLoss(n_classes, DIM, margin=math.degrees(0.5), scale=64)
    with torch.no_grad():
        peer.W.copy_(ours.weight.T)
    z, _ = embeddings(1024)
    y = torch.arange(1024) % n_classes
    weight = ours.weight.detach()
    label = f"{name}, B=1024, {n_classes} classes"
    return Case(label, target, ours, peer, z, y, weight, 3, repeats)


CASES = {
    "hard 1024": lambda: triplet_case("hard", 1024, 5, 21),
    "hard 4096": lambda: triplet_case("hard", 4096, 10, 7),
    "all 1024": lambda: triplet_case("all", 1024, 30, 5),
    "semihard 1024": lambda: triplet_case("semihard", 1024, 20, 5),
    **{
        f"contrastive {kind} {n}": lambda kind=kind, n=n, target=target, repeats=repeats: (
            contrastive_case(kind, n, target, repeats)
        )
        for n, target, repeats in [(1024, 3, 21), (4096, 5, 7)]
        for kind in CONTRASTIVE_KINDS
    },
    **{
        f"{name} {n_classes}": lambda name=name, n=n_classes, target=target, repeats=repeats: (
            softmax_case(name, n, target, repeats)
        )
        for n_classes, target, repeats in [(100, 1, 51), (10_000, 2, 9)]
        for name in ("SphereFace", "AM-Softmax", "ArcFace")
    },
}


def step(loss: Callable[[Tensor, Tensor], Tensor], case: Case) -> tuple[Tensor, Tensor]:
    """Forward and backward; the value and the gradient of the embeddings."""
    case.z.grad = None
    if isinstance(loss, nn.Module):
        loss.zero_grad()
    value = loss(case.z, case.y)
    value.backward()
    return value.detach(), case.z.grad


def compare(case: Case) -> dict[str, object]:
    """Check the values, time the three in turn, return a row."""
    ours, peer = step(case.ours, case), step(case.peer, case)
    if case.equal:
        torch.testing.assert_close(ours[0], peer[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours[1], peer[1], rtol=1e-2, atol=1e-5)
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: step(case.ours, case),
        "peer": lambda: step(case.peer, case),
        "floor": case.floor,
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(case.repeats):
        for key, run in runs.items():
            start = time.process_time()
            run()
            times[key].append(1000 * (time.process_time() - start))
    median = {key: statistics.median(values) for key, values in times.items()}
    return {
        "forward and backward": case.name,
        "ours_ms": median["ours"],
        "peer_ms": median["peer"],
        "products_alone_ms": median["floor"],
        "over_peer": median["peer"] / median["ours"],
        "target": case.target,
    }


def peak(name: str) -> None:
    """In a process of its own: print the MB that one step takes beyond what was there before."""
    key, side = name.rsplit(" ", 1)
    case = CASES[key]()
    loss = case.ours if side == "ours" else case.peer
    z, y = case.z, case.y
    case.z, case.y = embeddings(16)
    step(loss, case)  # what the libraries load on first use
    case.z, case.y = z, y
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew (Linux)
    before = memory("VmRSS")
    step(loss, case)
    print(memory("VmHWM") - before)


def memory(field: str) -> float:
    """Memory of this process in MB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith(field))


def compare_peaks(key: str) -> dict[str, object]:
    """Return a row of peak memory, each side measured in a fresh process."""
    found = {}
    for side in ("ours", "peer"):
        command = [sys.executable, __file__, "--peak", f"{key} {side}"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[f"{side}_MB"] = float(output)
    return {"extra memory": CASES[key]().name, **found}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        torch.set_num_threads(1)
        peak(sys.argv[2])
    else:
        given = arguments(__doc__)
        speeds = (compare(make()) for make in CASES.values())
        report("losses", chain(speeds, map(compare_peaks, CASES)), given.json)
