"""Training: one encoder, one sampler, one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from skorch.callbacks import LRScheduler
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from sk_fewshot._training.checkpoint import Checkpoint
from sk_fewshot._training.collapse import WatchCollapse
from sk_fewshot._training.data import ClassBalancedBatches, LabelledRows
from sk_fewshot._training.net import EncoderNet, KeepBestEpoch, Progress, SeedEpochs
from sk_fewshot._training.net_params import checked_net_params
from sk_fewshot._training.workers import Workers
from sk_fewshot._utils.device import computing_device

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

_STATISTICS_BATCHES = 50


def train(
    encoder: nn.Module,
    loss: nn.Module,
    data: LabelledRows,
    *,
    validation: LabelledRows | None,
    validation_loss: nn.Module | None,
    n_way: int,
    n_per_class: int,
    batches_per_epoch: int,
    max_epochs: int,
    optimizer: str | type[torch.optim.Optimizer],
    lr: float,
    augment: Callable[[Tensor], Tensor] | None,
    frozen: Sequence[nn.Module],
    workers: Workers,
    verbose: int,
    seed: int,
    net_params: Mapping[str, Any],
    checkpoint: Checkpoint | None,
) -> EncoderNet:
    """Train `encoder` and what `loss` learns; both are changed in place.

    Torch's generator must be lent by :func:`sk_fewshot._utils.random.with_own_generator`. The
    learning rate falls to 0 along half a cosine, unless `net_params` bring another schedule. With
    `validation`, the weights of the epoch with the lowest validation loss are kept, and training
    stops when it has not fallen for ten epochs. `frozen` parts of the encoder, and those none of
    whose parameters has a gradient, stay in eval mode. With `augment`, BatchNorm's running
    statistics are in the end taken anew, where they were learned, from examples that are not
    augmented, as those to be embedded later are not. With a `checkpoint`, training goes on where
    that ends. Several workers share the batches of an epoch, rounded up to a multiple of their
    number, and end with the same weights.

    Returns
    -------
    EncoderNet
        The fitted net.

    Raises
    ------
    KeyboardInterrupt
        If interrupted.
    TypeError, ValueError
        If the loss is not finite, or `net_params` have what would be ignored.
    OSError
        If the checkpoint cannot be written.

    Warns
    -----
    UserWarning
        If training has collapsed.
    """
    optimizer_class = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    net_params = checked_net_params(net_params, optimizer_class, validating=validation is not None)
    n_steps = ceil(batches_per_epoch / workers.size)  # an epoch
    schedule = LRScheduler(
        "CosineAnnealingLR",
        T_max=max_epochs * n_steps,
        step_every="batch",
        event_name=None,
    )
    bar = tqdm(
        total=max_epochs * n_steps,
        initial=0 if checkpoint is None else checkpoint.n_epochs * n_steps,
        disable=not verbose or workers.rank > 0,
        unit="batch",
    )
    plain_batches = partial(
        ClassBalancedBatches, data, n_way * n_per_class, n_per_class=n_per_class, seed=seed
    )
    watch = WatchCollapse(plain_batches(n_batches=1), validation_loss)
    callbacks: list[tuple[str, Any]] = [
        ("seed_epochs", SeedEpochs(seed, workers.device)),
        ("progress", Progress(bar)),
        ("watch_collapse", watch),
    ]
    given = list(net_params.get("callbacks") or [])
    if not any(map(_is_schedule, given)):
        callbacks.append(("lr_schedule", schedule))
    callbacks.extend(given)
    validating: dict[str, Any] = {"train_split": None}
    if validation is not None:
        callbacks.append(("keep_best_epoch", KeepBestEpoch(patience=10)))  # all see its last epoch
        n_valid_way = min(n_way, validation.n_classes)
        validating = {
            "train_split": predefined_split(validation),
            "iterator_valid": ClassBalancedBatches,
            "iterator_valid__batch_size": n_valid_way * n_per_class,
            "iterator_valid__n_per_class": n_per_class,
            "iterator_valid__n_batches": ceil(max(10, batches_per_epoch // 5) / workers.size),
            "iterator_valid__seed": seed,
            "iterator_valid__rank": workers.rank,
            "iterator_valid__n_workers": workers.size,
            "validation_criterion": validation_loss,
        }
    stepping: dict[str, Any] = {"optimizer": optimizer_class}
    if isinstance(optimizer, str) and not net_params.get("optimizer__foreach"):
        stepping["optimizer__fused"] = True  # all parameters in one pass, a fifth of a small step
    if checkpoint is not None:
        callbacks.append(("checkpoint", checkpoint))
    settings: dict[str, Any] = {
        **stepping,
        "lr": lr,
        "max_epochs": max_epochs,
        "batch_size": n_way * n_per_class,
        "iterator_train": ClassBalancedBatches,
        "iterator_train__n_per_class": n_per_class,
        "iterator_train__n_batches": n_steps,
        "iterator_train__rank": workers.rank,
        "iterator_train__n_workers": workers.size,
        "iterator_train__augment": augment,
        **validating,
        "verbose": 0,
        **net_params,
        "callbacks": callbacks,
    }
    with bar:
        loss = loss.to(computing_device(loss, workers.device))
        net = _make_net(workers, encoder, loss, frozen=frozen, **settings)
        n_epochs = None if checkpoint is None else checkpoint.n_epochs_left(net.max_epochs)
        net.fit(data, epochs=n_epochs)
    if augment is not None:
        n_batches = min(batches_per_epoch, _STATISTICS_BATCHES)
        _renew_statistics(net, plain_batches(n_batches=n_batches))
    for learner in net.learners:
        workers.align_buffers(learner)
    if ("watch_collapse", watch) in net.callbacks_:
        watch.look_at_end(net)
    return net


def split_classes(
    y: np.ndarray, share: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and validation rows with disjoint classes, two or more on each side.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Integer labels 0 .. n_classes - 1.
    share : float
        Share of the classes held out, rounded to the nearest number of at least two.
    rng : RandomState

    Returns
    -------
    train, validation : ndarray of bool of shape (n_samples,)

    Raises
    ------
    ValueError
        If fewer than two classes are left for training.
    """
    n_classes = y.max() + 1
    n_held_out = max(2, round(share * n_classes))
    if n_classes - n_held_out < 2:
        raise ValueError(
            f"validation_classes={share} holds out {n_held_out} of {n_classes} classes and leaves "
            f"{n_classes - n_held_out} for training, which needs two or more; lower it, or pass "
            "validation_classes=None."
        )
    held_out = np.isin(y, rng.permutation(n_classes)[:n_held_out])
    return ~held_out, held_out


