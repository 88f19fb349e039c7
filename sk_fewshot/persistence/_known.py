"""What a file may name, and what the named things were made from."""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from torch import Tensor, nn

from sk_fewshot import classifiers, heads, losses, transformers
from sk_fewshot._version import __version__
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.transformers._base import BaseTransformer
from sk_fewshot.transformers._module import build_module

FORMAT = 1
VERSIONS = {
    "sk_fewshot": __version__,
    "torch": str(torch.__version__),
    "sklearn": sklearn.__version__,
}


def _named(*things: type) -> dict[str, type]:
    return {thing.__name__: thing for thing in things}


def _public(package: Any) -> dict[str, type]:
    return {name: getattr(package, name) for name in package.__all__}


_LAYERS = _named(
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Conv2d,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.LayerNorm,
    nn.Linear,
    nn.MaxPool2d,
    nn.ReLU,
    nn.Sequential,
    nn.Tanh,
    nn.Unflatten,
)
_OPTIMIZERS = _named(torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD)
_SCIKIT_LEARN = _named(FrozenEstimator, MinMaxScaler, Normalizer, PCA, Pipeline, StandardScaler)

ESTIMATORS: dict[str, Any] = {**_public(transformers), **_public(classifiers), **_SCIKIT_LEARN}
OBJECTS = {
    **_public(heads),
    **_public(losses),
    **_LAYERS,
    **_named(Conv4, MLP, RandomAffine),
}
CALLABLES = {**_named(Conv4, MLP), **_LAYERS, **_OPTIMIZERS}


def _of_metric_head(head: Any) -> dict[str, Any]:
    learned = isinstance(head.log_temperature, nn.Parameter)
    return {"metric": head.metric, "temperature": None if learned else 1.0}  # the state has it


_ARGUMENTS: dict[type, Callable[[Any], dict[str, Any]]] = {
    heads.PrototypicalHead: _of_metric_head,
    heads.MatchingHead: lambda head: {**_of_metric_head(head), "context": head.context},
    heads.SiameseHead: lambda head: {**_of_metric_head(head), "comparator": head.comparator},
    heads.RelationHead: lambda head: {
        "embedding_shape": head.comparator.map_shape,
        "n_filters": head.comparator.norm.num_features,
        "n_hidden": head.comparator.linear[0].out_features,
        "pooling": head.pooling,
        "loss": head.objective,
    },
    heads.FullContext: lambda context: {
        "embedding_dim": context.lstm.input_size,
        "n_steps": context.n_steps,
    },
    MLP: lambda mlp: {
        "n_features": mlp.n_features,
        "embedding_dim": mlp.embedding_dim,
        "hidden": tuple(
            layer.out_features
            for child in mlp.children()
            if isinstance(child, nn.Sequential)
            for layer in child
            if isinstance(layer, nn.Linear)
        )[:-1],
    },
    Conv4: lambda conv4: {
        "image_shape": conv4.image_shape,
        "embedding_dim": None if isinstance(conv4.head, nn.Identity) else conv4.embedding_dim,
        "n_filters": conv4.map_shape[0],
        "n_poolings": sum(isinstance(layer, nn.MaxPool2d) for layer in conv4.blocks.modules()),
    },
    nn.Sequential: lambda layers: {"layers": dict(layers.named_children())},
}


def constructor_arguments(made: object) -> dict[str, Any]:
    """What one of `OBJECTS` was made from: attributes of the same names, where no row says else."""
    if type(made) in _ARGUMENTS:
        return _ARGUMENTS[type(made)](made)
    parameters = inspect.signature(type(made)).parameters.values()
    arguments = {
        p.name: getattr(made, p.name)
        for p in parameters
        if p.name not in ("device", "dtype") and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    if type(made) in _LAYERS.values() and "bias" in arguments:
        arguments["bias"] = arguments["bias"] is not None
    return arguments


def make_object(cls: type, arguments: dict[str, Any]) -> Any:
    """Make one of `OBJECTS`."""
    if cls is nn.Sequential:
        return nn.Sequential(OrderedDict(arguments["layers"]))
    return cls(**arguments)


def make_encoder(transformer: BaseTransformer) -> nn.Module:
    """Make the encoder module of a fitted transformer as `fit` does."""
    return build_module(
        transformer.module or transformer._default_module(),
        transformer.module_params,
        {
            "image_shape": transformer.image_shape_,
            "n_features": transformer.n_features_in_,
            "embedding_dim": transformer.embedding_dim,
        },
    )


def modules_within(value: Any) -> list[nn.Module]:
    """The modules among constructor arguments."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, Mapping):
        return [module for item in value.values() for module in modules_within(item)]
    return []


def own_state(module: nn.Module, parts: Iterable[nn.Module]) -> dict[str, Tensor]:
    """The state of a module without that of the modules that it was made from."""
    inside = {id(part) for part in parts}
    prefixes = tuple(f"{name}." for name, m in module.named_modules() if id(m) in inside)
    state = module.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


def may_be_fitted(estimator: BaseEstimator, name: str) -> bool:
    """Whether a file may set an attribute of this name: data in ``vars``, nothing of the class."""
    return (
        re.fullmatch(r"_[a-z]\w*|[a-z]\w*_", name, re.ASCII) is not None
        and name != "net_"
        and not hasattr(type(estimator), name)
    )
