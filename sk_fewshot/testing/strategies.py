"""Hypothesis strategies that draw what losses, heads, encoders and estimators take.

Importing this module imports hypothesis; nothing else of the package does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sk_fewshot._utils.device import as_tensor

__all__ = ["Episode", "episodes", "labelled_images", "pairs", "support_sets"]

_SEEDS = st.integers(0, 2**32 - 1)


class Episode(NamedTuple):
    """An episode, in the order in which a head takes its parts.

    Attributes
    ----------
    queries : Tensor of shape (n_queries, d)
    support : Tensor of shape (n_support, d)
    support_labels : Tensor of int64 of shape (n_support,)
        0 .. n_classes - 1, each at least once, in any order.
    query_labels : Tensor of int64 of shape (n_queries,)
        Some of them.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import PrototypicalHead
    >>> from sk_fewshot.testing.strategies import Episode
    >>> episode = Episode(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> PrototypicalHead()(*episode[:3]).argmax(1)
    tensor([0, 1])
    """

    queries: Tensor
    support: Tensor
    support_labels: Tensor
    query_labels: Tensor


@st.composite
def support_sets(
    draw: Callable[..., Any],
    *,
    embedding_dim: int = 4,
    max_classes: int = 5,
    max_examples: int = 4,
    dtype: torch.dtype = torch.float32,
    scales: st.SearchStrategy[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Embeddings and labels, with the cases that losses and heads get wrong.

    Classes of one example and of several, rows in any order, equal rows of one class and of two,
    zero rows, rows that point the same way or opposite ways.

    Parameters
    ----------
    embedding_dim : int, default=4
    max_classes : int, default=5
        Two classes are the least.
    max_examples : int, default=4
        Of a class; one is the least.
    dtype : torch.dtype, default=torch.float32
    scales : strategy of float or None, default=None
        What embeddings of about length 1 are multiplied by. None: 1.

    Returns
    -------
    strategy of (embeddings, labels)
        Tensors (n, d) and (n,), the labels 0 .. n_classes - 1, each at least once.

    Examples
    --------
    >>> import torch
    >>> from hypothesis import given
    >>> from sk_fewshot.losses import TripletLoss
    >>> from sk_fewshot.testing.strategies import support_sets
    >>> @given(support_sets())
    ... def test_my_loss_is_a_finite_number(batch):
    ...     assert TripletLoss()(*batch).isfinite()
    >>> test_my_loss_is_a_finite_number()
    """
    counts = draw(st.lists(st.integers(1, max_examples), min_size=2, max_size=max_classes))
    rng = np.random.default_rng(draw(_SEEDS))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    embeddings = _embeddings(draw, rng, len(labels), embedding_dim, scales)
    return embeddings.to(dtype), as_tensor(labels)


@st.composite
def episodes(
    draw: Callable[..., Any],
    *,
    embedding_dim: int = 4,
    max_classes: int = 5,
    max_examples: int = 4,
    max_queries: int = 6,
    dtype: torch.dtype = torch.float32,
    scales: st.SearchStrategy[float] | None = None,
) -> Episode:
    """Support sets as :func:`support_sets` draws them, and queries, some equal to a support row.

    Parameters
    ----------
    embedding_dim, max_classes, max_examples, dtype, scales
        As for :func:`support_sets`.
    max_queries : int, default=6
        One is the least.

    Returns
    -------
    strategy of Episode

    Examples
    --------
    >>> from hypothesis import given
    >>> from sk_fewshot.heads import MatchingHead
    >>> from sk_fewshot.testing.strategies import episodes
    >>> @given(episodes())
    ... def test_my_head_has_a_score_for_every_class(episode):
    ...     scores = MatchingHead()(episode.queries, episode.support, episode.support_labels)
    ...     assert scores.shape == (len(episode.queries), episode.support_labels.max() + 1)
    >>> test_my_head_has_a_score_for_every_class()
    """
    counts = draw(st.lists(st.integers(1, max_examples), min_size=2, max_size=max_classes))
    n_queries = draw(st.integers(1, max_queries))
    rng = np.random.default_rng(draw(_SEEDS))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = _embeddings(draw, rng, n_queries + len(labels), embedding_dim, scales).to(dtype)
    return Episode(
        rows[:n_queries],
        rows[n_queries:],
        as_tensor(labels),
        as_tensor(rng.integers(len(counts), size=n_queries)),
    )


@st.composite
def labelled_images(
    draw: Callable[..., Any],
    *,
    image_shape: tuple[int, int, int] | None = None,
    max_classes: int = 4,
    min_examples: int = 2,
    max_examples: int = 5,
) -> tuple[NDArray[np.float32], NDArray]:
    """Images and labels of any type, to train on.

    Parameters
    ----------
    image_shape : tuple of (channels, height, width) or None, default=None
        None: 1 or 3 channels and sides of 4 to 12 pixels.
    max_classes : int, default=4
        Two are the least.
    min_examples : int, default=2
        Of a class; training needs two, a support set one.
    max_examples : int, default=5

    Returns
    -------
    strategy of (X, y)
        Arrays (n, C, H, W), float32 in [0, 1], and (n,) of ints, strings or bools.

    Examples
    --------
    >>> import torch
    >>> from hypothesis import given
    >>> from sk_fewshot.encoders import Conv4
    >>> from sk_fewshot.testing.strategies import labelled_images
    >>> encoder = Conv4((1, 8, 8)).eval()
    >>> @given(labelled_images(image_shape=(1, 8, 8)))
    ... def test_my_encoder_embeds_every_image(images):
    ...     X, y = images
    ...     assert encoder(torch.from_numpy(X)).shape == (len(X), encoder.embedding_dim)
    >>> test_my_encoder_embeds_every_image()
    """
    if image_shape is None:
        side = st.integers(4, 12)
        image_shape = draw(st.tuples(st.sampled_from([1, 3]), side, side))
    sizes = st.integers(min_examples, max_examples)
    counts = draw(st.lists(sizes, min_size=2, max_size=max_classes))
    rng = np.random.default_rng(draw(_SEEDS))
    codes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    kinds = [np.arange(len(counts)), rng.choice(10**6, len(counts), replace=False) - 10**5]
    kinds.append(np.array([f"class {code}" for code in rng.permutation(len(counts))]))
    if len(counts) == 2:
        kinds.append(np.array([True, False]))
    names = kinds[draw(st.integers(0, len(kinds) - 1))]
    means = rng.random((len(counts), *image_shape))
    X = (means[codes] + rng.random((len(codes), *image_shape))) / 2
    return X.astype(np.float32), names[codes]


@st.composite
def pairs(
    draw: Callable[..., Any],
    *,
    example_shape: tuple[int, ...] = (6,),
    min_pairs: int = 2,
    max_pairs: int = 12,
) -> tuple[NDArray[np.float32], NDArray]:
    """Pairs of examples, of which the same are mostly nearer to each other, and their labels.

    Parameters
    ----------
    example_shape : tuple of int, default=(6,)
        Of one example: (n_features,), (H, W) or (C, H, W).
    min_pairs : int, default=2
    max_pairs : int, default=12

    Returns
    -------
    strategy of (X, y)
        Arrays ``(n_pairs, 2, *example_shape)`` and (n_pairs,) of 0 and 1, or False and True, both
        of which occur.

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import given
    >>> from sk_fewshot import PairClassifier
    >>> from sk_fewshot.testing.strategies import pairs
    >>> @given(pairs())
    ... def test_probabilities_add_up_to_one(pairs):
    ...     probabilities = PairClassifier("passthrough").fit(*pairs).predict_proba(pairs[0])
    ...     np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    >>> test_probabilities_add_up_to_one()
    """
    n_same = draw(st.integers(1, max(1, max_pairs // 2)))
    n_different = draw(st.integers(max(1, min_pairs - n_same), max(1, max_pairs - n_same)))
    rng = np.random.default_rng(draw(_SEEDS))
    y = rng.permutation(np.repeat([1, 0], [n_same, n_different]))
    X = rng.normal(size=(len(y), 2, *example_shape))
    X[y == 1, 1] = X[y == 1, 0] + 0.3 * X[y == 1, 1]
    return X.astype(np.float32), y.astype(bool) if draw(st.booleans()) else y


def _embeddings(
    draw: Callable[..., Any],
    rng: np.random.Generator,
    n: int,
    d: int,
    scales: st.SearchStrategy[float] | None,
) -> Tensor:
    """Rows (n, d) in float64, some made equal, parallel, opposite or zero."""
    rows = rng.standard_normal((n, d)) / d**0.5
    index = st.integers(0, n - 1)
    edits = st.tuples(index, index, st.sampled_from([1.0, 2.0, -1.0, 0.0]))
    for source, target, factor in draw(st.lists(edits, max_size=4)):
        rows[target] = factor * rows[source]
    return as_tensor(rows * (1.0 if scales is None else draw(scales)))
