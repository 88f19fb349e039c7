"""Heads on stored embeddings against easyfsl's, interleaved, and the time of `fit`.

Each row times enrolment and scoring of one episode, forward only, in one thread: the median of
alternating runs. Outputs are compared first, where the definitions agree. easyfsl's modules are
loaded alone, since its package imports parts that break with current torchvision builds. Needs
``pip install easyfsl --no-deps``.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import statistics
import sys
import time
import types
from pathlib import Path

import _report
import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from torch import nn

from sk_fewshot import (
    MatchingClassifier,
    PrototypicalClassifier,
    RelationClassifier,
    SiameseClassifier,
)
from sk_fewshot.distances import unit
from sk_fewshot.heads import FullContext, MatchingHead, PrototypicalHead, RelationHead, SiameseHead

N_QUERY = 15
EPISODES = [(5, 5), (20, 1)]  # way, shot
WIDTHS = [64, 640]
MAPS = (64, 5, 5)


def load_easyfsl() -> types.SimpleNamespace:
    """Easyfsl's three heads, without its package's own imports."""
    root = Path(importlib.util.find_spec("easyfsl").submodule_search_locations[0])
    for name in ("easyfsl", "easyfsl.methods", "easyfsl.modules"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    designed = types.ModuleType("easyfsl.modules.predesigned_modules")
    designed.default_matching_networks_support_encoder = lambda d: nn.LSTM(
        d, d, batch_first=True, bidirectional=True
    )
    designed.default_matching_networks_query_encoder = lambda d: nn.LSTMCell(2 * d, d)
    designed.default_relation_module = lambda d, inner=8: nn.Sequential(
        nn.Conv2d(2 * d, d, 3, padding=1),
        nn.BatchNorm2d(d, momentum=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d((5, 5)),
        nn.Conv2d(d, d, 3),
        nn.BatchNorm2d(d, momentum=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(d, inner),
        nn.ReLU(),
        nn.Linear(inner, 1),
        nn.Sigmoid(),
    )
    sys.modules[designed.__name__] = designed
    methods = {}
    for file in ("prototypical_networks", "matching_networks", "relation_networks"):
        methods.update(vars(importlib.import_module(f"easyfsl.methods.{file}")))
    return types.SimpleNamespace(**methods)


def episode(n_way: int, n_shot: int, d: int):
    """Queries, support embeddings and labels, class by class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n_way).repeat_interleave(n_shot)
    centres = torch.randn(n_way, d, generator=generator)
    support = centres[labels] + torch.randn(len(labels), d, generator=generator)
    queries = centres.repeat(N_QUERY, 1) + torch.randn(n_way * N_QUERY, d, generator=generator)
    return queries, support, labels


def peer(classifier, shape=None):
    """Enrolment and scoring by an easyfsl head, on flat embeddings or maps of a shape."""

    def call(queries, support, labels):
        if shape is not None:
            queries, support = queries.unflatten(1, shape), support.unflatten(1, shape)
        classifier.process_support_set(support, labels)
        return classifier(queries)

    return call


def compare(name: str, own, other, arguments, agree: bool) -> dict[str, object]:
    """Check equal outputs, time both alternately, return a row."""
    with torch.inference_mode():
        agreement = "defined otherwise"
        if agree:
            scores = own(*arguments), other(*arguments)
            if isinstance(own, MatchingHead):  # easyfsl adds 1e-6 to the probabilities
                scores = scores[0].exp(), scores[1].exp()
            torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-4)
            agreement = "equal"
        times: tuple[list[float], list[float]] = ([], [])
        stop = time.perf_counter() + 2
        while time.perf_counter() < stop or len(times[0]) < 5:
            for function, found in zip((own, other), times, strict=True):
                start = time.perf_counter()
                function(*arguments)
                found.append(time.perf_counter() - start)
    ours, theirs = (1e3 * statistics.median(found) for found in times)
    return {
        "one episode, 15 queries a class": name,
        "ours_ms": ours,
        "easyfsl_ms": theirs,
        "over_easyfsl": theirs / ours,
        "outputs": agreement,
    }


