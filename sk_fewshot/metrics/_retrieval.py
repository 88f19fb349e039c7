"""Scores of a ranking by distance: do the nearest examples belong to the query's class?

All three scores follow from the ranks of a query's matches, the reference examples of its class.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, gen_batches
from sklearn.utils._chunking import get_chunk_n_rows
from sklearn.utils._param_validation import StrOptions, validate_params

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.distances import METRICS, Metric, pairwise_distances
from sk_fewshot.metrics._labels import as_codes, as_labels

_CONSTRAINTS = {
    "X": ["array-like"],
    "y": ["array-like"],
    "X_reference": ["array-like", None],
    "y_reference": ["array-like", None],
    "metric": [StrOptions(set(METRICS)), callable],
}


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def precision_at_1(
    X: ArrayLike,
    y: ArrayLike,
    *,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
    metric: Metric = "euclidean",
) -> float:
    """Share of the queries whose nearest reference example is of their class.

    Parameters
    ----------
    X : array-like of shape (n_queries, d)
        Embeddings.
    y : array-like of shape (n_queries,)
        Class labels.
    X_reference : array-like of shape (n_reference, d), default=None
        Embeddings to search. If None, each query searches the other queries (leave-one-out). An
        example that stands in both X and X_reference does find itself.
    y_reference : array-like of shape (n_reference,), default=None
        Their class labels; None together with X_reference.
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable, \
            default="euclidean"
        As in :func:`sk_fewshot.distances.pairwise_distances`.

    Returns
    -------
    float
        Between 0 and 1, the higher the better.

    Raises
    ------
    ValueError
        If only one of X_reference and y_reference is given, shapes do not fit, a value is not
        finite, or no query has a match, that is a reference example of its class.

    See Also
    --------
    r_precision : Looks at as many neighbours as the query has matches.
    map_at_r : Looks at their order, too.

    Notes
    -----
    Queries without a match are left out of the mean, as no ranking could answer them.

    Distances are compared in single precision. Where they tie, examples of other classes are taken
    to be nearer: the score is that of the worst order. So it depends neither on the order of the
    rows nor on round-off, and an encoder that maps everything to one point scores 0.

    Queries are ranked in chunks that fit ``sklearn.get_config()["working_memory"]``.

    Examples
    --------
    >>> from sk_fewshot.metrics import precision_at_1
    >>> X = [[0.0], [1.0], [3.0], [3.5]]
    >>> precision_at_1(X, ["a", "a", "b", "b"])
    1.0
    >>> precision_at_1(X, ["a", "a", "b", "b"], X_reference=[[0.0], [2.0]], y_reference=["a", "b"])
    0.75
    """
    ranks = _ranks_of_matches(X, y, X_reference, y_reference, metric)
    return _mean((rank[:, 0] == 1).double() for rank, _ in ranks)


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def r_precision(
    X: ArrayLike,
    y: ArrayLike,
    *,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
    metric: Metric = "euclidean",
) -> float:
    """Share of a query's class among its R nearest reference examples, mean over the queries.

    R is the number of the query's matches, the reference examples of its class; so a perfect
    ranking scores 1 whatever the class sizes.

    Parameters
    ----------
    X : array-like of shape (n_queries, d)
        Embeddings.
    y : array-like of shape (n_queries,)
        Class labels.
    X_reference : array-like of shape (n_reference, d), default=None
        Embeddings to search. If None, each query searches the other queries (leave-one-out). An
        example that stands in both X and X_reference does find itself.
    y_reference : array-like of shape (n_reference,), default=None
        Their class labels; None together with X_reference.
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable, \
            default="euclidean"
        As in :func:`sk_fewshot.distances.pairwise_distances`.

    Returns
    -------
    float
        Between 0 and 1, the higher the better.

    Raises
    ------
    ValueError
        As in :func:`precision_at_1`.

    Notes
    -----
    Queries without a match, ties and memory are treated as in :func:`precision_at_1`.

    References
    ----------
    K. Musgrave, S. Belongie, S.-N. Lim. A Metric Learning Reality Check. ECCV 2020, section 3.2.

    Examples
    --------
    >>> from sk_fewshot.metrics import r_precision
    >>> r_precision([[0.0], [1.0], [2.0], [4.0], [5.0]], ["a", "b", "a", "a", "b"])
    0.3...
    """
    ranks = _ranks_of_matches(X, y, X_reference, y_reference, metric)
    return _mean((rank <= n_matches).double().sum(1) / n_matches[:, 0] for rank, n_matches in ranks)


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def map_at_r(
    X: ArrayLike,
    y: ArrayLike,
    *,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
    metric: Metric = "euclidean",
) -> float:
    """Mean average precision at R (MAP@R), mean over the queries.

    For one query with R matches, the reference examples of its class, it is
    ``1/R sum_{i=1}^{R} P(i)``, where P(i) is the precision among the i nearest if the i-th nearest
    is a match, and 0 if not. It looks as deep as :func:`r_precision` and rewards matches that come
    early.

    Parameters
    ----------
    X : array-like of shape (n_queries, d)
        Embeddings.
    y : array-like of shape (n_queries,)
        Class labels.
    X_reference : array-like of shape (n_reference, d), default=None
        Embeddings to search. If None, each query searches the other queries (leave-one-out). An
        example that stands in both X and X_reference does find itself.
    y_reference : array-like of shape (n_reference,), default=None
        Their class labels; None together with X_reference.
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable, \
            default="euclidean"
        As in :func:`sk_fewshot.distances.pairwise_distances`.

    Returns
    -------
    float
        Between 0 and 1, the higher the better; never above :func:`r_precision`.

    Raises
    ------
    ValueError
        As in :func:`precision_at_1`.

    Notes
    -----
    Queries without a match, ties and memory are treated as in :func:`precision_at_1`.

    References
    ----------
    K. Musgrave, S. Belongie, S.-N. Lim. A Metric Learning Reality Check. ECCV 2020, section 3.2.

    Examples
    --------
    >>> from sk_fewshot.metrics import map_at_r
    >>> map_at_r([[0.0], [1.0], [2.0], [4.0], [5.0]], ["a", "b", "a", "a", "b"])
    0.15
    """
    ranks = _ranks_of_matches(X, y, X_reference, y_reference, metric)
    return _mean(
        torch.where(rank <= n_matches, _order(rank).double() / rank, 0).sum(1) / n_matches[:, 0]
        for rank, n_matches in ranks
    )


def _ranks_of_matches(
    X: ArrayLike,
    y: ArrayLike,
    X_reference: ArrayLike | None,
    y_reference: ArrayLike | None,
    metric: Metric,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ranks of each query's matches among its neighbours, nearest match first, chunk by chunk.

    Yields
    ------
    rank : Tensor of shape (chunk, R_max)
        Ranks count from 1. Those above R, the query's number of matches, are only known to be
        above R; queries with fewer than R_max matches are padded with such ranks.
    n_matches : Tensor of shape (chunk, 1)
        R, at least 1: queries without a match are left out.
    """
    queries, y_queries = _check_labelled(X, y)
    leave_one_out = X_reference is None
    if X_reference is not None and y_reference is not None:
        reference, y_reference = _check_labelled(X_reference, y_reference, "_reference")
    elif X_reference is None and y_reference is None:
        reference, y_reference = queries, y_queries
    else:
        raise ValueError("X_reference and y_reference must be given together, got only one.")
    if queries.shape[1] != reference.shape[1]:
        raise ValueError(
            f"X and X_reference must have the same number of columns, got {queries.shape[1]} and "
            f"{reference.shape[1]}."
        )
    code, code_reference = as_codes(y_queries, y_reference)
    n_matches = np.bincount(code_reference, minlength=code.max() + 1)[code] - leave_one_out
    answerable = np.flatnonzero(n_matches)
    if len(answerable) == 0:
        raise ValueError(
            "No query has a match: a class of y needs "
            + ("a second example." if leave_one_out else "an example in y_reference.")
        )
    R_max = int(n_matches.max())
    row_bytes = 8 * (5 * len(reference) + 8 * R_max)  # float64 and int64 arrays alive at a time
    n_rows = get_chunk_n_rows(row_bytes, max_n_rows=len(answerable))
    searched, code_searched = as_tensor(reference.copy()), as_tensor(code_reference)
    for batch in gen_batches(len(answerable), n_rows):
        chunk = answerable[batch]
        distances = pairwise_distances(as_tensor(queries[chunk]), searched, metric).float()
        same = as_tensor(code[chunk, None]) == code_searched  # (chunk, n_reference)
        other = ~same
        if leave_one_out:
            same[torch.arange(len(chunk)), chunk] = False
        rank, R = _rank(distances, same, other, R_max), as_tensor(n_matches[chunk, None])
        del distances, same, other  # before those of the next chunk are made
        yield torch.where(_order(rank) <= R, rank, R_max + 1), R


