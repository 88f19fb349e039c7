"""Scores over episodes against the number of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sk_fewshot.evaluation import EpisodeScores, episode_score
from sk_fewshot.plotting._axes import axes_for


class EpisodeScoresDisplay:
    """Mean scores of methods against shots, with 95% confidence intervals.

    It is recommended to use :meth:`from_scores` or :meth:`from_estimator`; the parameters are
    stored as attributes.

    Parameters
    ----------
    scores : dict of str to list of EpisodeScores
        Of each method, in ascending order of `n_shot`.

    Attributes
    ----------
    errorbars_ : dict of str to matplotlib ErrorbarContainer
        Of each method.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    sk_fewshot.episode_score : Computes the scores.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import MatchingClassifier, PrototypicalClassifier, episode_score
    >>> from sk_fewshot.plotting import EpisodeScoresDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = PrototypicalClassifier("passthrough")
    >>> scores = [
    ...     episode_score(clf, X, y, n_way=5, n_shot=k, n_episodes=50, random_state=0)
    ...     for k in (1, 5)
    ... ]
    >>> display = EpisodeScoresDisplay.from_scores({"pixels": scores})
    >>> display.ax_.get_ylabel()
    '5-way score'
    """

    errorbars_: dict[str, Any]
    ax_: Any
    figure_: Any

    def __init__(self, *, scores: dict[str, list[EpisodeScores]]):
        self.scores = scores

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, shots=(1, 5), name=None, ax=None, **params
    ) -> EpisodeScoresDisplay:
        """Score a classifier over episodes of each number of shots, and draw it.

        Parameters
        ----------
        estimator : classifier
            Any scikit-learn classifier; it is cloned.
        X : array-like of shape (n_samples, ...)
            Examples of classes that the encoder was not trained on.
        y : array-like of shape (n_samples,)
            Their classes.
        shots : sequence of int, default=(1, 5)
            Numbers of support examples a class.
        name : str or None, default=None
            In the legend; None: the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure. Those of another display compare two methods.
        **params : dict
            Further arguments of :func:`~sk_fewshot.episode_score`.

        Returns
        -------
        EpisodeScoresDisplay

        Raises
        ------
        ValueError
            As :func:`~sk_fewshot.episode_score`, or if `shots` is empty.
        """
        name = type(estimator).__name__ if name is None else name
        scores = [episode_score(estimator, X, y, n_shot=n_shot, **params) for n_shot in shots]
        return cls.from_scores({name: scores}, ax=ax)

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, EpisodeScores | Sequence[EpisodeScores]],
        *,
        ax=None,
        **kwargs,
    ) -> EpisodeScoresDisplay:
        """Draw scores.

        Parameters
        ----------
        scores : dict of str to EpisodeScores or list of EpisodeScores
            Of each method, by its name; a method need not have all shots.
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.errorbar``.

        Returns
        -------
        EpisodeScoresDisplay

        Raises
        ------
        TypeError
            If there is anything else than EpisodeScores.
        ValueError
            If a method has no scores, or not all are of the same `n_way`.
        """
        curves = {
            name: [some] if isinstance(some, EpisodeScores) else list(some)
            for name, some in scores.items()
        }
        for name, curve in curves.items():
            if not curve:
                raise ValueError(f"scores[{name!r}] must hold one EpisodeScores or more, got none.")
            for score in curve:
                if not isinstance(score, EpisodeScores):
                    raise TypeError(
                        f"scores[{name!r}] must hold EpisodeScores, got {type(score).__name__}."
                    )
        ways = sorted({score.n_way for curve in curves.values() for score in curve})
        if len(ways) != 1:
            raise ValueError(f"scores must all be of the same n_way, got n_way in {ways}.")
        by_shots = {name: sorted(curve, key=lambda s: s.n_shot) for name, curve in curves.items()}
        return cls(scores=by_shots).plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs) -> EpisodeScoresDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: those of a new figure.
        **kwargs : dict
            Arguments of ``matplotlib.axes.Axes.errorbar``.

        Returns
        -------
        EpisodeScoresDisplay
        """
        self.ax_ = axes_for(self, ax)
        self.figure_ = self.ax_.figure
        style = {"marker": "o", "capsize": 3} | kwargs
        self.errorbars_ = {
            name: self.ax_.errorbar(
                [score.n_shot for score in curve],
                [score.mean for score in curve],
                yerr=[score.confidence_interval for score in curve],
                label=name,
                **style,
            )
            for name, curve in self.scores.items()
        }
        n_way = next(iter(self.scores.values()))[0].n_way
        shots = {score.n_shot for curve in self.scores.values() for score in curve}
        self.ax_.set(
            xlabel="support examples a class (shots)",
            ylabel=f"{n_way}-way score",
            xticks=sorted(shots),
        )
        self.ax_.legend()
        return self
