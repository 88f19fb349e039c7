"""skorch's callbacks, schedules and loggers, and a user's own, through `net_params`."""

import numpy as np
import pytest
import torch
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
    TensorBoard,
)
from torch import nn
from torch.optim.lr_scheduler import LinearLR

from sk_fewshot import PrototypicalTransformer
from sk_fewshot.metrics import precision_at_1

BRIEF = {"max_epochs": 3, "batches_per_epoch": 4, "random_state": 0}


class WithDropout(nn.Sequential):
    """An encoder whose training is random."""

    def __init__(self, n_features):
        super().__init__(nn.Linear(n_features, 8), nn.Dropout(0.5), nn.Linear(8, 4))


class Recorder(Callback):
    """Watches the training, and draws from torch's generator at the end of an epoch."""

    def __init__(self):
        self.events = []
        self.rates = []
        self.gradients = []

    def on_train_begin(self, net, **kwargs):
        self.events.append("train begins")

    def on_grad_computed(self, net, named_parameters, **kwargs):
        norms = [p.grad.norm() for _, p in named_parameters if p.grad is not None]
        self.gradients.append(float(torch.stack(norms).norm()))
        self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        torch.rand(10)
        self.events.append(net.history[-1, "epoch"])

    def on_train_end(self, net, **kwargs):
        self.events.append("train ends")


def one_nearest_neighbour(net, X, y):
    """Precision at 1 among the held-out classes."""
    return precision_at_1(net.predict(X), y)


def fitted(X, y, *callbacks, **params):
    net_params = {"callbacks": list(callbacks), **params.pop("net_params", {})}
    return PrototypicalTransformer(**{**BRIEF, "net_params": net_params, **params}).fit(X, y)


@pytest.mark.parametrize("validation_classes", [None, 0.4])
def test_what_only_watches_leaves_the_training_alone(blobs, validation_classes):
    params = {"module": WithDropout, "validation_classes": validation_classes}
    recorder = Recorder()
    score = EpochScoring(one_nearest_neighbour, lower_is_better=False)
    plain = fitted(*blobs, **params)
    watched = fitted(*blobs, recorder, ("score", score), **params)
    assert recorder.events == ["train begins", 1, 2, 3, "train ends"]
    assert len(recorder.rates) == len(recorder.gradients) == 12
    for name, weight in plain.module_.state_dict().items():
        assert torch.equal(watched.module_.state_dict()[name], weight)


def test_a_score_of_every_epoch_is_in_the_history(blobs):
    score = EpochScoring(one_nearest_neighbour, lower_is_better=False)
    encoder = fitted(*blobs, score, validation_classes=0.4)
    scores = [epoch["one_nearest_neighbour"] for epoch in encoder.history_]
    assert len(scores) == 3
    assert all(0.5 < score <= 1 for score in scores)


def test_a_training_score_is_of_the_batches(blobs):
    score = EpochScoring(one_nearest_neighbour, lower_is_better=False, on_train=True, name="p1")
    assert all(0 < epoch["p1"] <= 1 for epoch in fitted(*blobs, score).history_)


def test_callbacks_see_the_epoch_at_which_the_validation_loss_stops_falling(blobs):
    recorder = Recorder()
    score = EpochScoring(one_nearest_neighbour, lower_is_better=False)
    encoder = fitted(
        *blobs, recorder, score, max_epochs=60, validation_classes=0.4, lr=0.5, batches_per_epoch=2
    )
    assert encoder.n_iter_ < 60
    assert recorder.events[1:-1] == list(range(1, encoder.n_iter_ + 1))
    assert all("one_nearest_neighbour" in epoch for epoch in encoder.history_)


@pytest.mark.parametrize("name", [None, "lr_schedule", "mine"])
def test_a_schedule_takes_the_place_of_the_cosine(blobs, name):
    recorder = Recorder()
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.1)
    encoder = fitted(*blobs, schedule if name is None else (name, schedule), recorder, lr=0.01)
    np.testing.assert_allclose(recorder.rates, np.repeat([1e-2, 1e-3, 1e-4], 4))
    assert [epoch["event_lr"] for epoch in encoder.history_] == pytest.approx([1e-2, 1e-3, 1e-4])


def test_a_schedule_of_every_batch_and_one_that_follows_a_loss(blobs):
    recorder = Recorder()
    warm_up = LRScheduler(LinearLR, start_factor=0.1, total_iters=4, step_every="batch")
    fitted(*blobs, warm_up, recorder)
    np.testing.assert_allclose(recorder.rates[:5], np.linspace(1e-4, 1e-3, 5))
    np.testing.assert_allclose(recorder.rates[4:], 1e-3)
    plateau = LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=1e6)
    encoder = fitted(*blobs, plateau, validation_classes=0.4)
    assert encoder.net_.optimizer_.param_groups[0]["lr"] < 1e-3


def test_without_a_schedule_or_callbacks_it_is_the_cosine(blobs):
    recorder = Recorder()
    fitted(*blobs, recorder)
    steps = np.arange(12)
    np.testing.assert_allclose(recorder.rates, 5e-4 * (1 + np.cos(np.pi * steps / 12)))
    nothing = PrototypicalTransformer(**BRIEF, net_params={"callbacks": None}).fit(*blobs)
    np.testing.assert_array_equal(nothing.transform(blobs[0]), fitted(*blobs).transform(blobs[0]))


def test_callbacks_of_skorch_change_the_training(blobs):
    recorder = Recorder()
    fitted(*blobs, GradientNormClipping(1e-3), recorder, optimizer="sgd")
    assert max(recorder.gradients) <= 1e-3 * 1.001
    module = WithDropout(5)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    after = fitted(*blobs, Freezer("0.*"), module=module).module_.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == {
        "0.weight",
        "0.bias",
    }


def test_groups_of_parameters_have_rates_of_their_own(blobs):
    groups = [("0.*", {"lr": 1e-4})]
    encoder = fitted(
        *blobs,
        LRScheduler("StepLR", step_size=100),
        module=WithDropout,
        net_params={"optimizer__param_groups": groups},
    )
    first, others = encoder.net_.optimizer_.param_groups
    assert (first["lr"], len(first["params"])) == (1e-4, 2)
    assert others["lr"] == 1e-3


def test_early_stopping_of_skorch_and_ours_go_together(blobs):
    stop = EarlyStopping(patience=2, threshold=10, threshold_mode="abs")
    encoder = fitted(*blobs, stop, max_epochs=9, validation_classes=0.4)
    assert encoder.n_iter_ == 3
    losses = [epoch["valid_loss"] for epoch in encoder.history_]
    best = fitted(*blobs, max_epochs=9, validation_classes=0.4)
    assert losses == [epoch["valid_loss"] for epoch in best.history_[:3]]


def test_a_logger_writes_each_epoch(blobs, tmp_path):
    pytest.importorskip("tensorboard", reason="skorch's TensorBoard needs it")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        encoder = fitted(*blobs, TensorBoard(writer))
    assert [file.stat().st_size > 0 for file in tmp_path.iterdir()] == [True]
    plain = fitted(*blobs)
    np.testing.assert_array_equal(encoder.transform(blobs[0]), plain.transform(blobs[0]))
