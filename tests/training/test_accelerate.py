"""Training by two processes: as by one, the same on both, with everything that ends a training."""

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from sk_fewshot import (
    AMSoftmaxTransformer,
    PrototypicalClassifier,
    PrototypicalTransformer,
    episode_score,
    load,
)

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not find_spec("accelerate"), reason="accelerate is not installed"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
]

SCRIPT = str(Path(__file__).with_name("two_processes.py"))


@pytest.fixture(scope="module")
def trainings():
    """What the script defines."""
    return runpy.run_path(SCRIPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the two processes have left what they learned."""
    folder = tmp_path_factory.mktemp("two_processes")
    command = [sys.executable, "-W", "error", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return folder


@pytest.fixture(scope="module")
def learned(folder):
    """Weights and histories by training, of each process."""
    return [torch.load(folder / f"rank {rank}")[0] for rank in (0, 1)]


def test_both_processes_end_with_bitwise_the_same(learned):
    first, second = learned
    assert first.keys() == second.keys()
    for name, (weights, history) in first.items():
        for key, value in weights.items():
            assert torch.equal(value, second[name][0][key]), (name, key)
        assert history == second[name][1], name


@pytest.mark.parametrize(
    ("name", "transformer"),
    [("prototypes", PrototypicalTransformer), ("class weights", AMSoftmaxTransformer)],
)
def test_a_step_of_two_processes_is_a_step_on_two_batches(learned, trainings, name, transformer):
    one = trainings["by_two_batches_a_step"](transformer, trainings["TwoBatchesAStep"], "cpu")
    weights, history = learned[0][name]
    for module in (one.module_, one.loss_):
        for key, value in module.state_dict().items():
            torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6)
    for epoch, expected in zip(history, one.history_, strict=True):
        assert epoch == pytest.approx({key: expected[key] for key in epoch}, rel=1e-5)


def test_each_process_takes_every_second_batch_of_the_sequence(folder, trainings):
    eyes = trainings["NoisyEyes"]()
    trainings["on_digits"]("cpu", eyes)
    (_, *first, _), (_, *second, _) = (torch.load(folder / f"rank {rank}") for rank in (0, 1))
    seen = [batch for pair in zip(first[0], second[0], strict=True) for batch in pair]
    assert len(seen) == len(eyes.seen) == 40
    assert all(torch.equal(*batches) for batches in zip(seen, eyes.seen, strict=True))
    assert not any(torch.equal(*noises) for noises in zip(first[1], second[1], strict=True))


def test_statistics_are_of_the_steps_of_the_first_process(learned):
    weights, _ = learned[0]["digits"]
    assert weights["learned.3.num_batches_tracked"] == 20


def test_scores_are_those_of_one_process(folder, trainings):
    X, y = trainings["digits"]()
    episodes = {"n_shot": 1, "n_episodes": 300, "random_state": 0}
    means = []
    for encoder in (load(folder / "digits"), trainings["on_digits"]("cpu")):
        clf = PrototypicalClassifier("passthrough")
        means.append(episode_score(clf, encoder.transform(X[y >= 5]), y[y >= 5], **episodes).mean)
    untrained = episode_score(clf, X[y >= 5], y[y >= 5], **episodes).mean
    assert means[0] == pytest.approx(means[1], abs=0.03)
    assert min(means) > untrained


@pytest.mark.parametrize("name", ["keep best", "early stopping"])
def test_early_stopping_ends_both(learned, name):
    assert 1 < len(learned[0][name][1]) < 60


def test_keep_best_goes_by_the_batches_of_both(learned):
    losses = [epoch["valid_loss"] for epoch in learned[0]["keep best"][1]]
    assert len(losses) == np.argmin(losses) + 1 + 10


def test_resumed_training_is_bitwise_the_uninterrupted_one(learned, folder):
    whole, resumed = learned[0]["whole"], learned[0]["resumed"]
    assert all(torch.equal(value, resumed[0][key]) for key, value in whole[0].items())
    assert resumed[1] == whole[1]
    assert sorted(os.listdir(folder)) == ["digits", "rank 0", "rank 1", "resumed", "whole"]


def test_another_number_of_processes_is_another_training(folder, trainings):
    params = {"validation_classes": 0.4, "max_epochs": 3, "random_state": 0}
    params["net_params"] = {"callbacks": [trainings["Interrupt"]()]}
    with pytest.raises(ValueError, match="differs in number of processes"):
        trainings["accelerated"](**params, device="cpu", checkpoint=folder / "whole")


def test_accumulated_gradients_are_refused(folder):
    assert "takes no gradient_accumulation_steps=2" in torch.load(folder / "rank 0")[-1]


def test_without_accelerate_the_error_says_what_to_install(trainings, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'pip install "sk-fewshot\[distributed\]"'):
        trainings["on_digits"]("accelerate")
