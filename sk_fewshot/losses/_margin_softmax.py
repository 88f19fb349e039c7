"""What the softmax losses with a margin on the angle share."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from sk_fewshot._utils.device import labels_on, labels_on_cpu
from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_batch, check_parameters, check_width
from sk_fewshot.losses._directions import rows_of_length
from sk_fewshot.losses._rows import row_chunks, sum_over_rows


class MarginSoftmaxLoss(nn.Module):
    """Cross-entropy of cosine logits in which the target's cosine is made smaller.

    Subclasses say how long the embeddings are taken to be and what becomes of the target's cosine.
    """

    def __init__(self, n_classes: int, embedding_dim: int, constraints: dict, **values) -> None:
        super().__init__()
        check_parameters(
            self,
            {
                "n_classes": [Interval(Integral, 2, None, closed="left")],
                "embedding_dim": [Interval(Integral, 1, None, closed="left")],
                **constraints,
            },
            n_classes=n_classes,
            embedding_dim=embedding_dim,
            **values,
        )
        self.n_classes = n_classes
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(torch.empty(n_classes, embedding_dim))
        nn.init.normal_(self.weight, std=embedding_dim**-0.5)

    @abstractmethod
    def _scaled(self, z: Tensor) -> Tensor:
        """Embeddings (n, d) in the length that their logits have."""

    @abstractmethod
    def _length(self, z: Tensor) -> Tensor:
        """That length, (n,) or the same for all, ()."""

    @abstractmethod
    def _with_margin(self, cosine: Tensor) -> Tensor:
        """What the loss puts in place of the target's cosine."""

    def logits(self, embeddings: Tensor) -> Tensor:
        """Logits without a margin, to predict with.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Floating point; half precision is computed in float32.

        Returns
        -------
        Tensor of shape (n, n_classes)

        Raises
        ------
        ValueError
            If the width is not `embedding_dim`.
        """
        check_width("embeddings", embeddings, self.embedding_dim)
        with full_precision(embeddings) as z, full_precision(self.weight) as weight:
            return self._scaled(z) @ rows_of_length(weight).to(z.dtype).T

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Floating point; half precision is computed in float32.
        y : Tensor of int of shape (n,)
            Classes, 0 to n_classes - 1.

        Returns
        -------
        Tensor
            A scalar, float32 or float64.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others, or a label is outside the classes.
        """
        check_batch(embeddings, y)
        check_width("embeddings", embeddings, self.embedding_dim)
        least, most = (int(x) for x in labels_on_cpu(y).aminmax()) if len(y) else (0, 0)
        if least < 0 or most >= self.n_classes:
            raise ValueError(
                f"y must hold classes from 0 to n_classes - 1 = {self.n_classes - 1}, "
                f"got labels from {least} to {most}."
            )
        y = labels_on(y, embeddings.device).long()
        with full_precision(embeddings) as z, full_precision(self.weight) as weight:
            scaled, unit_weight = self._scaled(z), rows_of_length(weight).to(z.dtype)
            length = self._length(z)
            target = (scaled * unit_weight.index_select(0, y)).sum(1)  # (n,) logits
            cosine = (target / torch.where(length > 0, length, 1)).clamp(-1, 1)
            change = length * self._with_margin(cosine) - target

            def terms(
                rows: slice, scaled: Tensor, weight: Tensor, change: Tensor
            ) -> tuple[Tensor, int]:
                logits = scaled[rows] @ weight.T  # (r, n_classes)
                logits.scatter_add_(1, y[rows, None], change[rows, None])
                return F.cross_entropy(logits, y[rows], reduction="sum"), len(logits)

            chunks = row_chunks(len(y), self.n_classes)
            total, count = sum_over_rows(terms, chunks, scaled, unit_weight, change)
        return (total / count.clamp(min=1)).to(z.dtype)
