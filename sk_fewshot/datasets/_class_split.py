"""A cross-validation splitter whose training and test classes are disjoint."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.model_selection import BaseShuffleSplit, ShuffleSplit
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from sk_fewshot._utils.validation import check_labels


class ClassSplit(BaseShuffleSplit):
    """Random splits into training and test data that have no class in common.

    What is learned on the training classes is judged on classes it has never seen, the question of
    few-shot learning. It suits estimators whose score does not need the classes of ``fit``: a
    transformer with a scorer that compares embeddings. An ordinary classifier has accuracy 0 on
    classes it does not know; use :class:`~sk_fewshot.EpisodeSplit` within the test classes.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits. Each is drawn anew: test classes of two splits may overlap.
    test_size : float or int, default=0.2
        Share of the classes in the test part, rounded up, or their number.
    random_state : int, RandomState instance or None, default=None
        Which classes are drawn. Pass an int for the same splits in every call.

    See Also
    --------
    sklearn.model_selection.GroupShuffleSplit : The same with groups of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.datasets import ClassSplit
    >>> X, y = np.zeros((8, 2)), np.array(list("aabbccdd"))
    >>> for train, test in ClassSplit(n_splits=2, test_size=0.25, random_state=0).split(X, y):
    ...     print(np.unique(y[train]), np.unique(y[test]))
    ['a' 'b' 'd'] ['c']
    ['b' 'c' 'd'] ['a']

    One split into training and test classes:

    >>> train, test = next(ClassSplit(test_size=2, random_state=0).split(X, y))
    >>> X_base, y_base, X_novel, y_novel = X[train], y[train], X[test], y[test]
    """

    def __init__(self, n_splits=5, *, test_size=0.2, random_state=None):
        super().__init__(n_splits=n_splits, test_size=test_size, random_state=random_state)

    def split(self, X, y, groups=None):
        """Generate the indices of the training and test samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Only its length is used.
        y : array-like of shape (n_samples,)
            Class labels.
        groups : object
            Ignored, for compatibility.

        Yields
        ------
        train, test : ndarray of int
            Indices in ascending order.

        Raises
        ------
        ValueError
            If ``y`` is missing or does not hold classes, or ``test_size`` leaves no class on one
            side.
        """
        y = check_labels(y)
        X, y = indexable(X, y)
        classes, codes = np.unique(y, return_inverse=True)
        splitter = ShuffleSplit(
            self.n_splits, test_size=self._n_test(len(classes)), random_state=self.random_state
        )
        for train, test in splitter.split(classes):
            yield np.flatnonzero(np.isin(codes, train)), np.flatnonzero(np.isin(codes, test))

    def _n_test(self, n_classes: int) -> int:
        validate_parameter_constraints(
            {
                "n_splits": [Interval(Integral, 1, None, closed="left")],
                "test_size": [
                    Interval(Real, 0, 1, closed="neither"),
                    Interval(Integral, 1, None, closed="left"),
                ],
                "random_state": ["random_state"],
            },
            {name: getattr(self, name) for name in ("n_splits", "test_size", "random_state")},
            caller_name=type(self).__name__,
        )
        share = not isinstance(self.test_size, Integral)
        n_test = int(np.ceil(self.test_size * n_classes)) if share else int(self.test_size)
        if n_test >= n_classes:
            raise ValueError(
                f"test_size={self.test_size} takes {n_test} of the {n_classes} classes in y and "
                "leaves none for training."
            )
        return n_test
