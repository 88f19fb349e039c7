"""Random structures of what a file may hold, for forged_files.py and its short version, a test."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from torch import nn

from sk_fewshot import classifiers, transformers
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.distances import METRICS
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.gallery import ClassMeans, Examples
from sk_fewshot.heads import FullContext, MatchingHead, PrototypicalHead, RelationHead, SiameseHead
from sk_fewshot.losses import PairBCELoss
from sk_fewshot.persistence._container import pack
from sk_fewshot.persistence._known import FORMAT, VERSIONS
from sk_fewshot.persistence._writing import _Writer

LARGEST = 2**20  # bytes of a file
NUMBERS = [0, 1, -1, 2, 3, 7, 64, 1000, 2**16, 2**26, 2**31, 10**12, 10**30, 0.5, -1.5, 1e300]
VALUES = [None, True, "x", "", "cuda:1", "faiss", "passthrough", [], {}, [[]]]
NODES = [{"dict": {}}, {"known": "Conv4"}, {"known": "Adam"}, {"ref": 0}, {"ref": 1}, {"ref": 5}]
SETTINGS = ["compile", "compile__options", "iterator_train__num_workers", "module__embedding_dim"]
IMPOSSIBLE = (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)


class Forger:
    """Draws estimators, most of whose parts fit together, and changes some of their values.

    Parameters
    ----------
    rng : Generator
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def file(self) -> bytes:
        """Return the content of a file of at most a megabyte, with a right checksum."""
        while True:
            writer = _Writer()
            try:
                node = writer.node(self.estimator(), "x")
            except IMPOSSIBLE:
                continue
            if sum(tensor.nbytes for tensor in writer.tensors.values()) < LARGEST:
                break
        for _ in range(self.pick([0, 0, 0, 1, 1, 2, 5])):
            self.change(node)
        structure = {"format": FORMAT, "versions": VERSIONS, "estimator": node}
        return pack(json.dumps(structure), writer.tensors)

    def pick(self, options: Any) -> Any:
        """Draw one of several things."""
        return options[self.rng.integers(len(options))]

    def happens(self, share: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.random() < share)

    def side(self, most: int = 40) -> int:
        """Draw a length: mostly small, now and then large."""
        return int(self.pick([1, 2, 3, 4, 8, most, self.rng.integers(1, most + 1)]))

    def change(self, node: Any) -> None:
        """Replace one value within a node by another one."""
        spots = list(places(node))
        container, key = self.pick(spots)
        other, of = self.pick(spots)
        new = self.pick([self.pick(NUMBERS), self.pick(VALUES), self.pick(NODES), other[of]])
        container[key] = copy.deepcopy(new)
        if isinstance(container, dict) and "net_params" in container and self.happens(0.2):
            container["net_params"] = {"dict": {self.pick(SETTINGS): self.pick(NUMBERS)}}

    def estimator(self) -> BaseEstimator:
        """Draw an estimator, fitted or not."""
        draw = [self.classifier] * 6 + [self.pair_classifier, self.encoder, self.unfitted]
        return self.pick(draw)()

    def unfitted(self) -> BaseEstimator:
        """Draw an estimator that was never fitted, with some parameter."""
        module = self.pick([transformers, classifiers])
        estimator = getattr(module, self.pick(module.__all__))()
        name = self.pick(sorted(estimator.get_params(deep=False)))
        return estimator.set_params(**{name: self.pick([*NUMBERS, *VALUES[:7]])})

    def encoder(self, depth: int = 0) -> Any:
        """Draw a fitted encoder."""
        draw = [self.transformer] * 5 + [self.scaler] * 2
        if depth < 3:
            draw += [self.pipeline, self.frozen]
        method = self.pick(draw)
        return method(depth + 1) if method in (self.pipeline, self.frozen) else method()

    def frozen(self, depth: int) -> FrozenEstimator:
        """Draw an encoder that is frozen, once or many times."""
        encoder = self.encoder(depth)
        for _ in range(self.pick([1, 1, 2, 10, 50])):
            encoder = FrozenEstimator(encoder)
        return encoder

    def pipeline(self, depth: int) -> Pipeline:
        """Draw steps, now and then the same ones again and again."""
        if self.happens(0.3):
            step = self.scaler()
            for _ in range(self.pick([1, 2, 4, 30])):
                step = Pipeline([("a", step), ("b", step)])
            return step
        last = self.encoder(depth)
        first = self.scaler(taken(last) if self.happens(0.9) else self.side())
        return Pipeline([("first", first), ("last", last)])

    def scaler(self, n: int | None = None) -> BaseEstimator:
        """Draw one of scikit-learn's steps, which returns as many numbers as it takes."""
        n = n or self.side()
        if n > 1000:
            return StandardScaler().fit(self.rng.normal(size=(2, min(n, 10**5))))
        estimator = self.pick([StandardScaler, MinMaxScaler, Normalizer, PCA])()
        return estimator.fit(self.rng.normal(size=(n + 2, n)))

    def transformer(self) -> BaseEstimator:
        """Draw a transformer that looks as if it had been fitted."""
        shape: tuple[int, ...] = (self.side(),)
        if self.happens(0.5):
            most = self.pick([16, 64, 300, 5000])
            shape = (self.side(4), self.side(most), self.side(most))
        module, outputs = self.known(shape) if self.happens(0.3) else self.layers(shape)
        estimator = getattr(transformers, self.pick(transformers.__all__))(
            module=module, augment=self.pick([None, RandomAffine()])
        )
        small = np.prod(outputs) <= 100
        if "n_steps" in estimator.get_params(deep=False) and small and self.happens(0.2):
            estimator.set_params(full_context=True, n_steps=self.pick(NUMBERS))
        estimator.n_features_in_ = int(np.prod(shape))
        estimator.image_shape_ = shape if len(shape) == 3 else None
        estimator.classes_ = np.arange(2 + self.side())
        estimator.loss_ = estimator._make_loss(len(estimator.classes_), outputs)
        estimator.history_ = [{"epoch": 1, "train_loss": 0.5}] * self.side()
        estimator.n_iter_ = len(estimator.history_)
        right = self.happens(0.95)
        estimator._n_features_out = int(np.prod(outputs)) if right else self.side()
        estimator.module_ = estimator._make_module()
        return estimator

    def known(self, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        """Draw one of the package's encoders, and the shape that it returns."""
        if len(shape) == 1:
            module: nn.Module = MLP(shape[0], self.side())
        else:
            module = Conv4(shape, self.pick([None, None, 5]), n_filters=self.side(64))
        return module, shape_after(module, shape)

    def layers(self, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        """Draw layers one after another, most of which fit, and the shape that they return."""
        layers: list[nn.Module] = []
        for _ in range(self.side(20)):
            layer = self.pick(layers) if layers and self.happens(0.1) else self.layer(shape)
            try:
                shape = shape_after(layer, shape)
            except IMPOSSIBLE:
                continue
            layers.append(layer)
        again: nn.Module = nn.Identity()
        for _ in range(self.pick([0] * 9 + [1, 4, 10])):
            again = nn.Sequential(again, again)
        made = nn.Sequential(*layers, again, nn.Flatten())
        return made, (int(np.prod(shape)),)

    def layer(self, shape: tuple[int, ...]) -> nn.Module:
        """Draw a layer, whose size the shape of its input suggests."""
        n, span, stride = shape[0], self.side(7), self.pick([1, 1, 2, 3])
        padding = self.pick([0, 0, span // 2, self.pick([1, 100, 2**30])])
        draw = [
            lambda: nn.AdaptiveAvgPool2d(self.pick([1, 2, 7, 500])),
            lambda: nn.AvgPool2d(self.pick([span, 2**30]), stride, padding),
            lambda: nn.BatchNorm1d(n),
            lambda: nn.BatchNorm2d(n, affine=self.happens(0.5)),
            lambda: nn.Conv2d(n, self.side(128), span, stride, padding),
            lambda: nn.Conv2d(n, n * self.side(4), span, 1, "same", groups=n),
            lambda: nn.Dropout(),
            lambda: nn.LayerNorm(shape[-1]),
            lambda: nn.Linear(shape[-1], self.side(1000)),
            lambda: nn.MaxPool2d(self.pick([span, 2**30]), stride, padding, self.side(3)),
            lambda: nn.ReLU(inplace=self.happens(0.5)),
            lambda: nn.Tanh(),
            lambda: nn.Unflatten(1, self.pick([(1, n), (1, 1, n), (n, 1, 1)])),
        ]
        return self.pick(draw)()

    def classifier(self) -> BaseEstimator:
        """Draw a few-shot classifier."""
        cls = getattr(
            classifiers,
            self.pick(["Prototypical", "Matching", "Relation", "Siamese"]) + "Classifier",
        )
        estimator = cls("passthrough" if self.happens(0.5) else self.encoder())
        if "index" in estimator.get_params(deep=False):
            estimator.index = self.pick([None, None, "faiss"])
        if self.happens(0.2):
            estimator.reject_below = -1.0
        n = self.side(2000) if estimator.encoder == "passthrough" else returned(estimator.encoder)
        estimator.encoder_ = estimator.encoder
        if estimator.encoder == "passthrough":
            estimator.n_features_in_, estimator.image_shape_ = n, None
        else:
            estimator.n_features_in_ = taken(estimator.encoder)
        estimator.gallery_ = self.gallery(cls, n if self.happens(0.95) else self.side())
        estimator.head_ = self.head(cls, n if self.happens(0.95) else self.side())
        return estimator

    def gallery(self, cls: type, n: int) -> Any:
        """Draw what is enrolled, in the order of the classes or not."""
        most = max(2, min(5000, LARGEST // (16 * max(n, 1))))
        n_classes = self.side(most)
        labels = np.arange(n_classes)
        text = np.sort(labels.astype(str))
        classes = self.pick([labels, labels / 2, text, text.astype(object)])
        dtype = self.pick([np.float32, np.float64])
        if cls is classifiers.PrototypicalClassifier:
            rows = self.rng.normal(size=(n_classes, n)).astype(dtype)
            sums = self.pick([None, rows.astype(np.float64)])
            return ClassMeans(classes, rows, np.ones(n_classes, int), sums)
        codes = np.repeat(labels, self.side(3))
        rows = self.rng.normal(size=(len(codes), n)).astype(dtype)
        arrival = self.rng.permutation(len(codes))
        ids = self.pick([arrival, arrival.astype(str), -arrival])
        return Examples(classes, rows, codes, arrival, ids, len(codes))

    def head(self, cls: type, n: int) -> nn.Module:
        """Draw a head."""
        metric, temperature = self.pick(list(METRICS)), self.pick([None, 0.1, 1e-30])
        if cls is classifiers.PrototypicalClassifier:
            return PrototypicalHead(metric, temperature)
        if cls is classifiers.MatchingClassifier:
            context = FullContext(n) if n <= 100 and self.happens(0.3) else None
            if context is not None:
                context.n_steps = self.pick([1, 5, 100, 101, 10**12])
            return MatchingHead(metric, temperature, context)
        if cls is classifiers.SiameseClassifier:
            comparator = PairBCELoss(n, metric) if self.happens(0.5) else None
            return SiameseHead(metric, temperature, comparator)
        height = self.pick([d for d in range(1, 100) if n % d == 0])
        width = self.pick([d for d in range(1, 100) if n // height % d == 0])
        map_shape = (n // height // width, height, width)
        return RelationHead(map_shape, n_filters=self.side(200), n_hidden=self.side(8))

    def pair_classifier(self) -> BaseEstimator:
        """Draw a classifier of pairs."""
        estimator = classifiers.PairClassifier(
            "passthrough" if self.happens(0.5) else self.encoder()
        )
        estimator.encoder_ = estimator.encoder
        if estimator.encoder == "passthrough":
            estimator.n_features_in_, estimator.image_shape_ = self.side(10**7), None
        else:
            estimator.n_features_in_ = taken(estimator.encoder)
        estimator.classes_ = self.pick([np.array([0, 1]), np.array([False, True]), np.arange(3)])
        estimator.threshold_, estimator.slope_, estimator.intercept_ = 1.0, self.pick(NUMBERS), 0.0
        return estimator


def places(node: Any) -> Any:
    """All (container, key) of a JSON value."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def shape_after(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of an example after a layer."""
    rehearsal = copy.deepcopy(layer).to("meta").eval()
    with torch.no_grad():
        return tuple(rehearsal(torch.empty(2, *shape, device="meta")).shape[1:])


def taken(encoder: Any) -> int:
    """Numbers that an encoder takes for an example."""
    return encoder.n_features_in_


def returned(encoder: Any) -> int:
    """Numbers that an encoder returns for an example."""
    while isinstance(encoder, FrozenEstimator | Pipeline):
        encoder = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder[-1]
    return getattr(encoder, "_n_features_out", None) or encoder.n_features_in_