def _rank(
    distances: torch.Tensor, same: torch.Tensor, other: torch.Tensor, R_max: int
) -> torch.Tensor:
    """Ranks (chunk, R_max) of each row's nearest matches, which come after others at a tie."""
    if distances.isnan().any():
        raise ValueError("metric must not give NaN distances.")
    nearest_same = _smallest(distances, same, R_max)
    nearest_others = _smallest(distances, other, R_max)
    return _order(nearest_same) + torch.searchsorted(nearest_others, nearest_same, right=True)


def _smallest(distances: torch.Tensor, among: torch.Tensor, k: int) -> torch.Tensor:
    """Each row's k smallest distances where ``among``, ascending, then infinities."""
    return distances.masked_fill(~among, torch.inf).topk(k, largest=False).values


def _order(ranks: torch.Tensor) -> torch.Tensor:
    return torch.arange(1, ranks.shape[1] + 1)  # (R_max,)


def _mean(scores: Iterator[torch.Tensor]) -> float:
    total, n_queries = 0.0, 0
    for chunk in scores:
        total, n_queries = total + float(chunk.sum()), n_queries + len(chunk)
    return total / n_queries


def _check_labelled(X: ArrayLike, y: ArrayLike, suffix: str = "") -> tuple[NDArray, NDArray]:
    embeddings = check_array(X, dtype=[np.float64, np.float32], input_name=f"X{suffix}")
    labels = as_labels(y, f"y{suffix}")
    check_consistent_length(embeddings, labels)
    return embeddings, labels
