"""Scores of a ranking by distance: do the nearest examples belong to the query's class?

All of them follow from the ranks of a query's matches, the reference examples of its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from torch import Tensor

from sk_fewshot.distances import METRICS, Metric
from sk_fewshot.metrics._ranks import Retrieval

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
    metric : str or callable, default="euclidean"
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
    recall_at_k : Looks at the k nearest.
    r_precision : Looks at as many neighbours as the query has matches.
    map_at_r : Looks at their order, too.

    Notes
    -----
    Queries without a match are left out of the mean, as no ranking could answer them.

    Distances are compared in single precision. Where they tie, examples of other classes are taken
    to be nearer: the score is that of the worst order. So it depends neither on the order of the
    rows nor on round-off, and an encoder that maps everything to one point scores 0.

    Queries are ranked in chunks that fit ``sklearn.get_config()["working_memory"]``; where far more
    reference examples than a query has matches, by the search that classifiers use.

    Examples
    --------
    >>> from sk_fewshot.metrics import precision_at_1
    >>> X = [[0.0], [1.0], [3.0], [3.5]]
    >>> precision_at_1(X, ["a", "a", "b", "b"])
    1.0
    >>> precision_at_1(X, ["a", "a", "b", "b"], X_reference=[[0.0], [2.0]], y_reference=["a", "b"])
    0.75
    """
    retrieval = Retrieval.of(X, y, X_reference, y_reference, metric)
    return _mean((rank == 1).double() for rank in retrieval.first_matches(depth=1))


@validate_params(
    {
        **_CONSTRAINTS,
        "k": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "cameras": ["array-like", None],
        "cameras_reference": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def recall_at_k(
    X: ArrayLike,
    y: ArrayLike,
    *,
    k: int | Sequence[int] = 1,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
    cameras: ArrayLike | None = None,
    cameras_reference: ArrayLike | None = None,
    metric: Metric = "euclidean",
) -> float | NDArray[np.float64]:
    """Share of the queries that have an example of their class among the k nearest (Recall@K).

    For several k these are points of the cumulative matching characteristic (CMC), the usual curve
    of re-identification. There the query's camera has to be told as well: another picture of the
    same person by the same camera is no achievement, and is left out of the ranking [2]_.

    Parameters
    ----------
    X : array-like of shape (n_queries, d)
        Embeddings.
    y : array-like of shape (n_queries,)
        Class labels.
    k : int or sequence of int, default=1
        How many of the nearest reference examples count.
    X_reference : array-like of shape (n_reference, d), default=None
        Embeddings to search. If None, each query searches the other queries (leave-one-out). An
        example that stands in both X and X_reference does find itself.
    y_reference : array-like of shape (n_reference,), default=None
        Their class labels; None together with X_reference.
    cameras : array-like of shape (n_queries,), default=None
        The camera, session or drawer that each query comes from. Reference examples of the query's
        class *and* camera are left out; those of other classes by the same camera stay.
    cameras_reference : array-like of shape (n_reference,), default=None
        The same of the reference; together with `cameras` and `X_reference`.
    metric : str or callable, default="euclidean"
        As in :func:`sk_fewshot.distances.pairwise_distances`.

    Returns
    -------
    float, or ndarray of shape (n_k,), float64
        Between 0 and 1, the higher the better; one for each k.

    Raises
    ------
    ValueError
        As in :func:`precision_at_1`, if a k is not a positive integer, or cameras are given for
        one side only.

    See Also
    --------
    precision_at_1 : Recall@1 without cameras.
    map_at_r : Looks at all matches and their order.

    Notes
    -----
    Queries without a match, ties and memory are treated as in :func:`precision_at_1`.

    References
    ----------
    .. [1] Oh Song, Xiang, Jegelka and Savarese, "Deep Metric Learning via Lifted Structured Feature
       Embedding", CVPR 2016, section 6.
    .. [2] Zheng, Shen, Tian, Wang, Wang and Tian, "Scalable Person Re-identification: A Benchmark",
       ICCV 2015, section 3.

    Examples
    --------
    >>> from sk_fewshot.metrics import recall_at_k
    >>> X, y = [[0.0], [1.0], [1.5], [4.0]], ["a", "b", "a", "b"]
    >>> recall_at_k(X, y, k=1)
    0.0
    >>> recall_at_k(X, y, k=[1, 2, 3])
    array([0.  , 0.75, 1.  ])
    >>> recall_at_k(X, y, k=[1, 2, 3], cameras=[1, 1, 1, 2])  # "b" alone was seen by two cameras
    array([0.  , 0.5, 1. ])
    """
    ks = np.asarray(k)
    if ks.dtype.kind not in "iu" or ks.ndim > 1 or ks.size == 0 or ks.min() < 1:
        raise ValueError(f"k must be a positive integer or several, got {k!r}.")
    retrieval = Retrieval.of(
        X, y, X_reference, y_reference, metric, cameras=cameras, cameras_reference=cameras_reference
    )
    depth = int(ks.max())
    n_at_rank = torch.zeros(depth + 2, dtype=torch.int64)  # the last one: deeper
    for rank in retrieval.first_matches(depth):
        n_at_rank += torch.bincount(rank.clamp(max=depth + 1), minlength=depth + 2)
    n_found = n_at_rank.cumsum(0).double().numpy()
    recall = n_found[ks] / n_found[-1]
    return float(recall) if ks.ndim == 0 else recall


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
    metric : str or callable, default="euclidean"
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
    ranks = Retrieval.of(X, y, X_reference, y_reference, metric).matches()
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
    metric : str or callable, default="euclidean"
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
    ranks = Retrieval.of(X, y, X_reference, y_reference, metric).matches()
    return _mean(_average_precision(rank, n_matches) for rank, n_matches in ranks)


def _average_precision(rank: Tensor, n_matches: Tensor) -> Tensor:
    precision = torch.arange(1, rank.shape[1] + 1).double() / rank
    return torch.where(rank <= n_matches, precision, 0).sum(1) / n_matches[:, 0]


def _mean(scores: Iterator[Tensor]) -> float:
    total, n_queries = 0.0, 0
    for chunk in scores:
        total, n_queries = total + float(chunk.sum()), n_queries + len(chunk)
    return total / n_queries
