"""Siamese one-shot classification."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.classifiers._encoder import learned_head
from sk_fewshot.classifiers._examples import (
    check_two_examples_per_class,
    support_codes,
    support_embeddings,
    support_ids,
)
from sk_fewshot.classifiers._nearest import NearestClassifier
from sk_fewshot.gallery import Examples
from sk_fewshot.gallery._approximate import check_index
from sk_fewshot.heads import SiameseHead
from sk_fewshot.transformers import SiameseTransformer


class SiameseClassifier(NearestClassifier):
    r"""Label queries by the support example that is most probably the same.

    .. math:: y = y_{i^*}, \qquad i^* = \arg\max_i p(\mathrm{same} \mid x, x_i)

    (section 4.3 of [1]_). With several examples of a class, the closest speaks for it, so that
    their number does not matter. `meta_fit` learns to tell pairs, once; `fit` meets new classes
    through a few examples of each; `partial_fit` enrols more.

    p(same) is what the encoder learned with loss="bce", or :math:`\exp(-d / \tau)` for a distance
    d. Probabilities of classes are the largest p(same) of each, divided by their sum;
    `decision_function` gives the logarithm of p(same).

    Parameters
    ----------
    encoder : transformer, "passthrough" or None, default=None
        - None: :class:`SiameseTransformer` with its defaults.
        - "passthrough": X holds embeddings, or images to compare pixel by pixel.
        - a scikit-learn transformer: cloned and fitted on the support set inside `fit`.
        - ``FrozenEstimator(fitted)``: used as it is.
    metric : str, callable or None, default=None
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m). None: what the encoder, a
        :class:`SiameseTransformer`, learned to compare by. Over any other encoder, None lets `fit`
        learn from pairs of support examples how much each coordinate counts, which takes two
        examples of each class or more; `partial_fit` then keeps that.
    temperature : float or None, default=None
        Divides the distances before the softmax. None: what the encoder learned with this metric,
        otherwise 0.1 for "cosine" and 1 for the others. Where p(same) is learned, it divides its
        logits.
    index : {"faiss"}, PostgresGallery or None, default=None
        "faiss": approximate search by FAISS in `predict` and `kneighbors` where 1,024 embeddings or
        more are enrolled. Its index is built at the first query after an enrolment, beside the
        estimator, and is not copied or saved with it. Not for "manhattan" and callables. A
        :class:`~sk_fewshot.PostgresGallery` keeps what is enrolled in a database that many
        processes share. None: exact search in memory.
    reject_below : float or None, default=None
        Open set: `predict` labels queries whose `score_samples` is under it as `unknown_label`.
        None: every query gets a known class. `calibrate_rejection` chooses it.
    unknown_label : int, str or None, default=None
        Label of rejected queries, of the kind of the classes and none of them. None: -1 among
        numbers, "unknown" among strings; where that is a class, the number below the smallest
        class, or "unknown" with underscores.
    device : str or torch.device, default="auto"
        Where embeddings are compared; "auto" takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds an encoder that has no seed of its own. Also seeds a comparator learned in `fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes enrolled, sorted.
    support_embeddings_ : ndarray of shape (n_support, embedding_dim)
        All support examples, embedded, sorted by class.
    support_codes_ : ndarray of int of shape (n_support,)
        Their classes, as indices into `classes_`.
    support_ids_ : ndarray of shape (n_support,)
        Their keys, as `kneighbors` returns them.
    encoder_ : transformer or "passthrough"
        The fitted encoder.
    head_ : SiameseHead
        Scores queries against the support examples.
    n_features_in_ : int
        Number of features of an example.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X was a DataFrame.

    See Also
    --------
    SiameseTransformer : Learns the encoder.
    PairClassifier : Decides whether two examples are of one class.
    sklearn.neighbors.KNeighborsClassifier : With one neighbour, the same labels by a distance.

    References
    ----------
    .. [1] Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition",
       ICML Deep Learning Workshop 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import SiameseClassifier, SiameseTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> base, novel = y < 5, y >= 5
    >>> clf = SiameseClassifier(SiameseTransformer(max_epochs=1, random_state=0))
    >>> clf = clf.meta_fit(X[base], y[base]).fit(X[novel][:50], y[novel][:50])
    >>> clf.classes_
    array([5, 6, 7, 8, 9])
    >>> clf.score(X[novel][50:], y[novel][50:]) > 0.8
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **NearestClassifier._parameter_constraints,
        "metric": [*NearestClassifier._parameter_constraints["metric"], None],
    }
    _default_encoder: ClassVar = SiameseTransformer

    _gallery_kind: ClassVar = Examples
    support_embeddings_ = property(support_embeddings)
    support_codes_ = property(support_codes)
    support_ids_ = property(support_ids)

    head_: SiameseHead

    def __init__(
        self,
        encoder=None,
        *,
        metric=None,
        temperature=None,
        index=None,
        reject_below=None,
        unknown_label=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            encoder,
            metric=metric,
            temperature=temperature,
            index=index,
            reject_below=reject_below,
            unknown_label=unknown_label,
            device=device,
            random_state=random_state,
        )

    def _learns_head(self, encoder):
        return self.metric is None and not isinstance(learned_head(encoder), SiameseHead)

    def _make_head(self, gallery):
        if self.metric is not None:
            return SiameseHead(self.metric, self.temperature)
        if self._learns_head(self.encoder_):
            if self.index == "faiss":  # before it trains
                check_index(None)
            learned: Any = self._learn_head(gallery)
        else:
            learned = learned_head(self.encoder_)
        if self.temperature is None:
            return learned
        return SiameseHead(learned.metric, self.temperature, learned.comparator)

    def _learn_head(self, gallery: Examples) -> SiameseHead:
        """Logistic regression on the absolute differences of standardised coordinates."""
        check_two_examples_per_class(gallery, "SiameseClassifier", "SiameseTransformer")
        spread = gallery.rows.std(axis=0)
        spread[spread == 0] = 1
        learner = SiameseTransformer(
            loss="bce",
            module=nn.Identity(),
            lr=0.03,
            max_epochs=10,
            batches_per_epoch=10,  # longer, the weights fit a handful of pairs too closely
            device=self.device,
            random_state=self.random_state,
        )
        head = learner.fit(gallery.rows / spread, gallery.codes).head_
        with torch.no_grad():
            head.comparator.weight /= as_tensor(spread).to(head.comparator.weight)
        return head