def compare_matching(easyfsl, name: str, n_way: int, n_shot: int, d: int):
    """Yield rows: with full context, as easyfsl always has it, on the same weights; and without."""
    torch.manual_seed(0)
    arguments = episode(n_way, n_shot, d)
    queries, support, labels = arguments
    direction = torch.arange(1, d + 1).double().cos()
    order = (support.double() @ direction).argsort()  # the order in which FullContext reads
    arguments = queries, support[order], labels[order]
    other = easyfsl.MatchingNetworks(feature_dimension=d).eval()
    context = FullContext(d, n_steps=len(labels))
    context.lstm.load_state_dict(other.support_features_encoder.state_dict())
    context.attention_lstm.load_state_dict(other.query_features_encoding_cell.state_dict())
    # easyfsl attends by the dot product with support embeddings of length 1
    own = MatchingHead(lambda x, y: -(x @ unit(y).mT), 1.0, context).eval()
    yield compare(f"Matching, full context, {name}", own, peer(other), arguments, agree=True)
    yield compare(f"Matching, {name}", MatchingHead(), peer(other), arguments, agree=False)


def compare_relation(easyfsl, name: str, n_way: int, n_shot: int):
    """Yield rows: the paper's comparator on the same weights; and easyfsl's own."""
    torch.manual_seed(0)
    arguments = episode(n_way, n_shot, torch.Size(MAPS).numel())
    head = RelationHead(MAPS, n_hidden=8).eval()
    own = head.comparator
    first = nn.Conv2d(2 * MAPS[0], 64, 3, padding=1, bias=False)
    halves = [own.class_convolution.weight, own.query_convolution.weight]
    first.weight = nn.Parameter(torch.cat(halves, dim=1).detach())
    network = nn.Sequential(
        first, own.norm, nn.ReLU(), nn.MaxPool2d(2), *own.block, nn.Flatten(), *own.linear
    )
    concatenating = nn.Sequential(*copy.deepcopy(network), nn.LogSigmoid())
    other = easyfsl.RelationNetworks(feature_dimension=64, relation_module=concatenating).eval()
    yield compare(f"Relation, {name}", head, peer(other, MAPS), arguments, agree=True)
    default = easyfsl.RelationNetworks(feature_dimension=64).eval()
    yield compare(
        f"Relation, {name}, easyfsl's net", head, peer(default, MAPS), arguments, agree=False
    )


class Stored(TransformerMixin, BaseEstimator):
    """An encoder whose embeddings are at hand."""

    def __init__(self, head):
        self.head_ = head

    def fit(self, X, y=None):
        """Nothing to do."""
        return self

    def transform(self, X):
        """Hand the embeddings on."""
        return X


def time_fit():
    """Yield the median time of `fit` on a 5-way 5-shot support set of embeddings."""
    for classifier, head, d in [
        (PrototypicalClassifier, PrototypicalHead(), 64),
        (PrototypicalClassifier, PrototypicalHead(), 640),
        (MatchingClassifier, MatchingHead(), 640),
        (MatchingClassifier, MatchingHead(context=FullContext(64)), 64),
        (RelationClassifier, RelationHead(MAPS).eval(), 1600),
        (SiameseClassifier, SiameseHead(), 640),
    ]:
        _, support, labels = episode(5, 5, d)
        clf = classifier(FrozenEstimator(Stored(head)))
        X, y, times = support.numpy(), labels.numpy(), []
        for _ in range(200):
            start = time.perf_counter()
            clf.fit(X, y)
            times.append(time.perf_counter() - start)
        kind = ", full context" if getattr(head, "context", None) else ""
        yield {
            "fit, 5-way 5-shot, without the encoding": f"{classifier.__name__}{kind}",
            "d": d,
            "ours_ms": 1e3 * float(np.median(times)),
        }


def measure():
    """Yield the rows of both tables."""
    easyfsl = load_easyfsl()
    for n_way, n_shot in EPISODES:
        for d in WIDTHS:
            name = f"{n_way}-way {n_shot}-shot, d = {d}"
            yield compare(
                f"Prototypical, {name}",
                PrototypicalHead("euclidean"),
                peer(easyfsl.PrototypicalNetworks()),
                episode(n_way, n_shot, d),
                agree=True,
            )
            yield from compare_matching(easyfsl, name, n_way, n_shot, d)
        yield from compare_relation(
            easyfsl, f"{n_way}-way {n_shot}-shot, 64 x 5 x 5", n_way, n_shot
        )
    yield from time_fit()


if __name__ == "__main__":
    given = _report.arguments(__doc__)
    _report.report("heads", measure(), given.json)
