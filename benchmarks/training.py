"""Training step of the engine against a plain PyTorch loop of the same network.

Both run the same steps on the same batches from the same weights, interleaved, one thread, and
their first losses must agree (later ones drift apart by rounding, which Adam amplifies).
"""

import time

import numpy as np
import torch
from _report import arguments, report
from skorch.callbacks import Callback
from torch import nn

from sk_fewshot import PrototypicalTransformer
from sk_fewshot.encoders import MLP, Conv4

STEPS = 20


class Clock(Callback):
    """Notes when each batch ends, and the weights it began with."""

    def on_train_begin(self, net, **kwargs):
        self.initial = {k: v.clone() for k, v in net.module_.state_dict().items()}
        self.rows, self.seconds = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.last = time.perf_counter()

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.rows.append(batch[0][:, ..., :1].flatten(1)[:, 0].long())

    def on_batch_end(self, net, training=False, **kwargs):
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def prototypical_loss(embeddings, n_way, n_shot):
    """The loss as anybody would write it for a class-major batch."""
    by_class = embeddings.view(n_way, -1, embeddings.shape[1])
    prototypes = by_class[:, :n_shot].mean(1)
    queries = by_class[:, n_shot:].flatten(0, 1)
    labels = torch.arange(n_way).repeat_interleave(by_class.shape[1] - n_shot)
    return nn.functional.cross_entropy(-(torch.cdist(queries, prototypes) ** 2), labels)


def plain_loop(module, X, batches, n_way, n_shot):
    """Steps of a plain loop on given rows; the losses and the seconds of each."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    losses, seconds = [], []
    for rows in batches:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = prototypical_loss(module(X[rows]), n_way, n_shot)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return losses, seconds


def compare(name, make_module, X, y, n_way, n_shot, n_query, rounds):
    """Interleave rounds of both; return medians, and that of the rounds' ratios.

    A round lasts tenths of a second, in which the machine's speed seldom changes.
    """
    tensor = torch.from_numpy(X)
    ours, plain = [], []
    for seed in range(rounds):
        clock = Clock()
        encoder = PrototypicalTransformer(
            module=make_module,
            n_way=n_way,
            n_shot=n_shot,
            n_query=n_query,
            max_epochs=1,
            batches_per_epoch=STEPS,
            net_params={"callbacks": [clock]},
            random_state=seed,
        ).fit(X, y)
        module = make_module()
        module.load_state_dict(clock.initial)
        losses, seconds = plain_loop(module, tensor, clock.rows, n_way, n_shot)
        first = [encoder.net_.history[0, "batches", i, "train_loss"] for i in range(3)]
        np.testing.assert_allclose(first, losses[:3], rtol=1e-2, err_msg=name)
        plain.append(np.median(seconds[2:]) * 1e3)
        ours.append(np.median(clock.seconds[2:]) * 1e3)
    return {
        "training step": name,
        "ours_ms": np.median(ours),
        "plain_loop_ms": np.median(plain),
        "of_plain_loop_time": np.median(np.divide(ours, plain)),
    }


def measure(rounds):
    """Yield a row for each network."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(60), 20)
    images = rng.random((1200, 1, 28, 28), dtype=np.float32)
    images[:, 0, 0, 0] = np.arange(1200)  # the row number, by which the plain loop takes its batch
    flat = rng.random((1200, 64), dtype=np.float32)
    flat[:, 0] = np.arange(1200)
    yield compare("Conv4 20-way 5+5", lambda: Conv4((1, 28, 28)), images, y, 20, 5, 5, rounds)
    yield compare("MLP 20-way 5+5", lambda: MLP(64), flat, y, 20, 5, 5, 5 * rounds)


if __name__ == "__main__":
    given = arguments(__doc__)
    report("training", measure(given.rounds), given.json)
