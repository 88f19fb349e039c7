"""Scores of queries by a head, with ties between classes settled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.chunks import apply_in_chunks, rows_a_chunk
from sk_fewshot._utils.device import computing_device, on_device, resolve_device, torch_dtype
from sk_fewshot._utils.precision import exact_products, in_steps_of
from sk_fewshot._utils.switches import inference_mode, whatever_the_switches
from sk_fewshot.gallery import ClassMeans
from sk_fewshot.gallery._gallery import MemoryGallery
from sk_fewshot.heads._head import Head
from sk_fewshot.heads._metric import MetricHead

_CHUNK = 64  # queries scored at once, at most
_ACCURACY = 1e-5  # of a distance

State = NDArray | tuple[NDArray, ...]


def scoring_device(classifier: Any) -> torch.device:
    """Return where a fitted classifier scores, by its `device` and by what its head needs."""
    return computing_device(classifier.head_, resolve_device(classifier.device))


@whatever_the_switches
def enrolled_state(head: Head, gallery: MemoryGallery, device: torch.device) -> State:
    """Return what a head compares queries with: the means of a gallery, or what it makes of it.

    Arrays of the gallery stay the same objects.
    """
    if isinstance(gallery, ClassMeans):
        return gallery.rows
    with inference_mode(), exact_products(device):
        support, labels = on_device(gallery.rows, device), on_device(gallery.codes, device)
        state = head.to(device).enrol(_at_least_float32(support), labels)
    if isinstance(state, Tensor):
        return state.cpu().numpy()
    ours = {id(support): gallery.rows, id(labels): gallery.codes}
    return tuple(ours[id(part)] if id(part) in ours else part.cpu().numpy() for part in state)


@whatever_the_switches
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
        float64 where the nearest decides.
    """
    head.to(device)
    on_it = _on_device(state, device)

    def in_chunks(function: Callable[[Tensor], Tensor], dtype: torch.dtype | None) -> NDArray:
        size = rows_a_chunk(_CHUNK, queries.shape[1:])
        return apply_in_chunks(function, queries, chunk_size=size, device=device, dtype=dtype)

    with inference_mode(), exact_products(device):
        if not isinstance(head, MetricHead):
            return in_chunks(lambda chunk: head.score(chunk, on_it), None)
        dtype = torch_dtype(np.result_type(queries, np.float32))
        # float64 tells apart what the squares of tiny float32 numbers cannot
        compared_in = torch.float64 if head.nearest_decides else dtype
        similarity = in_chunks(lambda chunk: head.class_similarity(chunk, on_it), compared_in)
        near = _near_ties(similarity, head)
        if near.any():
            tied = on_device(queries[near], device).double()
            alone = head.class_similarity(tied, on_it, alone=True)
            similarity[near] = in_steps_of(alone, dtype).cpu().numpy()
        return head.scores_of(on_device(similarity, device)).cpu().numpy()


def rounded(scores: NDArray, dtype: np.dtype) -> NDArray:
    """Round scores (n_queries, n_classes), so that the best class of each query stays the best.

    A class before it that rounding makes its equal gets the next smaller number.
    """
    if scores.dtype == dtype:
        return scores
    winner = scores.argmax(axis=1)[:, None]
    few = scores.astype(dtype)
    best = np.take_along_axis(few, winner, axis=1)
    overtaken = (few >= best) & (np.arange(scores.shape[1]) < winner)
    return np.where(overtaken, np.nextafter(best, -np.inf, dtype=dtype), few)


def _near_ties(similarity: NDArray, head: MetricHead) -> NDArray[np.bool_]:
    """Which rows (n_queries,) have a second best class within rounding of the best."""
    best = similarity.max(axis=1, keepdims=True)
    size = np.abs(best)
    if not head.nearest_decides:  # a sum over examples can cancel to 0
        size += 1
    elif head.metric == "dot":  # a product can, whose terms are as large as others' are
        size += 1e-7 * np.abs(similarity).max(axis=1, keepdims=True)
    in_reach = similarity >= best - _ACCURACY * size
    if np.count_nonzero(in_reach) == len(similarity):  # the best of each query alone
        return np.zeros(len(similarity), dtype=bool)
    return np.count_nonzero(in_reach, axis=1) > 1


def _on_device(state: State, device: torch.device) -> Tensor | tuple[Tensor, ...]:
    if isinstance(state, tuple):
        return tuple(on_device(part, device) for part in state)
    return on_device(state, device)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
