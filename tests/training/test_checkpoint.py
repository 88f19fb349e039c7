"""Interrupted trainings: resumed, finished, foreign, damaged, not to be written, killed."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

import sk_fewshot
from sk_fewshot import (
    MatchingTransformer,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    load,
    save,
)
from sk_fewshot.encoders import Conv4
from sk_fewshot.metrics import make_pairs
from sk_fewshot.persistence import InvalidFileError
from sk_fewshot.persistence._container import pack, unpack
from sk_fewshot.transformers import __all__ as TRANSFORMERS

TINY = {"max_epochs": 4, "batches_per_epoch": 2, "random_state": 0}


class WithDropout(nn.Module):
    """An encoder whose forward pass in training is random, and which has statistics."""

    def __init__(self, image_shape):
        super().__init__()
        self.conv4 = Conv4(image_shape, n_filters=4)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x):
        return self.dropout(self.conv4(x))


class Linear(nn.Linear):
    """An embedding as wide as the features."""

    def __init__(self, n_features):
        super().__init__(n_features, n_features)


class Interrupt(Callback):
    """Presses Ctrl-C in the middle of an epoch."""

    epoch = None

    def on_batch_end(self, net, training=False, **kwargs):
        if training and net.history[-1, "epoch"] == Interrupt.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def interrupt_in():
    def interrupt_in(epoch):
        Interrupt.epoch = epoch

    yield interrupt_in
    Interrupt.epoch = None


@pytest.fixture(scope="module")
def examples():
    """Images (48, 1, 8, 8) of 6 classes."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 8)
    X = rng.random((48, 1, 8, 8)) + rng.random((6, 1, 8, 8))[y]
    X.flags.writeable = y.flags.writeable = False
    return X, y


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training.checkpoint"


def noisy(batch):
    return batch + 0.1 * torch.randn_like(batch)


def assert_same(first, second):
    for name in ("module_", "loss_"):
        theirs = getattr(second, name).state_dict()
        for key, value in getattr(first, name).state_dict().items():
            assert torch.equal(value, theirs[key]), key
    keys = ("epoch", "train_loss", "valid_loss")
    histories = [[[e.get(k) for k in keys] for e in t.history_] for t in (first, second)]
    assert histories[0] == histories[1]


def interrupted_and_resumed(make, X, y, path, interrupt_in, epoch):
    """Fit with Ctrl-C in an epoch, then with a new object to the end."""
    interrupt_in(epoch)
    with pytest.raises(KeyboardInterrupt):
        make(checkpoint=path).fit(X, y)
    interrupt_in(None)
    return make(checkpoint=path).fit(X, y)


def with_interrupts(estimator, **params):
    def make(**more):
        callbacks = {"callbacks": [Interrupt()]}
        return estimator(**{**TINY, "net_params": callbacks, **params, **more})

    return make


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_resumed_training_is_bitwise_the_uninterrupted_one(examples, path, interrupt_in, name):
    make = with_interrupts(
        getattr(sk_fewshot, name),
        module=WithDropout,
        augment=noisy,
        validation_classes=0.4,
        optimizer="adam",
    )
    whole = make().fit(*examples)
    resumed = interrupted_and_resumed(make, *examples, path, interrupt_in, epoch=3)
    assert_same(whole, resumed)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("optimizer", "epoch"), [("adamw", 1), ("sgd", 2), (torch.optim.RMSprop, 4)]
)
def test_any_epoch_and_optimizer(examples, path, interrupt_in, optimizer, epoch):
    make = with_interrupts(SphereFaceTransformer, optimizer=optimizer, embedding_dim=4)
    whole = make().fit(*examples)
    resumed = interrupted_and_resumed(make, *examples, path, interrupt_in, epoch=epoch)
    assert_same(whole, resumed)
    assert whole.loss_.step == 8


