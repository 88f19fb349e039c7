"""Scores over many episodes, computed many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from sklearn.utils._param_validation import HasMethods, Interval, validate_params
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from tqdm.auto import tqdm

from sk_fewshot._utils.device import on_device
from sk_fewshot._utils.examples import check_examples
from sk_fewshot._utils.precision import exact_products
from sk_fewshot._utils.validation import check_labels
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._encoder import encode_examples, learned_head
from sk_fewshot.classifiers._scoring import class_scores, enrolled_state, scoring_device
from sk_fewshot.episodes import EpisodeSplit
from sk_fewshot.gallery._examples import byte_order
from sk_fewshot.gallery._stored import GalleryEngine

__all__ = ["EpisodeScores", "episode_score"]

_POSITIVE = Interval(Integral, 1, None, closed="left")
_NUMBERS_A_STEP = 2**20  # embedding entries gathered at once: 4 MB
_MOST_A_STEP = 256


@dataclass(frozen=True, eq=False, repr=False)
class EpisodeScores:
    """Scores of a classifier over episodes.

    Attributes
    ----------
    scores : ndarray of shape (n_episodes,)
        The score of each episode.
    n_way : int
        Classes an episode.
    n_shot : int
        Support examples a class.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_fewshot.evaluation import EpisodeScores
    >>> EpisodeScores(np.array([0.8, 0.9, 1.0]), n_way=5, n_shot=1)
    0.900 ± 0.248 (3 episodes, 5-way 1-shot)
    """

    scores: NDArray[np.float64]
    n_way: int
    n_shot: int

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(self.scores.mean())

    @property
    def confidence_interval(self) -> float:
        """Half the width of the 95% confidence interval of the mean; NaN for a single episode.

        The 97.5% quantile of Student's t distribution with ``n_episodes - 1`` degrees of freedom,
        times the standard deviation of the scores, over the square root of their number.
        """
        n_episodes = len(self.scores)
        if n_episodes < 2:
            return float("nan")
        quantile = stdtrit(n_episodes - 1, 0.975)
        return float(quantile * self.scores.std(ddof=1) / n_episodes**0.5)

    def __repr__(self) -> str:
        return (
            f"{self.mean:.3f} ± {self.confidence_interval:.3f} "
            f"({len(self.scores)} episodes, {self.n_way}-way {self.n_shot}-shot)"
        )


@validate_params(
    {
        "clf": [HasMethods(["fit", "predict"])],
        "n_way": [_POSITIVE],
        "n_shot": [_POSITIVE],
        "n_query": [_POSITIVE],
        "n_episodes": [_POSITIVE],
        "min_examples": [_POSITIVE, None],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def episode_score(
    clf,
    X,
    y,
    *,
    n_way=5,
    n_shot=1,
    n_query=15,
    n_episodes=600,
    min_examples=None,
    scoring="accuracy",
    n_jobs=None,
    verbose=0,
    random_state=None,
) -> EpisodeScores:
    """Score a classifier over N-way K-shot episodes.

    The scores are those of ``cross_val_score(clf, X, y, cv=EpisodeSplit(...))`` with the same
    arguments, episode by episode. For this package's classifiers with a frozen encoder or
    "passthrough" each example is encoded once, and accuracies of many episodes are computed at a
    time.

    Parameters
    ----------
    clf : classifier
        Any scikit-learn classifier; it is cloned, not changed.
    X : array-like of shape (n_samples, ...)
        Examples, as the classifier takes them.
    y : array-like of shape (n_samples,)
        Their classes.
    n_way : int, default=5
        Classes an episode.
    n_shot : int, default=1
        Support examples a class.
    n_query : int, default=15
        Query examples a class.
    n_episodes : int, default=600
        Number of episodes.
    min_examples : int or None, default=None
        Classes of fewer examples are left out, with a warning that says how many. None: none is.
    scoring : str or callable, default="accuracy"
        As for :func:`sklearn.model_selection.cross_val_score`.
    n_jobs : int or None, default=None
        Processes, for what is scored episode by episode: other scorings, other classifiers and
        encoders that are fitted on the support set.
    verbose : int, default=0
        With 1 a progress bar.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same episodes at every call.

    Returns
    -------
    EpisodeScores
        The `scores` with their `mean` and `confidence_interval`.

    Raises
    ------
    ValueError
        If `y` has fewer than `n_way` classes, or a class has fewer than ``n_shot + n_query``
        examples and is not left out.

    Warns
    -----
    UserWarning
        If `min_examples` leaves out classes.

    See Also
    --------
    EpisodeSplit : The episodes as a scikit-learn splitter.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PrototypicalClassifier, episode_score
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = PrototypicalClassifier(encoder="passthrough")
    >>> episode_score(clf, X, y, n_way=5, n_shot=1, random_state=0)
    0.738 ± 0.008 (600 episodes, 5-way 1-shot)
    """
    y = check_labels(y)
    episodes = EpisodeSplit(n_way, n_shot, n_query, n_episodes, random_state, min_examples)
    clf = clone(clf)
    shared = [name for name, value in clf.get_params().items() if isinstance(value, GalleryEngine)]
    clf.set_params(**dict.fromkeys(shared))  # episodes leave what is enrolled there alone
    encoded = isinstance(clf, BaseFewShotClassifier) and _encodes_alike(clf)
    if encoded:
        clf, X = _encode_once(clf, X)
    with tqdm(total=n_episodes, disable=not verbose, unit="episode") as bar:
        if encoded and scoring == "accuracy" and _scores_decide(clf):
            scores = np.concatenate(list(_accuracies(clf, X, y, episodes, bar)))
        else:
            scores = cross_val_score(
                clf,
                X,
                y,
                scoring=scoring,
                cv=_Counted(episodes, bar),
                n_jobs=n_jobs,
                error_score="raise",
            )
    return EpisodeScores(scores, n_way, n_shot)


class _StoredEmbeddings(TransformerMixin, BaseEstimator):
    """Stands in for a frozen encoder whose embeddings are at hand."""

    def __init__(self, head: nn.Module | None):
        self.head_ = head

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


class _Counted:
    """Episodes that move a progress bar as they are handed out."""

    def __init__(self, episodes: EpisodeSplit, bar: tqdm):
        self._episodes = episodes
        self._bar = bar

    def split(self, X, y=None, groups=None) -> Iterator[tuple[NDArray, NDArray]]:
        for episode in self._episodes.split(X, y):
            yield episode
            self._bar.update()

    def get_n_splits(self, X=None, y=None, groups=None) -> int:
        return self._episodes.get_n_splits()


def _encodes_alike(clf: BaseFewShotClassifier) -> bool:
    """Whether an example has the same embedding in every episode."""
    return isinstance(clf.encoder, FrozenEstimator | str)


def _scores_decide(clf: BaseFewShotClassifier) -> bool:
    """Whether the scores of the fitted head alone decide what `predict` returns."""
    return clf.reject_below is None and not clf._learns_head(clf.encoder)


def _encode_once(clf: BaseFewShotClassifier, X) -> tuple[BaseFewShotClassifier, NDArray]:
    """Return the same classifier over embeddings, and the embeddings (n_samples, d) of X."""
    if isinstance(clf.encoder, str):
        return clf, check_examples(clf, X, image_shape=None, reset=True)[0]
    check_is_fitted(clf.encoder)
    stand_in = FrozenEstimator(_StoredEmbeddings(learned_head(clf.encoder)))
    return clone(clf).set_params(encoder=stand_in), encode_examples(clf.encoder, X)


def _accuracies(
    clf: BaseFewShotClassifier,
    embeddings: NDArray,
    y: NDArray,
    episodes: EpisodeSplit,
    bar: tqdm,
) -> Iterator[NDArray[np.float64]]:
    """Accuracies of the episodes, some at a time.

    A query whose class leads or trails by less than rounding is scored alone, as cross-validation
    does.
    """
    codes = np.unique(y, return_inverse=True)[1]
    ranks = byte_order(embeddings + 0.0).argsort()  # as classifiers keep support sets
    n_way, n_shot = episodes.n_way, episodes.n_shot
    n_numbers = n_way * (n_shot + episodes.n_query) * embeddings.shape[1]  # an episode
    a_step = min(max(1, _NUMBERS_A_STEP // n_numbers), _MOST_A_STEP)
    labels, own = (np.repeat(np.arange(n_way), n) for n in (n_shot, episodes.n_query))
    score = None
    for chunk in episodes.chunks(embeddings, y):
        order = codes[chunk[:, :, 0]].argsort(axis=1)
        chunk = np.take_along_axis(chunk, order[:, :, None], axis=1)  # classes as in `classes_`
        order = ranks[chunk[:, :, :n_shot]].argsort(axis=2)
        chunk[:, :, :n_shot] = np.take_along_axis(chunk[:, :, :n_shot], order, axis=2)
        if score is None:
            support = chunk[0, :, :n_shot].ravel()
            clf.fit(embeddings[support], y[support])
            device = scoring_device(clf)
            head, kind = clf.head_.to(device), type(clf.gallery_)
            with exact_products(device):
                score = head.episode_scores(on_device(embeddings, device))
        for start in range(0, len(chunk), a_step):
            episode_rows = chunk[start : start + a_step]
            rows = on_device(episode_rows, device)
            with torch.inference_mode(), exact_products(device):
                scores, error = score(rows[:, :, :n_shot], rows[:, :, n_shot:].flatten(1))
                leads, near_ties = _leads(scores, error)
            right, unsure = (leads > 0).cpu().numpy(), near_ties.cpu().numpy()
            for i in np.flatnonzero(unsure.any(axis=1)):
                support, queries = np.split(episode_rows[i], [n_shot], axis=1)
                gallery = kind.of(embeddings[support.ravel()], labels)
                of_unsure = class_scores(
                    head,
                    enrolled_state(head, gallery, device),
                    embeddings[queries.ravel()[unsure[i]]],
                    device=device,
                )
                right[i, unsure[i]] = of_unsure.argmax(axis=1) == own[unsure[i]]
            bar.update(len(rows))
            yield right.mean(axis=1)


def _leads(scores: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """How much the score of a query's own class leads the best other one, and near ties.

    Both of shape (n_episodes, n_queries), for scores (n_episodes, n_way, n_queries) with an
    error (n_episodes, n_queries); `scores` is overwritten.
    """
    n_way = scores.shape[1]
    scores = scores.unflatten(2, (n_way, -1))  # (n_episodes, n_way, n_way, n_query)
    own = scores.diagonal(dim1=1, dim2=2)
    own_scores = own.clone()
    own.fill_(-torch.inf)
    leads = (own_scores.mT - scores.amax(1)).flatten(1)
    return leads, ~(leads.abs() > 2 * error)