def _make_net(workers: Workers, encoder: nn.Module, loss: nn.Module, **settings) -> EncoderNet:
    """Return the net that the workers train; it prints nothing with ``verbose=0``."""
    if workers.accelerator is None:
        settings = {"device": workers.device, "callbacks__print_log": None, **settings}
        return EncoderNet(encoder, loss, **settings)
    from sk_fewshot._training.accelerated import AcceleratedNet

    settings = {"callbacks__print_log__sink": print, **settings}
    return AcceleratedNet(encoder, loss, accelerator=workers.accelerator, **settings)


def _is_schedule(callback: Any) -> bool:
    """Whether a callback, named or not, is a schedule of the learning rate."""
    return isinstance(callback[1] if isinstance(callback, tuple) else callback, LRScheduler)


@torch.no_grad()
def _renew_statistics(net: EncoderNet, batches: ClassBalancedBatches) -> None:
    """Set running statistics to the mean over these batches, in each BatchNorm that trained."""
    net.set_mode(training=True)
    encoder = net.module_
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    norms = [norm for norm in norms if norm.training]
    momenta = [norm.momentum for norm in norms]
    encoder.eval()
    for norm in norms:
        norm.train().reset_running_stats()
    for n_seen, (examples, _) in enumerate(batches if norms else (), start=1):
        for norm in norms:
            norm.momentum = 1 / n_seen  # a cumulative mean; for None torch asks the device for n
        encoder(examples)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