def test_interrupted_again_and_again(examples, path, interrupt_in):
    make = with_interrupts(PrototypicalTransformer, module=WithDropout)
    for epoch in (1, 2, 2, 4):
        interrupt_in(epoch)
        with pytest.raises(KeyboardInterrupt):
            make(checkpoint=str(path)).fit(*examples)
    interrupt_in(None)
    assert_same(make().fit(*examples), make(checkpoint=path).fit(*examples))


def test_early_stopping_and_its_best_epoch_go_on(examples, path, interrupt_in):
    X, y = examples[0].reshape(48, -1), examples[1]
    params = {"max_epochs": 60, "validation_classes": 0.4, "lr": 0.5}
    make = with_interrupts(PrototypicalTransformer, **params)
    whole = make().fit(X, y)
    assert 11 <= whole.n_iter_ < 60
    resumed = interrupted_and_resumed(make, X, y, path, interrupt_in, whole.n_iter_ - 1)
    assert_same(whole, resumed)


def test_callbacks_of_skorch_go_on(examples, path, interrupt_in):
    def callbacks():
        stop = EarlyStopping("train_loss", patience=3, threshold=10, threshold_mode="abs")
        return [stop, LRScheduler("StepLR", step_size=2, gamma=0.1), Interrupt()]

    def make(**params):
        net_params = {"callbacks": callbacks(), "callbacks__lr_schedule": None}
        params = {**TINY, "max_epochs": 9, "net_params": net_params, **params}
        return PrototypicalTransformer(**params)

    whole = make().fit(*examples)
    assert whole.n_iter_ == 4
    resumed = interrupted_and_resumed(make, *examples, path, interrupt_in, epoch=4)
    assert_same(whole, resumed)
    assert resumed.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert_same(whole, make(checkpoint=path).fit(*examples))  # finished: it does not go on


def test_one_estimator_is_fitted_again_after_an_interrupt(examples, path, interrupt_in):
    make = with_interrupts(PrototypicalTransformer)
    encoder = make(checkpoint=path)
    interrupt_in(2)
    with pytest.raises(KeyboardInterrupt):
        encoder.fit(*examples)
    assert not hasattr(encoder, "module_")
    interrupt_in(None)
    assert_same(make().fit(*examples), encoder.fit(*examples))


@pytest.mark.parametrize("random_state", [None, "instance"])
def test_a_drawn_seed_is_kept(examples, path, interrupt_in, random_state):
    if random_state == "instance":
        random_state = np.random.RandomState(0)
    make = with_interrupts(
        PrototypicalTransformer, random_state=random_state, validation_classes=0.4
    )
    resumed = interrupted_and_resumed(make, *examples, path, interrupt_in, epoch=3)
    assert_same(resumed, make(checkpoint=path, random_state=None).fit(*examples))
    assert resumed.n_iter_ == 4


def test_finished_training_is_returned_without_writing(examples, path):
    first = PrototypicalTransformer(**TINY, augment=noisy, checkpoint=path).fit(*examples)
    content = path.read_bytes()
    again = PrototypicalTransformer(**TINY, augment=noisy, checkpoint=path).fit(*examples)
    assert_same(first, again)
    assert path.read_bytes() == content


def test_bar_begins_where_training_does(examples, path, interrupt_in, capsys):
    make = with_interrupts(PrototypicalTransformer, verbose=1)
    interrupt_in(3)
    with pytest.raises(KeyboardInterrupt):
        make(checkpoint=path).fit(*examples)
    interrupt_in(None)
    assert "0/8" in capsys.readouterr().err
    make(checkpoint=path).fit(*examples)
    shown = capsys.readouterr().err
    assert "4/8" in shown
    assert "8/8" in shown
    assert "0/8" not in shown


