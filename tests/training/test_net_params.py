"""Settings of skorch's net in `net_params`: they work, or are refused by name."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import ValidSplit

from sk_fewshot import PrototypicalTransformer, TripletTransformer

TINY = {"max_epochs": 2, "batches_per_epoch": 3, "random_state": 0}


def fitted(X, y, net_params, **params):
    return PrototypicalTransformer(**{**TINY, **params}, net_params=net_params).fit(X, y)


@pytest.mark.parametrize(
    "net_params",
    [
        {"callbacks": []},
        {"callbacks": (Callback(),)},
        {"callbacks": [Callback, ("mine", Callback())], "callbacks__mine": None},
        {"callbacks__print_log": None, "callbacks__progress": None, "callbacks__valid_loss": None},
        {"train_split": None, "warm_start": False, "optimizer__differentiable": False},
        {"optimizer__foreach": False, "optimizer__capturable": False},
        {"compile": False, "use_caching": False, "predict_nonlinearity": None, "verbose": 1},
    ],
)
def test_what_does_not_touch_the_training_leaves_it_alone(blobs, net_params):
    X, y = blobs
    plain = fitted(X, y, None)
    np.testing.assert_array_equal(fitted(X, y, net_params).transform(X), plain.transform(X))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("way", ["optimizer__foreach", "optimizer__fused", "neither"])
def test_every_way_to_step_takes_the_same_step(blobs, optimizer, way):
    X, y = blobs
    settings = {"optimizer__fused": False} if way == "neither" else {way: True}
    first = fitted(X, y, None, optimizer=optimizer).transform(X)
    np.testing.assert_allclose(
        fitted(X, y, settings, optimizer=optimizer).transform(X), first, rtol=1e-3, atol=1e-4
    )


def test_settings_of_optimizer_and_batches_are_used(blobs):
    X, y = blobs
    net = fitted(X, y, {"optimizer__weight_decay": 0.1, "iterator_train__n_batches": 5}).net_
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.1
    assert net.history[:, "train_batch_count"] == [5, 5]
    net = fitted(X, y, {"iterator_valid__n_batches": 4}, validation_classes=0.4).net_
    assert net.history[:, "valid_batch_count"] == [4, 4]


def test_train_split_none_keeps_the_held_out_classes(blobs):
    X, y = blobs
    encoder = fitted(X, y, {"train_split": None}, validation_classes=0.4)
    assert all("valid_loss" in epoch for epoch in encoder.history_)


def test_settings_of_unnamed_callbacks_are_used(blobs):
    X, y = blobs
    scores = [EpochScoring(lambda net, X, y: 1.0, name=name) for name in ("a", "b")]
    settings = {"callbacks": scores, "callbacks__EpochScoring_2__name": "c"}
    encoder = fitted(X, y, settings, validation_classes=0.4)
    assert {"a", "c"} < set(encoder.history_[0])


@pytest.mark.parametrize(
    ("net_params", "error", "message"),
    [
        ({"callbacks": "disable"}, TypeError, "as callbacks a list of skorch callbacks.*'disable'"),
        ({"callbacks": Callback()}, TypeError, "as callbacks a list of skorch callbacks"),
        ({"callbacks": ("mine", Callback())}, TypeError, "as callbacks a list of skorch callbacks"),
        ({"callbacks": [lambda net: None]}, TypeError, "as callbacks a list of skorch callbacks"),
        ({"callbacks__lr_scheduler": None}, ValueError, "no callback 'lr_scheduler', only"),
        ({"callbacks__seed_epochs": None}, ValueError, "seed_epochs.*pass random_state to"),
        ({"callbacks__seed_epochs__seed": 1}, ValueError, "seed_epochs__seed.*pass random_state"),
        ({"callbacks__checkpoint": None}, ValueError, "checkpoint.*pass checkpoint to the"),
        ({"train_split": ValidSplit(3)}, ValueError, "'train_split': pass validation_classes to"),
        ({"module": torch.nn.Flatten}, ValueError, "'module': pass module to the estimator"),
        ({"module__bias": 1}, ValueError, "'module__bias': pass module_params to the estimator"),
        ({"criterion": torch.nn.MSELoss}, ValueError, "'criterion': the loss comes from the"),
        ({"criterion__scale": 1}, ValueError, "'criterion__scale': the loss comes from the"),
        ({"optimizer": torch.optim.SGD}, ValueError, "'optimizer': pass optimizer to the"),
        ({"lr": 0.1}, ValueError, "'lr': pass lr to the estimator"),
        ({"max_epochs": 5}, ValueError, "'max_epochs': pass max_epochs to the estimator"),
        ({"device": "cpu"}, ValueError, "'device': pass device to the estimator"),
        ({"batch_size": 7}, ValueError, "'batch_size': the batches come from the estimator's"),
        ({"iterator_train__n_per_class": 2}, ValueError, "'iterator_train__n_per_class': the batc"),
        ({"iterator_train__augment": None}, ValueError, "'iterator_train__augment': pass augment"),
        ({"iterator_train__num_workers": 2}, ValueError, "no setting 'num_workers', only n"),
        ({"iterator_train": None}, TypeError, "a class as iterator_train, got None"),
        ({"dataset": None}, ValueError, "'dataset': it holds X and y of fit"),
        ({"warm_start": True}, ValueError, "'warm_start': each fit trains anew"),
        ({"optimizer__differentiable": True}, ValueError, "'optimizer__differentiable': the graph"),
        ({"optimizer__momentum": 0.9}, ValueError, "Adam has no setting 'momentum', only"),
        ({"gradient_clip": None}, ValueError, "gradient_clip"),
        ({1: 2}, TypeError, "names of type str, got 1"),
    ],
)
def test_what_would_be_ignored_or_belongs_elsewhere_is_refused(blobs, net_params, error, message):
    encoder = PrototypicalTransformer(**TINY, net_params=net_params)
    before = vars(encoder).copy()
    with pytest.raises(error, match=message):
        encoder.fit(*blobs)
    assert vars(encoder) == before


@pytest.mark.parametrize("name", ["callbacks__valid_loss", "callbacks__valid_loss__name"])
def test_the_validation_loss_is_needed_to_validate(blobs, name):
    with pytest.raises(ValueError, match=f"'{name}': validation_classes needs it"):
        fitted(*blobs, {name: None}, validation_classes=0.4)


def test_a_custom_optimizer_takes_what_it_names(blobs):
    class Own(torch.optim.SGD):
        def __init__(self, params, lr, calm=False, **others):
            super().__init__(params, lr, **others)
            self.calm = calm

    X, y = blobs
    encoder = fitted(X, y, {"optimizer__calm": True, "optimizer__momentum": 0.5}, optimizer=Own)
    assert encoder.net_.optimizer_.calm
    encoder = TripletTransformer(
        **TINY, optimizer=torch.optim.LBFGS, net_params={"optimizer__max_iter": 2}
    )
    assert np.isfinite(encoder.fit(X, y).transform(X)).all()
