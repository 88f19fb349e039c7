"""What every transformer shares: validation, the encoder module, training and transform."""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from itertools import chain
from math import prod
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sk_fewshot._training import (
    OPTIMIZERS,
    Checkpoint,
    LabelledRows,
    Workers,
    digest,
    digest_of_rows,
    freeze,
    split_classes,
    train,
)
from sk_fewshot._utils.doc_link import LinksToDocs
from sk_fewshot._utils.examples import check_rows
from sk_fewshot._utils.portable import leave_inference_mode, on_cpu, portable
from sk_fewshot._utils.random import seed_torch, with_own_generator
from sk_fewshot._utils.rows import Rows, SelectedRows, float_type
from sk_fewshot._utils.state import all_or_nothing
from sk_fewshot._utils.switches import restoring, whatever_the_switches
from sk_fewshot.encoders import MLP, Conv4, encode
from sk_fewshot.encoders._folding import folded_once
from sk_fewshot.transformers._module import build_module, output_shape

POSITIVE = Interval(Integral, 1, None, closed="left")
_SEEDS = np.iinfo(np.int32).max


class BaseTransformer(
    LinksToDocs,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """An encoder trained by a loss. Think twice before adding anything to this class.

    A subclass declares its batches (`_batch_shape`) and its loss (`_make_loss`).
    """

    _parameter_constraints: ClassVar[dict] = {
        "module": [None, nn.Module, callable],
        "module_params": [dict, None],
        "embedding_dim": [POSITIVE, None],
        "image_shape": [tuple, list, None],
        "frozen": [tuple, list, None],
        "augment": [callable, None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "max_epochs": [POSITIVE],
        "batches_per_epoch": [POSITIVE],
        "validation_classes": [Interval(Real, 0, 1, closed="neither"), None],
        "net_params": [dict, None],
        "device": [str, torch.device],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        module,
        module_params,
        embedding_dim,
        image_shape,
        frozen,
        augment,
        optimizer,
        lr,
        max_epochs,
        batches_per_epoch,
        validation_classes,
        net_params,
        device,
        checkpoint,
        verbose,
        random_state,
    ):
        self.module = module
        self.module_params = module_params
        self.embedding_dim = embedding_dim
        self.image_shape = image_shape
        self.frozen = frozen
        self.augment = augment
        self.optimizer = optimizer
        self.lr = lr
        self.max_epochs = max_epochs
        self.batches_per_epoch = batches_per_epoch
        self.validation_classes = validation_classes
        self.net_params = net_params
        self.device = device
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.random_state = random_state

    @abstractmethod
    def _batch_shape(self, counts: np.ndarray) -> tuple[int, int]:
        """Classes per batch and examples per class, for classes of these sizes."""

    @abstractmethod
    def _make_loss(self, n_classes: int, embedding_shape: tuple[int, ...]) -> nn.Module:
        """The loss on (embeddings, y), for embeddings of this shape each."""

    def _make_validation_loss(self) -> nn.Module | None:
        """The loss on held-out classes; None: the training loss."""
        return None

    def _default_module(self):
        """The class of the encoder where `module` is None."""
        return MLP if self.image_shape_ is None else Conv4

    def _make_module(self) -> nn.Module:
        """The untrained encoder, for examples as `fit` has met them."""
        return build_module(
            self.module or self._default_module(),
            self.module_params,
            {
                "image_shape": self.image_shape_,
                "n_features": self.n_features_in_,
                "embedding_dim": self.embedding_dim,
            },
        )

    @restoring
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Learn to compare from labelled examples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
            Training examples.
        y : array-like of shape (n_samples,)
            Class labels: two classes or more, of two examples or more each.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If there are too few classes, or too few examples of a class, or `checkpoint` is
            damaged or of another training.
        OSError
            If `checkpoint` cannot be read or written.
        KeyboardInterrupt
            If interrupted; the estimator is then as it was before. With a `checkpoint`, the next
            `fit` goes on after the last whole epoch.
        """
        with all_or_nothing(self) as fitted:
            X, y, fitted.image_shape_ = check_rows(
                fitted, X, y, image_shape=self._checked_image_shape(), reset=True
            )
            check_classification_targets(y)
            fitted.classes_, codes = np.unique(y, return_inverse=True)
            if len(fitted.classes_) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs examples of at least two classes to learn to "
                    f"compare, got 1 class: {fitted.classes_[0]!r}."
                )
            fitted._train(X, codes)
        return self

    def transform(self, X):
        """Embed examples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or (n_samples, C, H, W)
            As in `fit`; images may also come flat.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim)
            Embeddings, float64 for float64 input and float32 otherwise.
        """
        return self._embed(X)

    @whatever_the_switches
    def _embed(self, X) -> np.ndarray:
        """Embeddings as an array, whatever `transform` has been told to return by `set_output`."""
        check_is_fitted(self)
        X, _ = check_rows(self, X, image_shape=self.image_shape_, reset=False)
        device = next((p.device for p in self.module_.parameters()), torch.device("cpu"))
        embeddings = encode(folded_once(self.module_, self), X, device=device)
        return embeddings.astype(float_type(X.dtype), copy=False)

    @property
    def embedding_dim_(self) -> int:
        """Length of an embedding."""
        return self._n_features_out

    @property
    def _input_shape(self) -> tuple[int, ...]:
        return self.image_shape_ or (self.n_features_in_,)

    def _checked_image_shape(self) -> tuple[int, int, int] | None:
        if self.image_shape is None:
            return None
        shape = tuple(self.image_shape)
        known = [side for side in shape if side != -1]
        if (
            len(shape) != 3
            or len(known) < 2
            or any(not isinstance(side, Integral) or side < 1 for side in known)
        ):
            raise ValueError(
                "image_shape must be (channels, height, width), positive ints of which one may be "
                f"-1, got {self.image_shape!r}."
            )
        return shape

    def _train(self, X: NDArray | Rows, codes: NDArray[np.intp]) -> None:
        """Learn from examples and their classes, 0 to n_classes - 1."""
        self._learn(X, codes, self._split, self._make_loss)

    @whatever_the_switches
    def _learn(
        self,
        X: NDArray | Rows,
        codes: NDArray[np.intp],
        make_data: Callable[..., tuple[LabelledRows, LabelledRows | None]],
        make_loss: Callable[[int, tuple[int, ...]], nn.Module],
    ) -> None:
        """Train a new encoder.

        Parameters
        ----------
        X : ndarray or Rows of shape (n_samples, ...)
        codes : ndarray of int of shape (n_samples,)
            Classes, 0 to n_classes - 1.
        make_data : callable
            ``make_data(X, codes, rng, device)`` returns rows to train on, and others or None.
        make_loss : callable
            ``make_loss(n_classes, embedding_shape)`` returns the loss.
        """
        workers = Workers.join(self.device)
        random_state, checkpoint = self._start(X, codes, workers)
        rng = check_random_state(random_state)
        seed = rng.randint(_SEEDS)
        n_way, n_per_class = self._batch_shape(np.bincount(codes))
        data, validation = make_data(X, codes, rng, workers.device)

        def learned() -> None:
            seed_torch(seed, workers.device)
            module, frozen, embedding_shape = self._untrained(workers.device)
            net = train(
                module,
                make_loss(data.n_classes, embedding_shape),
                data,
                validation=validation,
                validation_loss=self._make_validation_loss(),
                n_way=min(n_way, data.n_classes),
                n_per_class=n_per_class,
                batches_per_epoch=self.batches_per_epoch,
                max_epochs=self.max_epochs,
                optimizer=self.optimizer,
                lr=self.lr,
                augment=self.augment,
                frozen=frozen,
                workers=workers,
                verbose=self.verbose,
                seed=seed,
                net_params=self.net_params or {},
                checkpoint=checkpoint,
            )
            self._keep(net, embedding_shape)

        with_own_generator(learned, workers.device)

    def _start(
        self, X: NDArray | Rows, codes: NDArray[np.intp], workers: Workers
    ) -> tuple[int, Checkpoint | None]:
        """Return the seed that all workers draw by, and the checkpoint to go on from, if any."""
        random_state = workers.agreed(self._checked_random_state())
        if self.checkpoint is None:
            return random_state, None
        training = self._training(X, codes, workers.size)
        checkpoint = Checkpoint(self.checkpoint, training, random_state, self.augment)
        return checkpoint.random_state, checkpoint

    def _untrained(
        self, device: torch.device
    ) -> tuple[nn.Module, list[nn.Module], tuple[int, ...]]:
        """Return a new encoder, its frozen parts, and the shape of an embedding."""
        module = self._make_module().to(device)
        frozen = freeze(module, self.frozen or ())
        embedding_shape = output_shape(module, self._input_shape, device)
        if self.embedding_dim not in (None, prod(embedding_shape)):
            raise ValueError(
                f"embedding_dim={self.embedding_dim}, but module {type(module).__name__} "
                f"returns {prod(embedding_shape)} numbers per example."
            )
        return module, frozen, embedding_shape

    def _keep(self, net: Any, embedding_shape: tuple[int, ...]) -> None:
        """Set the fitted attributes to what has been learned."""
        self.net_: Any = net
        self.module_: nn.Module = getattr(net.module_, "_orig_mod", net.module_).eval()
        self.loss_: nn.Module = net.criterion_.eval()
        for parameter in chain(self.module_.parameters(), self.loss_.parameters()):
            parameter.grad = None
        self._n_features_out = prod(embedding_shape)
        self.history_ = [
            {key: value for key, value in epoch.items() if key != "batches"}
            for epoch in net.history
        ]
        self.n_iter_ = len(self.history_)

    def _checked_random_state(self) -> int:
        """The seed that everything is drawn from: as given, or drawn itself."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return check_random_state(self.random_state).randint(_SEEDS)

    def _training(
        self, X: NDArray | Rows, codes: NDArray[np.intp], n_workers: int
    ) -> dict[str, str]:
        """Digests of all that decides what is learned, by name."""
        params = self.get_params(deep=False)
        for name in ("checkpoint", "device", "verbose"):
            del params[name]
        if not isinstance(self.random_state, Integral):
            params["random_state"] = None  # what was drawn is in the checkpoint
        digests = {name: digest(value) for name, value in params.items()}
        return {
            "estimator": digest(type(self)),
            "number of processes": digest(n_workers),
            **digests,
            "X": digest_of_rows(X),
            "y": digest(codes),
        }

    def _split(self, X, codes, rng, device) -> tuple[LabelledRows, LabelledRows | None]:
        """Training rows and, with `validation_classes`, rows of other classes."""
        if self.validation_classes is None:
            return LabelledRows(X, codes, self._input_shape, device), None
        sides = split_classes(codes, self.validation_classes, rng)
        kept, held_out = (
            LabelledRows(SelectedRows(X, s), codes[s], self._input_shape, device)
            for s in map(np.flatnonzero, sides)
        )
        return kept, held_out

    def __getstate__(self):
        """Leave out the net, which holds the optimizer's state, and bring modules to the CPU."""
        state = {key: value for key, value in super().__getstate__().items() if key != "net_"}
        for name in self._get_param_names():
            if isinstance(state.get(name), nn.Module):
                state[name] = portable(state[name])
        for name in ("module_", "loss_"):
            if name in state:
                state[name] = on_cpu(state[name])
        return state

    def __setstate__(self, state):
        """Take modules over into tensors that can learn, also inside `torch.inference_mode`."""
        for name in ("module_", "loss_"):
            if name in state:
                leave_inference_mode(state[name])
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
