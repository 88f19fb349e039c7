"""Scores of queries by a head, with ties between classes settled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.chunks import apply_in_chunks
from sk_fewshot._utils.device import on_device, torch_dtype
from sk_fewshot._utils.precision import exact_products
from sk_fewshot.gallery import ClassMeans, Gallery
from sk_fewshot.heads._head import Head
from sk_fewshot.heads._metric import MetricHead

_CHUNK = 64  # queries scored at once
_ACCURACY = 1e-5  # of a distance

State = NDArray | tuple[NDArray, ...]


def enrolled_state(head: Head, gallery: Gallery, device: torch.device) -> State:
    """Return what a head compares queries with: the means of a gallery, or what it makes of it.

    Arrays of the gallery stay the same objects.
    """
    if isinstance(gallery, ClassMeans):
        return gallery.rows
    with torch.inference_mode(), exact_products(device):
        support, labels = on_device(gallery.rows, device), on_device(gallery.codes, device)
        state = head.to(device).enrol(_at_least_float32(support), labels)
    if isinstance(state, Tensor):
        return state.cpu().numpy()
    ours = {id(support): gallery.rows, id(labels): gallery.codes}
    return tuple(ours[id(part)] if id(part) in ours else part.cpu().numpy() for part in state)


def class_scores(head: Head, state: State, queries: NDArray, *, device: torch.device) -> NDArray:
    """Score queries against all classes.

    Where the two best classes of a query are within rounding of one another, its distances are
    computed again, each alone, so that classes at equal distances have equal scores.

    Parameters
    ----------
    head : Head
    state : ndarray or tuple of ndarray
        From :func:`enrolled_state`.
    queries : ndarray of shape (n_queries, d)
    device : torch.device

    Returns
    -------
    ndarray of shape (n_queries, n_classes)
    """
    head.to(device)
    on_it = _on_device(state, device)

    def in_chunks(function: Callable[[Tensor], Tensor], dtype: torch.dtype | None) -> NDArray:
        return apply_in_chunks(function, queries, chunk_size=_CHUNK, device=device, dtype=dtype)

    with torch.inference_mode(), exact_products(device):
        if not isinstance(head, MetricHead):
            return in_chunks(lambda chunk: head.score(chunk, on_it), None)
        dtype = _compared_in(queries, on_it)
        on_it = _in_dtype(on_it, dtype)
        similarity = in_chunks(lambda chunk: head.class_similarity(chunk, on_it), dtype)
        near = _near_ties(similarity, head)
        if near.any():
            tied = on_device(queries[near], device).to(dtype)
            similarity[near] = head.class_similarity(tied, on_it, alone=True).cpu().numpy()
        return head.scores_of(on_device(similarity, device)).cpu().numpy()


def _near_ties(similarity: NDArray, head: MetricHead) -> NDArray[np.bool_]:
    """Which rows (n_queries,) have a second best class within rounding of the best."""
    best = similarity.max(axis=1)
    size = np.abs(best) if head.nearest_decides else np.abs(best) + 1  # a sum can cancel to 0
    least = best - _ACCURACY * size - 1e-12 * np.abs(similarity).max(axis=1)
    return np.count_nonzero(~(similarity < least[:, None]), axis=1) > 1


def _on_device(state: State, device: torch.device) -> Tensor | tuple[Tensor, ...]:
    if isinstance(state, tuple):
        return tuple(on_device(part, device) for part in state)
    return on_device(state, device)


def _compared_in(queries: NDArray, state: Tensor | tuple[Tensor, ...]) -> torch.dtype:
    """Return the type that holds queries and embeddings, float32 at least."""
    parts = state if isinstance(state, tuple) else (state,)
    dtypes = [torch_dtype(queries.dtype), torch.float32]
    dtypes += [part.dtype for part in parts if part.is_floating_point()]
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = torch.promote_types(dtype, other)
    return dtype


def _in_dtype(state: Tensor | tuple[Tensor, ...], dtype: torch.dtype) -> Any:
    if isinstance(state, tuple):
        return tuple(part.to(dtype) if part.is_floating_point() else part for part in state)
    return state.to(dtype)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