class Twice:
    """An augmentation whose attributes tell it apart."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, batch):
        return self.factor * batch


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"lr": 0.1}, "lr"),
        ({"max_epochs": 5}, "max_epochs"),
        ({"random_state": 1}, "random_state"),
        ({"random_state": None}, "random_state"),
        ({"module": nn.Flatten}, "module"),
        ({"augment": lambda batch: batch}, "augment"),
        ({"augment": Twice(3)}, "augment"),
        ({"net_params": {"optimizer__weight_decay": 0.1}}, "net_params"),
        ({"net_params": {"callbacks": [EarlyStopping(patience=9)]}}, "net_params"),
        ({"n_way": 3, "metric": "cosine"}, "metric, n_way"),
    ],
)
def test_other_parameters_are_refused(examples, path, params, named):
    make = {**TINY, "augment": Twice(2), "checkpoint": path}
    PrototypicalTransformer(**make).fit(*examples)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint=.* another training, .* in {named}\."):
        PrototypicalTransformer(**{**make, **params}).fit(*examples)
    assert path.read_bytes() == content


def test_other_data_and_methods_are_refused(examples, path):
    X, y = examples
    PrototypicalTransformer(**TINY, checkpoint=path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in X\."):
        PrototypicalTransformer(**TINY, checkpoint=path).fit(X + np.eye(8), y)
    with pytest.raises(ValueError, match=r"differs in X, y\."):
        PrototypicalTransformer(**TINY, checkpoint=path).fit(X[:-1], y[:-1])
    with pytest.raises(ValueError, match=r"differs in y\."):
        PrototypicalTransformer(**TINY, checkpoint=path).fit(X, np.roll(y, 1))
    with pytest.raises(ValueError, match="differs in estimator"):
        MatchingTransformer(**TINY, checkpoint=path).fit(X, y)


def test_what_does_not_change_the_training_may_change(examples, path, interrupt_in):
    make = with_interrupts(PrototypicalTransformer)
    interrupt_in(3)
    with pytest.raises(KeyboardInterrupt):
        make(checkpoint=path, device="auto").fit(*examples)
    interrupt_in(None)
    moved = path.replace(path.with_name("moved"))
    resumed = make(checkpoint=moved, device="cpu", verbose=0).fit(*examples)
    assert_same(make().fit(*examples), resumed)


def test_edited_module_is_refused(examples, path):
    class Net(nn.Flatten):
        width = 2

        def __init__(self):
            super().__init__()
            self.extra = nn.Linear(64, Net.width)

        def forward(self, x):
            return self.extra(super().forward(x))

    PrototypicalTransformer(**TINY, module=Net, checkpoint=path).fit(*examples)
    Net.width = 3
    with pytest.raises(ValueError, match=r"(?s)checkpoint=.* made otherwise: .*extra.weight"):
        PrototypicalTransformer(**TINY, module=Net, checkpoint=path).fit(*examples)


def test_another_version_warns(examples, path, monkeypatch):
    versions = {"sk_fewshot": "0.0", "torch": "1.0"}
    with monkeypatch.context() as patch:
        patch.setattr("sk_fewshot._training.checkpoint._versions", lambda: versions)
        PrototypicalTransformer(**TINY, checkpoint=path).fit(*examples)
    with pytest.warns(UserWarning, match=r"checkpoint=.* was written with .*'torch': '1.0'"):
        PrototypicalTransformer(**TINY, checkpoint=path).fit(*examples)


def test_damaged_files_are_refused_and_stay(examples, path):
    encoder = PrototypicalTransformer(**TINY, checkpoint=path).fit(*examples)
    content = path.read_bytes()
    n = len(content)
    damaged = [content[:end] for end in (0, 1, 24, 88, 89, 200, n // 2, n - 1)]
    damaged += [content + b"x", b"x" + content[1:], np.random.default_rng(0).bytes(1000)]
    for at in (30, 100, n // 2, n - 5):
        damaged.append(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"checkpoint=.* is damaged or not a checkpoint"):
            clone(encoder).fit(*examples)
        assert path.read_bytes() == wrong


def test_nothing_in_a_file_is_run(examples, path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("run")),)

    buffer = io.BytesIO()
    torch.save({"training": Payload()}, buffer)
    seal = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
    path.write_bytes(b"sk_fewshot checkpoint 1 " + seal + b"\n" + buffer.getvalue())
    with pytest.raises(ValueError, match=r"checkpoint=.* is damaged or not a checkpoint"):
        PrototypicalTransformer(**TINY, checkpoint=path).fit(*examples)
    assert os.listdir(path.parent) == [path.name]


def test_wrong_paths_raise_before_training(examples, tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file" / "x", tmp_path / "missing" / "x", tmp_path):
        with pytest.raises(OSError):
            PrototypicalTransformer(**TINY, checkpoint=wrong).fit(*examples)
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ValueError, match=r"The 'checkpoint' parameter .* must be"):
        PrototypicalTransformer(**TINY, checkpoint=3).fit(*examples)


def test_two_trainings_at_once_do_not_overwrite_each_other(examples, path):
    class Intruder(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if net.history[-1, "epoch"] == 2:
                path.unlink()
                PrototypicalTransformer(**TINY, lr=0.1, checkpoint=path).fit(*examples)

    params = {**TINY, "net_params": {"callbacks": [Intruder()]}, "checkpoint": path}
    with pytest.raises(ValueError, match="has meanwhile been written by another training"):
        PrototypicalTransformer(**params).fit(*examples)
    PrototypicalTransformer(**TINY, lr=0.1, checkpoint=path).fit(*examples)


def test_state_that_a_file_cannot_hold_is_refused(examples, path):
    class Scored(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("score", {1, 2})

    params = {**TINY, "net_params": {"callbacks": [Scored()]}, "checkpoint": path}
    with pytest.raises(TypeError, match="A checkpoint holds numbers, text and tensors"):
        PrototypicalTransformer(**params).fit(*examples)


def test_grid_search_over_one_checkpoint_raises(examples, path):
    X, y = examples
    grid = GridSearchCV(
        PrototypicalClassifier(PrototypicalTransformer(**TINY, checkpoint=path)),
        {"encoder__lr": [0.01, 0.1]},
        cv=2,
        error_score="raise",
    )
    with pytest.raises(ValueError, match="holds another training"):
        grid.fit(X, y)


def test_meta_fit_and_pairs_resume_too(examples, path, interrupt_in):
    X, y = examples
    make = with_interrupts(SiameseTransformer)
    pairs = make_pairs(X.reshape(48, -1), y, n_pairs=60, random_state=0)

    def fitted(checkpoint, what):
        clf = PairClassifier(make(checkpoint=checkpoint), random_state=0)
        clf.meta_fit(X, y) if what == "meta" else clf.fit(*pairs)
        return clf.encoder.estimator if what == "meta" else clf.encoder_

    for what in ("meta", "pairs"):
        checkpoint = path.with_name(what)
        interrupt_in(3)
        with pytest.raises(KeyboardInterrupt):
            fitted(checkpoint, what)
        interrupt_in(None)
        assert_same(fitted(None, what), fitted(checkpoint, what))


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=["None", "instance"])
@pytest.mark.parametrize("make_encoder", [lambda s: s, lambda s: make_pipeline(PCA(5), s)])
def test_pairs_without_a_seed_resume_and_calibrate_on_unseen_pairs(
    examples, path, interrupt_in, random_state, make_encoder
):
    X, y = examples
    make = with_interrupts(SiameseTransformer, random_state=None, module=Linear)
    X_pairs, same = make_pairs(X.reshape(48, -1), y, n_pairs=60, random_state=0)

    def classifier():
        return PairClassifier(make_encoder(make(checkpoint=path)), random_state=random_state)

    interrupt_in(3)
    with pytest.raises(KeyboardInterrupt):
        classifier().fit(X_pairs, same)
    interrupt_in(None)
    resumed = classifier().fit(X_pairs, same)
    path.unlink()
    whole = classifier().fit(X_pairs, same)
    assert resumed.threshold_ == whole.threshold_
    np.testing.assert_array_equal(resumed.predict_proba(X_pairs), whole.predict_proba(X_pairs))
    with pytest.raises(ValueError, match=r"holds another training, .* X, y\."):
        classifier().fit(X_pairs[1:], same[1:])


@pytest.mark.parametrize("random_state", [None, 0, np.random.RandomState(0)], ids=type)
@pytest.mark.parametrize("name", ["first", "pipeline"])
def test_meta_fit_resumes_whatever_the_seed(examples, path, interrupt_in, random_state, name):
    X, y = examples[0].reshape(48, -1), examples[1]
    make = with_interrupts(PrototypicalTransformer, random_state=None, checkpoint=path)

    def classifier():
        encoder = make() if name == "first" else make_pipeline(PCA(5), make())
        return PrototypicalClassifier(encoder, random_state=random_state)

    interrupt_in(3)
    with pytest.raises(KeyboardInterrupt):
        classifier().meta_fit(X, y)
    interrupt_in(None)
    resumed = classifier().meta_fit(X, y).encoder
    again = classifier().meta_fit(X, y).encoder
    np.testing.assert_array_equal(resumed.transform(X), again.transform(X))


def test_saved_estimators_leave_the_path_behind(examples, path, tmp_path):
    encoder = PrototypicalTransformer(**TINY, checkpoint=path).fit(*examples)
    save(encoder, tmp_path / "saved")
    assert load(tmp_path / "saved").checkpoint is None
    assert str(path).encode() not in (tmp_path / "saved").read_bytes()
    assert clone(encoder).checkpoint == path


def test_files_that_name_a_path_to_write_to_are_refused(examples, path, tmp_path):
    save(PrototypicalTransformer(**TINY).fit(*examples), tmp_path / "saved")
    structure, tensors = unpack((tmp_path / "saved").read_bytes())
    structure["estimator"]["estimator"]["params"]["checkpoint"] = str(path)
    (tmp_path / "saved").write_bytes(pack(json.dumps(structure), tensors))
    with pytest.raises(InvalidFileError, match="checkpoint must be, in a file, None"):
        load(tmp_path / "saved")


@pytest.mark.cuda
def test_resumed_on_cuda_is_bitwise_the_same(examples, path, interrupt_in):
    make = with_interrupts(SphereFaceTransformer, module=WithDropout, augment=noisy, device="cuda")
    whole = make().fit(*examples)
    resumed = interrupted_and_resumed(make, *examples, path, interrupt_in, epoch=3)
    assert_same(whole, resumed)


@pytest.fixture
def full_disk():
    """Lets files grow no further than a kilobyte from the moment it is called."""
    resource = pytest.importorskip("resource", reason="needs limits of resources")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_raises_and_the_last_good_file_stays(examples, path, full_disk):
    class Fill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if net.history[-1, "epoch"] == 3:
                contents.append(path.read_bytes())
                full_disk()

    contents = []
    params = {**TINY, "net_params": {"callbacks": [Fill()]}, "checkpoint": path}
    with pytest.raises(OSError, match="The checkpoint cannot be written: File too large") as error:
        PrototypicalTransformer(**params).fit(*examples)
    assert error.value.filename == str(path)
    assert os.listdir(path.parent) == [path.name]
    assert [path.read_bytes()] == contents


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments(tmp_path):
    script = """
        import os, random, signal, sys, time
        import numpy as np, torch
        from sk_fewshot import SphereFaceTransformer

        torch.set_num_threads(1)
        rng = np.random.default_rng(0)
        X, y = rng.random((40, 8)), np.repeat(range(4), 10)

        def fitted(path):
            return SphereFaceTransformer(
                max_epochs=12, batches_per_epoch=1, random_state=0, checkpoint=path
            ).fit(X, y).transform(X)

        start = time.perf_counter()
        whole = fitted(sys.argv[1] + "/whole")
        seconds = time.perf_counter() - start
        for i in range(2):
            path = f"{sys.argv[1]}/{i}"
            child = os.fork()
            if not child:
                fitted(path)
                os._exit(0)
            time.sleep(random.uniform(0.1, 0.9) * seconds)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            np.testing.assert_array_equal(fitted(path), whole)
        print(sorted(os.listdir(sys.argv[1])))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "['0', '1', 'whole']\n", done.stderr
