"""Verification: are two examples of the same class?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sk_fewshot._utils.chunks import apply_in_chunks, rows_a_chunk
from sk_fewshot._utils.device import resolve_device, torch_dtype, wide_device
from sk_fewshot._utils.doc_link import LinksToDocs
from sk_fewshot._utils.examples import check_rows
from sk_fewshot._utils.rows import Rows, float_type, reshaped
from sk_fewshot._utils.state import all_or_nothing
from sk_fewshot._utils.switches import restoring
from sk_fewshot.classifiers._encoder import (
    check_comparable,
    encode_examples,
    fitted_encoder,
    last_step,
    meta_fit,
)
from sk_fewshot.classifiers._pair_calibration import choose_threshold, fit_probability
from sk_fewshot.classifiers._pair_encoder import (
    check_pairs,
    embedded_pairs,
    examples_of,
    fit_on_pairs,
    hold_out,
    learns_from_pairs,
    resumable,
    select,
)
from sk_fewshot.distances import METRICS, Metric, pairwise_distances
from sk_fewshot.transformers import SiameseTransformer

_CHUNK = 64  # pairs compared at once, at most


class PairClassifier(LinksToDocs, ClassifierMixin, BaseEstimator):
    r"""Decide whether two examples are of the same class, with a calibrated probability.

    Both examples of a pair are embedded by one encoder. From their distance d,

    .. math:: p(\text{same}) = \mathrm{sigmoid}(\text{intercept} - \text{slope} \cdot d),

    Platt's scaling with his targets [1]_ and a slope of 0 or more, and two examples count as the
    same where d is below a threshold. `fit` learns slope, intercept and threshold from pairs, and
    also the encoder unless that is frozen. `meta_fit` learns the encoder from labelled examples,
    which says more about them than pairs do.

    The probability holds for the share of same pairs met in `fit`; see
    :func:`~sk_fewshot.metrics.make_pairs` for a balanced sample of pairs. Pairs of people, say, on
    whom the encoder was trained are told apart more easily than others: for honest probabilities
    freeze an encoder trained on some people and `fit` on pairs of others.

    Parameters
    ----------
    encoder : transformer, "passthrough" or None, default=None
        - None: :class:`SiameseTransformer` with its defaults.
        - "passthrough": X holds embeddings, or images to compare pixel by pixel.
        - a :class:`SiameseTransformer`, or a Pipeline that ends in one: a clone is trained on the
          pairs inside `fit`, its two classes being different and same pairs (`samples_per_class` of
          each a batch).
        - another scikit-learn transformer that learns without labels: cloned and fitted on the
          examples inside `fit`.
        - ``FrozenEstimator(fitted)``: used as it is; `fit` computes no gradient.
    metric : str, callable or None, default=None
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m). None: the metric of the loss that trained the
        encoder, if it has one, otherwise "euclidean"; for a :class:`SiameseTransformer` with
        loss="bce", minus the logit of its p(same).
    false_accept_rate : float in [0, 1] or None, default=None
        Chooses the threshold. None: most of the pairs of `fit` are told right. A number: one more
        different pair, drawn as the n different ones of `fit` were, is taken for the same with at
        most this probability, and of the same pairs as many as that allows. It takes
        ``1 / false_accept_rate - 1`` different pairs to tell; from fewer, none of these is taken
        for the same, and a warning says what that promises. Pairs that share an example or a person
        tell less than as many pairs of others.
    calibration_pairs : float in (0, 1) or None, default=0.2
        Share of the pairs of either kind that a :class:`SiameseTransformer` trained inside `fit`
        does not see; slope, intercept and threshold come from these. None: it is trained on all
        pairs, and they come from the same ones, too optimistic. Encoders that see no labels inside
        `fit` leave all pairs for both.
    device : str or torch.device, default="auto"
        Where embeddings are compared; "auto" takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds an encoder that has no seed of its own. Also draws the calibration pairs. Where the
        encoder has a `checkpoint`, only an int counts, and without one the seed comes from the
        pairs: an interrupted `fit` is resumed by the next one on the same pairs.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        0 (different) and 1 (same), or False and True, as in y.
    threshold_ : float
        Pairs at a smaller distance count as the same. In units of the distance.
    slope_ : float
        Fall of the log-odds of "same" by unit of distance; 0 where same pairs of `fit` are not the
        nearer ones.
    intercept_ : float
        Log-odds of "same" at distance 0.
    encoder_ : transformer or "passthrough"
        The fitted encoder.
    n_features_in_ : int
        Number of features of an example.

    See Also
    --------
    SiameseTransformer : Learns the encoder.
    sk_fewshot.metrics.make_pairs : Makes pairs from labelled examples.
    sk_fewshot.metrics.equal_error_rate : Scores `decision_function`.
    sklearn.metrics.DetCurveDisplay : Draws both error rates over all thresholds.

    References
    ----------
    .. [1] Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized
       Likelihood Methods", Advances in Large Margin Classifiers, 1999.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PairClassifier
    >>> from sk_fewshot.metrics import equal_error_rate, make_pairs
    >>> X, y = load_digits(return_X_y=True)
    >>> X_pairs, y_pairs = make_pairs(X, y, n_pairs=1000, random_state=0)
    >>> clf = PairClassifier(encoder="passthrough").fit(X_pairs[:500], y_pairs[:500])
    >>> clf.predict(X_pairs[500:505])
    array([1, 0, 1, 0, 0])
    >>> equal_error_rate(y_pairs[500:], clf.decision_function(X_pairs[500:])) < 0.25
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "encoder": [None, StrOptions({"passthrough"}), HasMethods(["fit", "transform"])],
        "metric": [StrOptions(set(METRICS)), callable, None],
        "false_accept_rate": [Interval(Real, 0, 1, closed="both"), None],
        "calibration_pairs": [Interval(Real, 0, 1, closed="neither"), None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }
    _default_encoder: ClassVar = SiameseTransformer

    image_shape_: tuple[int, int, int] | None
    n_features_in_: int

    meta_fit = meta_fit

    def __init__(
        self,
        encoder=None,
        *,
        metric=None,
        false_accept_rate=None,
        calibration_pairs=0.2,
        device="auto",
        random_state=None,
    ):
        self.encoder = encoder
        self.metric = metric
        self.false_accept_rate = false_accept_rate
        self.calibration_pairs = calibration_pairs
        self.device = device
        self.random_state = random_state

    @restoring
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y) -> Self:
        """Learn from pairs what distance means the same class, and how probably.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), (n_pairs, 2, H, W) or \
                (n_pairs, 2, C, H, W)
            Pairs of examples; of text, (n_pairs, 2), for an encoder that takes text. Of
            :class:`~sk_fewshot.datasets.ExamplePairs` each example is embedded once, here and in
            all other methods.
        y : array-like of shape (n_pairs,)
            1 or True where both are of the same class, 0 or False where not.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X does not hold pairs, or y other labels, or only one of them.

        Warns
        -----
        UserWarning
            If there are too few different pairs for `false_accept_rate`.
        """
        resolve_device(self.device)
        with all_or_nothing(self) as fitted:
            pairs, y = check_pairs(X, self.encoder), validate_data(fitted, y=y, reset=False)
            check_consistent_length(pairs, y)
            fitted.classes_ = np.unique(y)
            if set(fitted.classes_.tolist()) != {0, 1}:
                raise ValueError(
                    "y must hold two classes, 0 (different) and 1 (same), got the labels "
                    f"{fitted.classes_}."
                )
            same = y == 1
            fitted.encoder_, unseen = fitted._fit_encoder(pairs, same)
            if unseen is not None:
                pairs, same = select(pairs, unseen), same[unseen]
            distances = fitted._distances(pairs, reset=True)
            fitted.slope_, fitted.intercept_ = fit_probability(distances, same)
            fitted.threshold_ = choose_threshold(distances, same, self.false_accept_rate)
        return self

    def decision_function(self, X) -> NDArray:
        """Threshold minus distance.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), (n_pairs, 2, H, W) or \
                (n_pairs, 2, C, H, W)

        Returns
        -------
        ndarray of shape (n_pairs,)
            Above 0 for pairs taken for the same.
        """
        check_is_fitted(self)
        return self.threshold_ - self._distances(X, reset=False)

    def predict(self, X) -> NDArray:
        """Tell whether pairs are the same.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), (n_pairs, 2, H, W) or \
                (n_pairs, 2, C, H, W)

        Returns
        -------
        ndarray of shape (n_pairs,)
            1 (or True) for pairs nearer than `threshold_`. That need not be where p(same) is above
            one half.
        """
        same = self.decision_function(X) > 0
        return self.classes_[same.astype(int)]

    def predict_proba(self, X) -> NDArray:
        """Probabilities of different and same.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features), (n_pairs, 2, H, W) or \
                (n_pairs, 2, C, H, W)

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        log_odds = self.intercept_ - self.slope_ * self._distances(X, reset=False)
        return expit(np.stack([-log_odds, log_odds], axis=1))

    def _fit_encoder(
        self, pairs: NDArray | Rows, same: NDArray[np.bool_]
    ) -> tuple[BaseEstimator | str, NDArray[np.intp] | None]:
        """Return the fitted encoder and which pairs to calibrate on, None for all."""
        unseen: NDArray[np.intp] | None = None
        random_state = resumable(self.random_state, self.encoder, pairs, same)

        def fit(encoder: BaseEstimator) -> BaseEstimator:
            nonlocal unseen
            if self.calibration_pairs is None or not learns_from_pairs(encoder):
                return fit_on_pairs(encoder, pairs, same)
            rng = check_random_state(random_state)
            held_out = hold_out(same, self.calibration_pairs, rng)
            seen, unseen = np.flatnonzero(~held_out), np.flatnonzero(held_out)
            return fit_on_pairs(encoder, select(pairs, seen), same[seen])

        encoder = fitted_encoder(self, fit, random_state)
        if isinstance(encoder, FrozenEstimator):
            check_is_fitted(encoder)
        return encoder, unseen

    @restoring
    def _distances(self, X, *, reset: bool) -> NDArray[np.float64]:
        pairs = check_pairs(X, self.encoder_)
        if isinstance(self.encoder_, str):
            image_shape = None if reset else self.image_shape_
            embeddings, self.image_shape_ = check_rows(
                self, examples_of(pairs), image_shape=image_shape, reset=reset
            )
            embedded = reshaped(pairs, (2, self.n_features_in_))
        else:
            embeddings = encode_examples(self.encoder_, examples_of(pairs))
            embedded = embedded_pairs(pairs, embeddings)
        if reset and hasattr(self.encoder_, "n_features_in_"):
            self.n_features_in_ = self.encoder_.n_features_in_
        check_comparable(embeddings)
        device = wide_device(resolve_device(self.device))
        compare = _comparison(self.encoder_, self.metric, device)

        def distances(chunk: Tensor) -> Tensor:
            first, second = chunk.unsqueeze(2).unbind(1)  # (n, 1, d)
            return compare(first, second).flatten()

        return apply_in_chunks(
            distances,
            embedded,
            chunk_size=rows_a_chunk(_CHUNK, embedded.shape[1:]),
            device=device,
            dtype=torch_dtype(float_type(embedded.dtype)),
        ).astype(float)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def _comparison(
    encoder: BaseEstimator | str, metric: Metric | None, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Distance (n, 1, 1) of embeddings (n, 1, d) and (n, 1, d)."""
    if metric is None:
        loss: Any = getattr(last_step(encoder), "loss_", None)
        if hasattr(loss, "pair_distance"):
            return loss.to(device).pair_distance
        metric = getattr(loss, "metric", "euclidean")
    return partial(pairwise_distances, metric=metric)
