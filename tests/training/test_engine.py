"""Training: determinism, interrupts, validation, what the user can plug in."""

import pickle
import threading

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sk_fewshot import PrototypicalTransformer

TINY = {"max_epochs": 2, "batches_per_epoch": 3, "random_state": 0}


class WithDropout(nn.Module):
    """An encoder whose forward pass in training is random."""

    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 8), nn.Dropout(0.5), nn.Linear(8, 4))

    def forward(self, x):
        return self.layers(x)


def fitted(X, y, **params):
    return PrototypicalTransformer(**{**TINY, **params}).fit(X, y).transform(X)


def noisy(batch):
    return batch + 0.1 * torch.randn_like(batch)


def test_same_seed_gives_bitwise_the_same(blobs):
    params = {"module": WithDropout, "augment": noisy}
    first = fitted(*blobs, **params)
    for _ in range(3):
        np.testing.assert_array_equal(fitted(*blobs, **params), first)
    assert (fitted(*blobs, **params, random_state=1) != first).any()


def test_same_seed_gives_bitwise_the_same_in_threads_and_processes(blobs):
    params = {"module": WithDropout, "augment": noisy}
    first = fitted(*blobs, **params)
    for backend in ("threading", "loky"):
        results = Parallel(n_jobs=4 if backend == "threading" else 2, backend=backend)(
            delayed(fitted)(*blobs, **params) for _ in range(4)
        )
        for result in results:
            np.testing.assert_array_equal(result, first)


def test_global_generators_are_left_alone(blobs):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    fitted(*blobs, module=WithDropout)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


class InterruptAt(Callback):
    """Presses Ctrl-C at a batch."""

    def __init__(self, batch):
        self.batch = batch

    def on_batch_begin(self, net, training=False, **kwargs):
        if len(net.history[-1, "batches"]) == self.batch:
            raise KeyboardInterrupt


def test_interrupt_is_raised_and_leaves_the_estimator_as_it_was(blobs):
    interrupted = {"net_params": {"callbacks": [InterruptAt(2)]}}
    fresh = PrototypicalTransformer(**TINY, **interrupted)
    before = vars(fresh).copy()
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(*blobs)
    assert vars(fresh) == before

    encoder = PrototypicalTransformer(**TINY).fit(*blobs)
    embeddings = encoder.transform(blobs[0])
    with pytest.raises(KeyboardInterrupt):
        encoder.set_params(**interrupted).fit(blobs[0][:, :3], blobs[1])
    np.testing.assert_array_equal(encoder.transform(blobs[0]), embeddings)


def test_interrupted_thread_does_not_block_others(blobs):
    with pytest.raises(KeyboardInterrupt):
        fitted(*blobs, net_params={"callbacks": [InterruptAt(1)]})
    done = []
    thread = threading.Thread(target=lambda: done.append(fitted(*blobs)))
    thread.start()
    thread.join(timeout=60)
    assert done


def test_validation_classes_are_disjoint_and_stop_early(blobs):
    encoder = PrototypicalTransformer(
        max_epochs=60, batches_per_epoch=2, validation_classes=0.4, lr=0.5, random_state=0
    ).fit(*blobs)
    losses = [epoch["valid_loss"] for epoch in encoder.history_]
    assert encoder.n_iter_ == len(losses) < 60
    assert encoder.n_iter_ == np.argmin(losses) + 1 + 10
    assert encoder.net_.history[-1, "batches", 0, "train_batch_size"] == 4 * 6


def test_early_stopping_of_skorch_finishes_the_fit(blobs):
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=10, threshold_mode="abs")
    encoder = PrototypicalTransformer(
        max_epochs=9, batches_per_epoch=2, random_state=0, net_params={"callbacks": [stop]}
    ).fit(*blobs)
    assert encoder.n_iter_ == 2


def test_validation_needs_two_classes_on_each_side(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"validation_classes=0.9 holds out 5 of 6 classes"):
        PrototypicalTransformer(**TINY, validation_classes=0.9).fit(X, y)


