"""Drawing episodes against easyfsl's TaskSampler, and its cost from 100 to 100,000 classes.

The peer's sampler is run as published, without the torchvision that its package imports. Both draw
5-way 1-shot 15-query episodes of classes of 20 examples; every episode must have 5 distinct classes
and distinct examples. The floor is one draw of as many random numbers. Needs ``pip install easyfsl
--no-deps``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from itertools import islice

import numpy as np
from _report import arguments, interleaved, ratio, report
from torch.utils.data import Sampler

from sk_fewshot import EpisodeSplit

N_EPISODES, N_PEER_EPISODES = 2000, 200  # the peer's time is scaled up


class Labels:
    """What easyfsl's sampler asks of a dataset."""

    def __init__(self, y: np.ndarray):
        self._labels = y.tolist()

    def get_labels(self) -> list[int]:
        """Return the class of each example."""
        return self._labels


def task_sampler():
    """Return easyfsl's TaskSampler."""
    location = importlib.util.find_spec("easyfsl").submodule_search_locations[0]
    datasets = types.ModuleType("easyfsl.datasets")
    datasets.FewShotDataset = Labels
    samplers = types.ModuleType("easyfsl.samplers")
    samplers.__path__ = [f"{location}/samplers"]
    sys.modules.update({"easyfsl.datasets": datasets, "easyfsl.samplers": samplers})
    Sampler.__init__ = lambda self, data_source=None: None  # its signature when easyfsl was written
    return importlib.import_module("easyfsl.samplers.task_sampler").TaskSampler


def check(episodes: list[np.ndarray], y: np.ndarray) -> None:
    """Check that examples and classes are distinct, 16 examples a class."""
    for episode in episodes:
        assert len(set(episode)) == 80, "an example occurs twice"
        assert np.unique(y[episode], return_counts=True)[1].tolist() == [16] * 5


def measure(rounds: int):
    """Yield a row for each number of classes."""
    for n_classes in (100, 1_000, 5_000, 100_000):
        y = np.repeat(np.arange(n_classes), 20)
        X = np.empty((len(y), 0))
        # the first episode pays for the sorting of y, in both
        split = EpisodeSplit(n_episodes=N_EPISODES + 1, random_state=0).split(X, y)
        check([np.concatenate(episode) for episode in islice(split, 50)], y)
        peer = task_sampler()(Labels(y), 5, 1, 15, N_PEER_EPISODES)
        check([np.array(episode) for episode in peer], y)

        def ours(X=X, y=y):
            episodes = EpisodeSplit(n_episodes=N_EPISODES + 1, random_state=0).split(X, y)
            next(episodes)
            return episodes

        started = [ours() for _ in range(rounds)]
        seconds = interleaved(
            rounds,
            ours=lambda started=started: sum(1 for _ in started.pop()),
            easyfsl=lambda peer=peer: sum(1 for _ in peer),
            floor=lambda: np.random.default_rng(0).random((N_EPISODES, 5, 16)),
        )
        seconds["easyfsl"] = [s * N_EPISODES / N_PEER_EPISODES for s in seconds["easyfsl"]]
        yield {
            "classes": n_classes,
            "ours_us": min(seconds["ours"]) / N_EPISODES * 1e6,
            "easyfsl_us": min(seconds["easyfsl"]) / N_EPISODES * 1e6,
            "floor_us": min(seconds["floor"]) / N_EPISODES * 1e6,
            "over_easyfsl": ratio(seconds, "easyfsl"),
            "over_floor": ratio(seconds, "floor"),
        }


if __name__ == "__main__":
    given = arguments(__doc__)
    report("sampling", measure(given.rounds), given.json)
