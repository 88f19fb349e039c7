"""Trainings killed at random moments: do they resume to bitwise the weights of a whole one?

Each is a process of its own, killed by SIGKILL, which no program can catch. Every second kill
waits, after its random moment, for the next writing of the checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from sk_fewshot import SphereFaceTransformer
from sk_fewshot.encoders import MLP

EPOCHS = 30
DIGITS = load_digits()


class WithDropout(nn.Module):
    """A random encoder with running statistics; large, so that writing takes its time."""

    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            MLP(n_features, hidden=(1024, 1024)), nn.BatchNorm1d(64), nn.Dropout(0.2)
        )

    def forward(self, x):
        return self.layers(x)


def noisy(batch):
    return batch + 0.1 * torch.randn_like(batch)


def weights(path: Path) -> bytes:
    """Train, or go on training, to the end; all that was learned."""
    encoder = SphereFaceTransformer(
        module=WithDropout,
        augment=noisy,
        classes_per_batch=4,
        samples_per_class=2,
        max_epochs=EPOCHS,
        batches_per_epoch=1,
        device="cpu",
        random_state=0,
        checkpoint=path,
    ).fit(DIGITS.data / 16, DIGITS.target)
    learned = [*encoder.module_.state_dict().values(), *encoder.loss_.state_dict().values()]
    return b"".join(tensor.numpy().tobytes() for tensor in learned)


def temporaries(path: Path) -> list[str]:
    """Files that are being written in place of a checkpoint."""
    return [name for name in os.listdir(path.parent) if name.startswith(f".{path.name}.")]


def killed_after(path: Path, seconds: float, while_writing: bool) -> bool:
    """Train in a process of its own and kill it; whether it had not ended before."""
    child = os.fork()
    if not child:
        weights(path)
        os._exit(0)
    time.sleep(seconds)
    while while_writing and not temporaries(path):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def epochs_in(path: Path) -> int:
    """Whole epochs that a checkpoint holds."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    temporary = path.with_suffix(".state")
    temporary.write_bytes(content[content.index(b"\n") + 1 :])
    state = torch.load(temporary, weights_only=True)
    temporary.unlink()
    return len(state["history"])


def measure(rounds: int, seed: int) -> None:
    """Print a line for each kill, then how many trainings came out the same."""
    rng = np.random.default_rng(seed)
    same = writing = 0
    with tempfile.TemporaryDirectory() as folder:
        weights(Path(folder, "warm-up"))
        start = time.perf_counter()
        whole = weights(Path(folder, "whole"))
        length = time.perf_counter() - start
        for i in range(1, rounds + 1):
            path = Path(folder, str(i))
            while not killed_after(path, after := rng.uniform(0, length), i % 2 == 0):
                path.unlink()
            mid_write = bool(temporaries(path))
            epochs = epochs_in(path)
            equal = weights(path) == whole
            same, writing = same + equal, writing + mid_write
            print(
                f"{i}: killed after {after:.2f} s, {epochs} of {EPOCHS} epochs done"
                f"{', while writing' if mid_write else ''}; resumed: "
                f"{'bitwise the same' if equal else 'OTHER WEIGHTS'}",
                flush=True,
            )
        left = sorted(name for name in os.listdir(folder) if name.startswith("."))
    print(
        f"{same} of {rounds} resumed to bitwise the weights of the uninterrupted training; "
        f"{writing} were killed while writing; {len(left)} temporary files left"
    )
    assert same == rounds
    assert not left


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    measure(given.rounds, given.seed)
