"""What every loss does first with the embeddings it is given."""

from __future__ import annotations

from torch import Tensor


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
