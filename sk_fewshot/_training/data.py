"""Training data as tensors, sliced batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sk_fewshot._utils.device import as_tensor, labels_on, on_device
from sk_fewshot._utils.random import seed_torch
from sk_fewshot._utils.rows import Rows, pieces
from sk_fewshot.episodes import ClassBalancedSampler


class LabelledRows(Dataset):
    """Examples and their integer labels, handed out as float32 tensors on one device.

    On the CPU a batch is read and cast at a time, so that the caller's rows are never copied whole
    (they may be a memory map); a CUDA device holds all of them where they fit into half its free
    memory.

    Parameters
    ----------
    X : ndarray or Rows of shape (n_samples, ...)
        Numbers of any type.
    y : ndarray of shape (n_samples,)
        Labels; as classes they become 0 .. n_classes - 1.
    shape : tuple of int
        Shape of one example as the encoder takes it.
    device : torch.device
    """

    def __init__(
        self, X: np.ndarray | Rows, y: np.ndarray, shape: tuple[int, ...], device: torch.device
    ):
        classes, self.y = np.unique(y, return_inverse=True)
        self.n_classes = len(classes)
        self._shape = shape
        self.device = device
        self._X: np.ndarray | Rows | Tensor = X
        if device.type == "cuda" and 4 * prod(X.shape) < torch.cuda.mem_get_info(device)[0] / 2:
            self._X = torch.empty(X.shape, device=device)
            for place, piece in pieces(X):
                self._X[place] = as_tensor(piece.astype(np.float32))

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return examples (n, *shape) and labels (n,) of the given rows."""
        if isinstance(self._X, Tensor):
            examples = self._X[on_device(rows, self.device)]
        else:
            examples = on_device(np.asarray(self._X[rows], np.float32, order="C"), self.device)
        labels = labels_on(as_tensor(self.y[rows]), self.device)
        return examples.reshape(len(rows), *self._shape), labels


class ClassBalancedBatches:
    """skorch iterator over batches of P classes x K examples, class by class.

    Parameters
    ----------
    dataset : LabelledRows
    batch_size : int
        P x K.
    n_per_class : int
        K.
    n_batches : int
        Batches per epoch, of each worker.
    augment : callable or None
        Maps a batch of examples to one of the same shape.
    seed : int or None
        An int draws the same batches in every epoch; None draws from torch's generator.
    rank, n_workers : int
        Which of so many workers this is. All draw the same batches and deal them out in turn; the
        torch generators of all but the first are seeded anew then, as their dropout and
        augmentation are not to repeat the first one's.
    """

    def __init__(
        self,
        dataset: LabelledRows,
        batch_size: int,
        *,
        n_per_class: int,
        n_batches: int,
        augment: Callable[[Tensor], Tensor] | None = None,
        seed: int | None = None,
        rank: int = 0,
        n_workers: int = 1,
    ):
        self._dataset = dataset
        self._sampler = ClassBalancedSampler(dataset.y, batch_size // n_per_class, n_per_class)
        self._n_batches = n_batches
        self._augment = augment
        self._seed = seed
        self._rank, self._n_workers = rank, n_workers

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        seed = int(torch.randint(2**31, ())) if self._seed is None else self._seed
        if self._seed is None and self._rank:
            seed_torch(seed + self._rank, self._dataset.device)
        drawn = self._n_batches * self._n_workers
        batches = self._sampler.sample(drawn, np.random.default_rng(seed))
        for rows in batches[self._rank :: self._n_workers]:
            examples, labels = self._dataset.batch(rows.ravel())
            yield self._augmented(examples), labels

    def _augmented(self, examples: Tensor) -> Tensor:
        if self._augment is None:
            return examples
        augmented = self._augment(examples)
        if not isinstance(augmented, Tensor) or augmented.shape != examples.shape:
            got = tuple(augmented.shape) if isinstance(augmented, Tensor) else type(augmented)
            raise ValueError(
                f"augment must return a tensor of the shape it was given, {tuple(examples.shape)}, "
                f"got {got}."
            )
        return augmented
