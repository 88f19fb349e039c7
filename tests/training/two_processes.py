"""The trainings of test_accelerate.py; as a script it runs them in two processes."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sk_fewshot import AMSoftmaxTransformer, MatchingTransformer, PrototypicalTransformer, save


class Plain(nn.Module):
    """An encoder without randomness and statistics."""

    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x):
        return self.layers(x)


class TwoBatchesAStep(torch.optim.SGD):
    """What two processes do at once, in one: a step by the mean gradient of two batches."""

    n_batches = 0

    def zero_grad(self, set_to_none=True):
        if self.n_batches % 2 == 0:
            super().zero_grad(set_to_none)

    def step(self, closure=None):
        loss = closure()
        self.n_batches += 1
        if self.n_batches % 2 == 0:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad /= 2
            super().step()
        return loss


class NoisyEyes:
    """Sees training batches, and adds noise to them."""

    def __init__(self):
        self.seen = []
        self.noise = []

    def __call__(self, batch):
        noise = 0.1 * torch.randn_like(batch)
        self.seen.append(batch)
        self.noise.append(noise)
        return batch + noise


class Interrupt(Callback):
    """Presses Ctrl-C in the middle of an epoch, in every process."""

    epoch = None

    def on_batch_end(self, net, training=False, **kwargs):
        if training and net.history[-1, "epoch"] == Interrupt.epoch:
            raise KeyboardInterrupt


def blobs():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 10)
    return (rng.normal(size=(60, 5)) + 2 * rng.normal(size=(6, 5))[y]).astype(np.float32), y


def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def by_two_batches_a_step(transformer, optimizer, device):
    return transformer(
        module=Plain,
        validation_classes=0.4,
        optimizer=optimizer,
        lr=0.05,
        max_epochs=2,
        batches_per_epoch=8,
        net_params={"optimizer__momentum": 0.9, "callbacks__lr_schedule": None},
        device=device,
        random_state=0,
    ).fit(*blobs())


def on_digits(device, augment=None):
    X, y = digits()
    return PrototypicalTransformer(
        max_epochs=2, batches_per_epoch=20, augment=augment, device=device, random_state=0
    ).fit(X[y < 5], y[y < 5])


def accelerated(**params):
    return MatchingTransformer(
        **{"max_epochs": 60, "batches_per_epoch": 2, "device": "accelerate", **params}
    ).fit(*blobs())


def interrupted_and_resumed(**params):
    Interrupt.epoch = 2
    try:
        accelerated(**params)
    except KeyboardInterrupt:
        Interrupt.epoch = None
    return accelerated(**params)


def refusal_to_accumulate():
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "2"
    try:
        accelerated()
    except ValueError as error:
        return str(error)


def main(folder):
    eyes = NoisyEyes()
    impatient = EarlyStopping("train_loss", patience=2, threshold=10, threshold_mode="abs")
    going_on = {
        "max_epochs": 3,
        "validation_classes": 0.4,
        "net_params": {"callbacks": [Interrupt()]},
        "random_state": 0,
    }
    fitted = {
        "prototypes": by_two_batches_a_step(PrototypicalTransformer, torch.optim.SGD, "accelerate"),
        "class weights": by_two_batches_a_step(AMSoftmaxTransformer, torch.optim.SGD, "accelerate"),
        "digits": on_digits("accelerate"),
        "augmented digits": on_digits("accelerate", eyes),
        "keep best": accelerated(validation_classes=0.4, lr=0.5),
        "early stopping": accelerated(net_params={"callbacks": [impatient]}),
        "whole": accelerated(**going_on, checkpoint=folder / "whole"),
        "resumed": interrupted_and_resumed(**going_on, checkpoint=folder / "resumed"),
    }
    learned = {
        name: (
            {**encoder.module_.state_dict(), **encoder.loss_.state_dict()},
            [
                {key: float(epoch[key]) for key in ("train_loss", "valid_loss") if key in epoch}
                for epoch in encoder.history_
            ],
        )
        for name, encoder in fitted.items()
    }
    rank = fitted["digits"].net_.accelerator.process_index
    torch.save((learned, eyes.seen, eyes.noise, refusal_to_accumulate()), folder / f"rank {rank}")
    if rank == 0:
        save(fitted["digits"], folder / "digits")


if __name__ == "__main__":
    import torch._dynamo  # once for both: Accelerate imports it
    from accelerate import debug_launcher

    torch.set_num_threads(1)
    debug_launcher(main, (Path(sys.argv[1]),), num_processes=2)
