"""Episodes: N classes, K labelled support examples of each, and queries to label."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Integral

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_consistent_length

from sk_fewshot._utils.validation import check_labels, check_parameters

__all__ = ["ClassBalancedSampler", "EpisodeSplit"]

_CHUNK = 256  # episodes drawn at once


class ClassBalancedSampler:
    """Draws batches of P classes x K examples, all without replacement.

    The cost of a draw depends on P and K alone, not on the number or the size of the classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels.
    n_way : int
        Classes a batch (P).
    n_per_class : int
        Examples of each class in a batch (K).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.

    Raises
    ------
    ValueError
        If there are fewer than `n_way` classes, or a class has fewer than `n_per_class` examples.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.episodes import ClassBalancedSampler
    >>> y = np.repeat([3, 7, 9], 4)
    >>> sampler = ClassBalancedSampler(y, n_way=2, n_per_class=3)
    >>> sampler.sample(5, np.random.default_rng(0)).shape
    (5, 2, 3)
    """

    def __init__(self, y, n_way: int, n_per_class: int):
        check_parameters(
            self,
            {
                "n_way": [Interval(Integral, 1, None, closed="left")],
                "n_per_class": [Interval(Integral, 1, None, closed="left")],
            },
            n_way=n_way,
            n_per_class=n_per_class,
        )
        self.classes_, codes, self._counts = np.unique(y, return_inverse=True, return_counts=True)
        if n_way > len(self.classes_):
            raise ValueError(
                f"n_way={n_way} must not be greater than the number of classes in y, "
                f"which is {len(self.classes_)}."
            )
        smallest = self._counts.argmin()
        if self._counts[smallest] < n_per_class:
            raise ValueError(
                f"Every class needs at least {n_per_class} examples (support and query together), "
                f"but class {self.classes_.tolist()[smallest]!r} has "
                f"n_samples={self._counts[smallest]}."
            )
        self.n_way, self.n_per_class = n_way, n_per_class
        self._rows = np.argsort(codes, kind="stable")  # (n_samples,) grouped by class
        self._starts = np.cumsum(self._counts) - self._counts

    def sample(self, n_batches: int, rng: np.random.Generator) -> np.ndarray:
        """Draw row indices of shape (n_batches, n_way, n_per_class)."""
        n_classes = np.full((n_batches, 1), len(self.classes_))
        classes = _distinct_integers(n_classes, self.n_way, rng)[:, 0]  # (n_batches, n_way)
        members = _distinct_integers(self._counts[classes], self.n_per_class, rng)
        return self._rows[self._starts[classes][..., None] + members]


class EpisodeSplit(BaseCrossValidator):
    """N-way K-shot episodes as a scikit-learn cross-validation splitter.

    Each split draws `n_way` classes and, of each, `n_shot` support examples (the "training"
    indices) and `n_query` queries (the "test" indices), as in [1]_, section 2.

    Parameters
    ----------
    n_way : int, default=5
        Classes an episode.
    n_shot : int, default=1
        Support examples a class.
    n_query : int, default=15
        Query examples a class.
    n_episodes : int, default=600
        Number of splits. A longer run begins with the episodes of a shorter one.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same episodes at every call.
    min_examples : int or None, default=None
        Classes of fewer examples are left out, with a warning that says how many. None: none is.

    Raises
    ------
    ValueError
        From ``split``, if ``y`` has fewer than `n_way` classes (that are not left out) or one of
        them has fewer than ``n_shot + n_query`` examples.

    Warns
    -----
    UserWarning
        From ``split``, if classes are left out.

    See Also
    --------
    episode_score : The same scores, computed many episodes at a time.

    References
    ----------
    .. [1] Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sk_fewshot import EpisodeSplit, PrototypicalClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> episodes = EpisodeSplit(n_way=5, n_shot=1, n_episodes=100, random_state=0)
    >>> scores = cross_val_score(PrototypicalClassifier(encoder="passthrough"), X, y, cv=episodes)
    >>> scores.shape
    (100,)
    """

    def __init__(
        self,
        n_way=5,
        n_shot=1,
        n_query=15,
        n_episodes=600,
        random_state=None,
        min_examples=None,
    ):
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.random_state = random_state
        self.min_examples = min_examples

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of episodes.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present for scikit-learn's interface.

        Returns
        -------
        int
            `n_episodes`.
        """
        return self.n_episodes

    def split(self, X, y=None, groups=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the support and the query indices of each episode.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Only its length is used.
        y : array-like of shape (n_samples,)
            Class labels.
        groups : object
            Ignored.

        Yields
        ------
        support : ndarray of shape (n_way * n_shot,)
            Row indices, grouped by class.
        query : ndarray of shape (n_way * n_query,)
            Row indices, grouped by class.
        """
        for chunk in self.chunks(X, y):
            support, query = chunk[:, :, : self.n_shot], chunk[:, :, self.n_shot :]
            yield from zip(support.reshape(len(chunk), -1), query.reshape(len(chunk), -1))

    def chunks(self, X, y) -> Iterator[np.ndarray]:
        """Yield the same episodes as :meth:`split`, many at a time.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Only its length is used.
        y : array-like of shape (n_samples,)
            Class labels.

        Yields
        ------
        ndarray of shape (n_chunk, n_way, n_shot + n_query)
            Row indices: of each class first the support examples, then the queries.
        """
        at_least_one = [Interval(Integral, 1, None, closed="left")]
        check_parameters(
            self,
            {
                **dict.fromkeys(("n_way", "n_shot", "n_query", "n_episodes"), at_least_one),
                "min_examples": [*at_least_one, None],
            },
            n_way=self.n_way,
            n_shot=self.n_shot,
            n_query=self.n_query,
            n_episodes=self.n_episodes,
            min_examples=self.min_examples,
        )
        y = check_labels(y)
        check_consistent_length(X, y)
        rows = np.arange(len(y)) if self.min_examples is None else self._of_large_classes(y)
        sampler = ClassBalancedSampler(y[rows], self.n_way, self.n_shot + self.n_query)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        for start in range(0, self.n_episodes, _CHUNK):
            yield rows[sampler.sample(_CHUNK, rng)[: self.n_episodes - start]]

    def _of_large_classes(self, y: np.ndarray) -> np.ndarray:
        """Indices of the examples whose classes have `min_examples` or more."""
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        large = counts >= self.min_examples
        if not large.all():
            warnings.warn(
                f"min_examples={self.min_examples} leaves out {(~large).sum()} of {len(large)} "
                f"classes, with {(~large[codes]).sum()} of {len(y)} examples.",
                stacklevel=2,
            )
        return np.flatnonzero(large[codes])


def _distinct_integers(n: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Draw, for each element of `n`, `k` distinct integers of 0 .. n - 1 in random order.

    Floyd's sampling: the i-th step draws from the first n - k + i + 1 integers and takes the last
    of them where the draw is already in.
    """
    last = n - k + np.arange(k).reshape(k, *[1] * n.ndim)
    chosen = (rng.random(last.shape) * (last + 1)).astype(np.intp)  # (k, ...)
    for i in range(1, k):
        taken = (chosen[:i] == chosen[i]).any(0)
        np.copyto(chosen[i], last[i], where=taken)
    return rng.permuted(np.moveaxis(chosen, 0, -1), axis=-1)
