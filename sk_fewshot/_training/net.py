"""skorch's net and callbacks, as this package uses them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn

from sk_fewshot._training.frozen import without_gradient
from sk_fewshot._utils.device import computing_device, labels_on
from sk_fewshot._utils.random import seed_torch


class EnoughEpochs(Exception):
    """The validation loss has stopped falling."""


def loss_of(criterion: nn.Module, embeddings: Tensor, y: Tensor) -> Tensor:
    """Return the loss of embeddings, from where the criterion computes for their device."""
    device = computing_device(criterion, embeddings.device)
    return criterion(embeddings.to(device), labels_on(y, device))


class EncoderNet(NeuralNet):
    """A net whose module returns embeddings and whose criterion takes (embeddings, labels).

    Parameters
    ----------
    *args, **kwargs
        See :class:`skorch.NeuralNet`.
    validation_criterion : nn.Module or None
        Scores the held-out classes; None: the criterion itself.
    frozen : sequence of nn.Module
        Parts that stay in eval mode, beside those none of whose parameters has a gradient.
    """

    def __init__(
        self,
        *args,
        validation_criterion: nn.Module | None = None,
        frozen: Sequence[nn.Module] = (),
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.__dict__["validation_criterion"] = validation_criterion  # skorch refuses modules
        self.frozen = frozen
        self._mode: Any = None

    @property
    def learners(self) -> tuple[nn.Module, nn.Module]:
        """The module and the criterion."""
        return self.module_, self.criterion_

    @property
    def writes_files(self) -> bool:
        """Whether this process is the one that writes files."""
        return True

    def get_loss(self, y_pred, y_true, X=None, training=False) -> Tensor:
        """Return the loss of a batch of embeddings, which must be one number."""
        criterion = None if training else self.validation_criterion
        loss = loss_of(criterion or self.criterion_, y_pred.flatten(1), y_true)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss must return a tensor of one number, got {got}.")
        if training and not loss.requires_grad:
            raise ValueError(
                "The loss depends on nothing that learns: the module has no parameters, all of "
                "them are frozen, or a step in it cuts the gradient off."
            )
        return loss

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Check that the loss is finite, once skorch has asked the device for it."""
        loss = self.history[-1, "batches", -1, "train_loss" if training else "valid_loss"]
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss became {loss} in epoch {self.history[-1, 'epoch']}. "
                f"Lower lr={self.lr}, scale X (for example by a StandardScaler), or check that "
                "augment and module return finite values."
            )

    def _initialize_criterion(self, *args, **kwargs):
        """Leave the criterion where it is, which may be on another device than the module."""
        device, self.device = self.device, None  # type: ignore[has-type]
        try:
            return super()._initialize_criterion(*args, **kwargs)
        finally:
            self.device = device

    def set_mode(self, training: bool) -> None:
        """Switch to training or eval mode; what is frozen stays in eval mode."""
        super()._set_training(training)
        if training:
            for part in chain(self.frozen, *map(without_gradient, self.learners)):
                part.eval()
        self._mode = training, self._flags()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run an epoch; a callback may have frozen other parts since the last one."""
        self.set_mode(training)
        super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)

    def _set_training(self, training=True):
        """Switch the mode where it differs: walking through all layers costs a tenth of a step."""
        if self._mode != (training, self._flags()):
            self.set_mode(training)

    def _flags(self) -> tuple[bool, bool]:
        return self.module_.training, self.criterion_.training

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train as skorch does, but never take an interrupt for the end of the training."""
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, **fit_params)
        except EnoughEpochs:
            pass
        except KeyboardInterrupt:
            if not self._stopped_by_early_stopping():
                raise
        self.notify("on_train_end", X=X, y=y)
        return self

    def _stopped_by_early_stopping(self) -> bool:
        """Whether the interrupt is how a user's skorch.callbacks.EarlyStopping ends the loop."""
        return any(
            isinstance(callback, EarlyStopping) and callback.misses_ == callback.patience
            for _, callback in self.callbacks_
        )


class SeedEpochs(Callback):
    """Makes the randomness of an epoch a function of the seed and the epoch's number."""

    def __init__(self, seed: int, device: torch.device):
        self.seed = seed
        self.device = device

    def on_epoch_begin(self, net, **kwargs):
        """Seed torch's generator."""
        entropy = np.random.SeedSequence([self.seed, net.history[-1, "epoch"]])
        seed_torch(int(entropy.generate_state(1)[0]), self.device)


class KeepBestEpoch(Callback):
    """Ends training when the validation loss stops falling, with the weights of the best epoch.

    Unlike skorch's EarlyStopping it keeps what the loss learned too.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def on_train_begin(self, net, **kwargs):
        """Start anew."""
        self.best_loss_ = np.inf

    def on_epoch_end(self, net, **kwargs):
        """Remember a best epoch; stop after `patience` epochs without one."""
        epoch, loss = (net.history[-1, name] for name in ("epoch", "valid_loss"))
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, epoch
            self.best_weights_ = [copy.deepcopy(m.state_dict()) for m in net.learners]
        elif epoch - self.best_epoch_ >= self.patience:
            raise EnoughEpochs

    def on_train_end(self, net, **kwargs):
        """Go back to the best epoch."""
        for module, weights in zip(net.learners, self.best_weights_, strict=True):
            module.load_state_dict(weights)


class Progress(Callback):
    """Moves a progress bar by one for each training batch and shows the losses of the epoch."""

    def __init__(self, bar):
        self.bar = bar

    def on_batch_end(self, net, training=False, **kwargs):
        """Move the bar."""
        if training:
            self.bar.update()

    def on_epoch_end(self, net, **kwargs):
        """Show the losses."""
        epoch = net.history[-1]
        self.bar.set_postfix({k: epoch[k] for k in ("train_loss", "valid_loss") if k in epoch})
