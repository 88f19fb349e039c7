"""How far probabilities are from the shares of right answers."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, validate_params

from sk_fewshot._utils.labels import as_labels


@validate_params(
    {
        "y_true": ["array-like"],
        "y_proba": ["array-like"],
        "labels": ["array-like", None],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def expected_calibration_error(y_true, y_proba, *, labels=None, n_bins=15) -> float:
    r"""Mean difference between confidence and accuracy.

    The confidence of a query is the largest of its probabilities. Queries are sorted into bins of
    equal width by their confidence;

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left|\mathrm{acc}_b - \mathrm{conf}_b\right|

    as in equation 3 of [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_queries,)
        The right classes.
    y_proba : array-like of shape (n_queries, n_classes)
        Probabilities, from 0 to 1.
    labels : array-like of shape (n_classes,) or None, default=None
        The class of each column, such as `classes_`. None: those of `y_true`, sorted.
    n_bins : int, default=15
        Number of bins, the paper's by default.

    Returns
    -------
    float
        From 0, where confidence is accuracy in every bin, to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit, or probabilities are outside of [0, 1].

    References
    ----------
    .. [1] Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> from sk_fewshot.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]
    >>> round(expected_calibration_error([0, 1, 1], y_proba), 3)
    0.333
    """
    y_true = column_or_1d(as_labels(y_true))
    assert_all_finite(y_true, input_name="y_true")
    y_proba = check_array(y_proba, input_name="y_proba", dtype=np.float64)
    check_consistent_length(y_true, y_proba)
    columns = np.unique(y_true) if labels is None else column_or_1d(as_labels(labels))
    if len(columns) != y_proba.shape[1]:
        raise ValueError(
            f"y_proba must have a column for each of the {len(columns)} labels, got "
            f"{y_proba.shape[1]}; pass labels=clf.classes_."
        )
    if y_proba.min() < 0 or y_proba.max() > 1:
        raise ValueError(
            "y_proba must hold probabilities from 0 to 1, got numbers from "
            f"{y_proba.min():.3g} to {y_proba.max():.3g}."
        )
    confidence = y_proba.max(axis=1)
    right = columns[y_proba.argmax(axis=1)] == y_true
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y_true))
