"""episode_score against a loop over easyfsl's prototypical head, and against NearestCentroid.

All score the same episodes of the same stored embeddings, which every one of them draws by
EpisodeSplit, and must agree on every accuracy but for a tie. The floor is the gathering of the
embeddings and the matrix products alone. Needs ``pip install easyfsl --no-deps``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import partial

import numpy as np
import torch
from _report import arguments, interleaved, ratio, report
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestCentroid

from sk_fewshot import EpisodeSplit, PrototypicalClassifier, episode_score

N_EPISODES = 2000
N_CENTROID_EPISODES = 50  # of cross_val_score over NearestCentroid; its time is scaled up
SETTINGS = [(5, 5, 64), (20, 1, 64), (5, 5, 640), (20, 1, 640)]


def easyfsl_head():
    """Return easyfsl's PrototypicalNetworks, without the torchvision that its package imports."""
    location = importlib.util.find_spec("easyfsl").submodule_search_locations[0]
    methods = types.ModuleType("easyfsl.methods")
    methods.__path__ = [f"{location}/methods"]
    sys.modules["easyfsl.methods"] = methods
    return importlib.import_module("easyfsl.methods.prototypical_networks").PrototypicalNetworks()


def easyfsl_scores(head, X, y, split) -> np.ndarray:
    """Loop over the episodes as easyfsl's evaluation does, on stored embeddings."""
    embeddings = torch.from_numpy(X)
    support_labels = torch.arange(split.n_way).repeat_interleave(split.n_shot)
    labels = torch.arange(split.n_way).repeat_interleave(split.n_query)
    scores = []
    with torch.no_grad():
        for support, queries in split.split(X, y):
            head.process_support_set(embeddings[support], support_labels)
            predicted = head(embeddings[queries]).argmax(1)
            scores.append((predicted == labels).float().mean().item())
    return np.array(scores)


def floor(X, y, split) -> None:
    """Gather each episode's embeddings and multiply, one episode at a time, and no more."""
    embeddings, n_shot = torch.from_numpy(X), split.n_shot
    with torch.inference_mode():
        for chunk in map(torch.from_numpy, split.chunks(X, y)):
            for episode in chunk:
                support = embeddings[episode[:, :n_shot]].mean(1)
                torch.mm(support, embeddings[episode[:, n_shot:].flatten()].T)


def measure(rounds: int):
    """Yield a row for each setting."""
    head = easyfsl_head()
    clf = PrototypicalClassifier(encoder="passthrough")
    rng = np.random.default_rng(0)
    for n_way, n_shot, d in SETTINGS:
        y = np.repeat(np.arange(100), 20)
        X = rng.normal(size=(100, d))[y] + 2.5 * rng.normal(size=(2000, d))
        X = X.astype(np.float32)
        setting = {"n_way": n_way, "n_shot": n_shot, "n_query": 15, "random_state": 0}
        split = EpisodeSplit(n_episodes=N_EPISODES, **setting)
        few = EpisodeSplit(n_episodes=N_CENTROID_EPISODES, **setting)

        ours = episode_score(clf, X, y, n_episodes=N_EPISODES, **setting).scores
        theirs = easyfsl_scores(head, X, y, split)
        assert np.abs(ours - theirs).max() < 1.5 / (15 * n_way), "accuracies differ"
        assert (np.abs(ours - theirs) > 1e-6).mean() < 1e-3, "accuracies differ"
        assert (ours[:N_CENTROID_EPISODES] == cross_val_score(clf, X, y, cv=few)).all()

        seconds = interleaved(
            rounds,
            ours=partial(episode_score, clf, X, y, n_episodes=N_EPISODES, **setting),
            easyfsl=partial(easyfsl_scores, head, X, y, split),
            floor=partial(floor, X, y, split),
            centroid=partial(cross_val_score, NearestCentroid(), X, y, cv=few),
        )
        seconds["centroid"] = [s * N_EPISODES / N_CENTROID_EPISODES for s in seconds["centroid"]]
        yield {
            "setting": f"{n_way}-way {n_shot}-shot d={d}",
            "ours_s": min(seconds["ours"]),
            "easyfsl_s": min(seconds["easyfsl"]),
            "floor_s": min(seconds["floor"]),
            "centroid_scaled_s": min(seconds["centroid"]),
            "over_easyfsl": ratio(seconds, "easyfsl"),
            "over_floor": ratio(seconds, "floor"),
            "over_centroid": ratio(seconds, "centroid"),
        }


if __name__ == "__main__":
    given = arguments(__doc__)
    report("episodes", measure(given.rounds), given.json)
