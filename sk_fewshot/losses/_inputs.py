"""What every loss does first with the embeddings it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(embeddings: Tensor) -> Iterator[Tensor]:
    """Embeddings in float32 at least, and no autocast: half precision is too coarse for a loss."""
    with torch.autocast(embeddings.device.type, enabled=False):
        yield embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def check_width(name: str, points: Tensor, embedding_dim: int) -> None:
    """Check that points have the width that the learned parameters of a loss have.

    Raises
    ------
    ValueError
        If they have another.
    """
    if points.shape[-1] != embedding_dim:
        raise ValueError(
            f"{name} must have embedding_dim={embedding_dim} columns, got {points.shape[-1]}."
        )