def test_history_and_net_are_kept(blobs):
    encoder = PrototypicalTransformer(**TINY).fit(*blobs)
    assert [epoch["epoch"] for epoch in encoder.history_] == [1, 2]
    assert all(epoch["train_loss"] > 0 for epoch in encoder.history_)
    assert encoder.net_.history[:, "train_batch_count"] == [3, 3]
    assert not encoder.module_.training
    assert all(p.grad is None for p in encoder.module_.parameters())


def test_verbose_shows_a_bar_and_0_is_silent(blobs, capsys):
    PrototypicalTransformer(**TINY).fit(*blobs)
    assert capsys.readouterr() == ("", "")
    PrototypicalTransformer(**TINY, verbose=1).fit(*blobs)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "6/6" in shown.err
    assert "train_loss" in shown.err


def test_net_params_reach_skorch(blobs):
    encoder = PrototypicalTransformer(
        **TINY, optimizer="sgd", net_params={"optimizer__momentum": 0.7, "gradient_clip": None}
    )
    with pytest.raises(ValueError, match="gradient_clip"):
        encoder.fit(*blobs)
    encoder.set_params(net_params={"optimizer__momentum": 0.7, "callbacks__lr_schedule": None})
    encoder.fit(*blobs)
    (group,) = encoder.net_.optimizer_.param_groups
    assert group["momentum"] == 0.7
    assert group["lr"] == encoder.lr


def test_learning_rate_falls_to_zero(blobs):
    encoder = PrototypicalTransformer(**TINY).fit(*blobs)
    assert encoder.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_diverging_loss_is_an_error(blobs):
    with pytest.raises(ValueError, match=r"loss became (nan|inf) in epoch 1. Lower lr=0.001"):
        PrototypicalTransformer(**TINY, augment=lambda batch: batch * torch.inf).fit(*blobs)


def test_augment_must_keep_the_shape(blobs):
    with pytest.raises(ValueError, match=r"augment must return a tensor of the shape .*\(36, 5\)"):
        PrototypicalTransformer(**TINY, augment=lambda batch: batch[1:]).fit(*blobs)


def test_augment_sees_whole_batches_in_training_only(blobs):
    seen = []

    def spy(batch):
        seen.append(batch.shape)
        return batch

    encoder = PrototypicalTransformer(**TINY, augment=spy).fit(*blobs)
    encoder.transform(blobs[0])
    assert seen == [torch.Size([36, 5])] * 6


def test_memory_map_is_not_copied(blobs, tmp_path):
    X, y = blobs
    mapped = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    read_only = np.memmap(tmp_path / "X", dtype=np.float32, mode="r", shape=X.shape)
    np.testing.assert_array_equal(fitted(read_only, y), fitted(X, y))


def test_pickle_leaves_out_the_optimizer(blobs):
    encoder = PrototypicalTransformer(**TINY).fit(*blobs)
    copy = pickle.loads(pickle.dumps(encoder))
    assert not hasattr(copy, "net_")
    assert copy.history_ == encoder.history_
    np.testing.assert_array_equal(copy.transform(blobs[0]), encoder.transform(blobs[0]))


@pytest.mark.cuda
def test_cuda_trains_repeatably_and_pickles_to_the_cpu(blobs):
    X, y = blobs
    encoder = PrototypicalTransformer(**TINY, device="cuda").fit(X, y)
    again = PrototypicalTransformer(**TINY, device="cuda").fit(X, y)
    assert next(encoder.module_.parameters()).is_cuda
    np.testing.assert_array_equal(encoder.transform(X), again.transform(X))
    on_cpu = pickle.loads(pickle.dumps(encoder))
    assert not next(on_cpu.module_.parameters()).is_cuda
    np.testing.assert_allclose(on_cpu.transform(X), encoder.transform(X), rtol=1e-3, atol=1e-4)
