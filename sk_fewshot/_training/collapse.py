"""Trainings that have failed: all embeddings alike, or a loss that says as much."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from sk_fewshot._training.net import EncoderNet, loss_of
from sk_fewshot._utils.warn import warn_caller

_BATCHES_BETWEEN = 50  # looks at the embeddings: each costs less than a training step
_BATCHES_BEFORE = 100  # the loss may count: many a healthy training begins at its trivial value
_LOOKS = 3  # in a row at which the loss is trivial, to say so before the end
_ROUNDING = 1e-5  # of the length of the embeddings
_TRIVIAL = 0.01  # of the loss
_SHUFFLED = 0.05


class WatchCollapse(Callback):
    """Warns when training has collapsed: once after an epoch, and at the end.

    It has where all embeddings of a batch are the same to within rounding. Or where their loss is
    that of a batch of equal embeddings, and hardly another when they are dealt out to the classes
    anew: then nothing that was learned tells the classes apart.

    Parameters
    ----------
    batches : iterable of (examples, labels)
        Each time the same batch, of examples that are not augmented.
    judge : nn.Module or None
        Another loss to look at beside the one that trains.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], judge: nn.Module | None):
        self.batches = batches
        self.judge = judge

    def on_train_begin(self, net, **kwargs):
        """Start anew."""
        self.n_batches_ = self.n_seen_ = self.n_trivial_ = 0
        self.warned_ = False

    def on_epoch_end(self, net, **kwargs):
        """Look at the embeddings, unless few batches have passed since the last time."""
        epoch = net.history[-1]
        self.n_batches_ += epoch["train_batch_count"]
        if self.warned_ or self.n_batches_ - self.n_seen_ < _BATCHES_BETWEEN:
            return
        self.n_seen_ = self.n_batches_
        alike, trivial = self._seen(net)
        self.n_trivial_ = self.n_trivial_ + 1 if trivial else 0
        if epoch["epoch"] < net.max_epochs and (alike or self.n_trivial_ == _LOOKS):
            self._warn(net, alike or trivial, f"By epoch {epoch['epoch']} training")
            self.warned_ = True

    def look_at_end(self, net: EncoderNet) -> None:
        """Look at the embeddings of the trained net."""
        alike, trivial = self._seen(net)
        if alike or trivial:
            self._warn(net, alike or trivial, "Training")

    @torch.no_grad()
    def _seen(self, net: EncoderNet) -> tuple[str, str]:
        """Say what is wrong with the embeddings, and with their loss; "" where nothing is."""
        if not net.writes_files:
            return "", ""
        module, criterion = (learner.eval() for learner in net.learners)
        ((examples, y),) = self.batches
        embeddings = module(examples).flatten(1)
        alike = _alike(embeddings)
        if self.n_batches_ < _BATCHES_BEFORE:
            return alike, ""
        judges = [criterion] if self.judge is None else [criterion, self.judge]
        return alike, next(filter(None, (_trivial(j, embeddings, y) for j in judges)), "")

    def _warn(self, net: EncoderNet, seen: str, subject: str) -> None:
        warn_caller(
            f"{subject} has collapsed: {seen}. What helps most often: a smaller lr (it is "
            f"{net.lr:g}), X on a scale of about 1 (by StandardScaler, say), semi-hard instead of "
            "hard mining, a module whose last layer is linear."
        )


def _alike(embeddings: Tensor) -> str:
    z = embeddings.double() if embeddings.device.type == "cpu" else embeddings.float()
    largest = float(z.abs().max())
    if largest == 0:
        return f"all of {len(z)} embeddings are 0"
    z = z / largest
    spread = float((z - z.mean(0)).square().sum(1).mean().sqrt() / z.square().sum(1).mean().sqrt())
    if spread <= _ROUNDING:
        return f"{len(z)} embeddings of different examples are the same to within rounding"
    return ""


def _trivial(judge: nn.Module, embeddings: Tensor, y: Tensor) -> str:
    order = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(0))
    equal = embeddings.mean(0).expand_as(embeddings).contiguous()
    try:
        judges = [copy.deepcopy(judge) for _ in range(3)]  # a loss may remember what it has seen
    except RuntimeError:  # torch copies no tensors that have a gradient's history
        return ""
    batches = (embeddings, equal, embeddings[order.to(embeddings.device)])
    losses = [loss_of(judge, z, y) for judge, z in zip(judges, batches, strict=True)]
    loss, trivial, shuffled = torch.stack(losses).tolist()
    near = abs(loss - trivial) <= _TRIVIAL * trivial
    if trivial > 0 and near and abs(shuffled - trivial) <= _SHUFFLED * trivial:
        return (
            f"the loss of a batch is {loss:.3g}, and would be {trivial:.3g} if all its embeddings "
            "were the same"
        )
    return ""
