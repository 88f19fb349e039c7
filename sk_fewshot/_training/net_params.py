"""What of skorch's net a caller may set, and what the estimator's own parameters stand for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from skorch.callbacks import Callback

_BATCHES = "the batches come from the estimator's own parameters"
_ELSEWHERE = {
    "module": "pass module to the estimator",
    "module__": "pass module_params to the estimator",
    "criterion": "the loss comes from the estimator",
    "criterion__": "the loss comes from the estimator",
    "validation_criterion": "the loss comes from the estimator",
    "optimizer": "pass optimizer to the estimator",
    "lr": "pass lr to the estimator",
    "max_epochs": "pass max_epochs to the estimator",
    "device": "pass device to the estimator",
    "batch_size": _BATCHES,
    "iterator_train__batch_size": _BATCHES,
    "iterator_train__n_per_class": _BATCHES,
    "iterator_valid__batch_size": _BATCHES,
    "iterator_valid__n_per_class": _BATCHES,
    "iterator_train__augment": "pass augment to the estimator",
    "dataset": "it holds X and y of fit",
    "dataset__": "it holds X and y of fit",
    "train_split": "pass validation_classes to the estimator, which holds out whole classes",
    "warm_start": "each fit trains anew; checkpoint goes on with an interrupted training",
    "optimizer__differentiable": "the graph of a training step is not kept",
}
_WITHOUT_EFFECT = {"train_split": None, "warm_start": False, "optimizer__differentiable": False}
_NEEDED = {
    "seed_epochs": "it makes training repeatable; pass random_state to the estimator",
    "checkpoint": "pass checkpoint to the estimator",
    "valid_loss": "validation_classes needs it to choose the best epoch",
}
_OF_SKORCH = {"epoch_timer", "train_loss", "valid_loss", "print_log"}
_OURS = {
    "seed_epochs",
    "progress",
    "watch_collapse",
    "lr_schedule",
    "keep_best_epoch",
    "checkpoint",
}


def checked_net_params(
    net_params: Mapping[str, Any], optimizer: type[torch.optim.Optimizer], *, validating: bool
) -> dict[str, Any]:
    """Return the settings of skorch's net, without those that say what is anyhow so.

    Parameters
    ----------
    net_params : mapping
    optimizer : type
        The class that ``optimizer__`` settings are for.
    validating : bool
        Whether a validation loss chooses the best epoch.

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If a name is not a str, or `callbacks` are not a list of skorch callbacks.
    ValueError
        If a setting would be ignored, or belongs to a parameter of the estimator, or is unknown to
        the optimizer, the batches or the callbacks. What else is unknown is left to skorch.
    """
    checked = {}
    for name, value in net_params.items():
        if not isinstance(name, str):
            raise TypeError(f"net_params must have names of type str, got {name!r}.")
        if name in _WITHOUT_EFFECT and value is _WITHOUT_EFFECT[name]:
            continue
        checked[name] = value
        head, separator, setting = name.partition("__")
        if reason := _ELSEWHERE.get(name) or _ELSEWHERE.get(head + separator):
            raise ValueError(f"net_params must not have {name!r}: {reason}.")
        if name == "callbacks":
            _check_callbacks(value)
        elif head == "callbacks":
            callback = setting.split("__")[0]
            _check_named(callback, name, net_params.get("callbacks") or [])
            if callback in _NEEDED and (validating or callback != "valid_loss"):
                raise ValueError(f"net_params must not have {name!r}: {_NEEDED[callback]}.")
        elif head == "optimizer":
            _check_setting_of_optimizer(name, setting.split("__")[0], optimizer)
        elif head in ("iterator_train", "iterator_valid"):
            if not setting and not callable(value):
                raise TypeError(f"net_params must have a class as {name}, got {value!r}.")
            if head not in net_params:
                _check_known(name, setting, "the batches have", ["n_batches", "seed"])
    return checked


def _check_callbacks(callbacks: Any) -> None:
    is_list = isinstance(callbacks, list | tuple) and all(map(_is_callback, callbacks))
    if not is_list and callbacks is not None:
        raise TypeError(
            "net_params must have as callbacks a list of skorch callbacks, or of pairs (name, "
            f"callback), or None, got {callbacks!r}."
        )


def _is_callback(item: Any) -> bool:
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        item = item[1]
    return isinstance(item, Callback) or (isinstance(item, type) and issubclass(item, Callback))


def _check_named(callback: str, name: str, given: Sequence[Any]) -> None:
    """Check that there is a callback of this name, a user's own or one made from its class."""
    named = {item[0] for item in given if isinstance(item, tuple)} | _OF_SKORCH | _OURS
    classes = [item if isinstance(item, type) else type(item) for item in given]
    if callback not in named and callback.rstrip("_0123456789") not in {
        cls.__name__.rstrip("_0123456789") for cls in classes
    }:
        raise ValueError(
            f"net_params has {name!r}, but there is no callback {callback!r}, only "
            f"{', '.join(sorted(named))} and those in callbacks."
        )


def _check_setting_of_optimizer(
    name: str, setting: str, optimizer: type[torch.optim.Optimizer]
) -> None:
    parameters = inspect.signature(optimizer).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        allowed = [*list(parameters)[1:], "param_groups"]
        _check_known(name, setting, f"{optimizer.__name__} has", allowed)


def _check_known(name: str, setting: str, owner: str, allowed: list[str]) -> None:
    if setting not in allowed:
        raise ValueError(
            f"net_params has {name!r}, but {owner} no setting {setting!r}, only "
            f"{', '.join(allowed)}."
        )
