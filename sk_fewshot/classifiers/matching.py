"""Classification by attention to the support examples."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from sk_fewshot._utils.chunks import apply_in_chunks, rows_a_chunk
from sk_fewshot._utils.device import on_device
from sk_fewshot.classifiers import _left_out
from sk_fewshot.classifiers._encoder import learned_head
from sk_fewshot.classifiers._examples import support_codes, support_embeddings, support_ids
from sk_fewshot.classifiers._nearest import NearestClassifier
from sk_fewshot.classifiers._scoring import scoring_device
from sk_fewshot.distances import pairwise_distances
from sk_fewshot.gallery import Examples
from sk_fewshot.heads import MatchingHead
from sk_fewshot.transformers import MatchingTransformer

_CHUNK = 64  # queries at once, at most


class MatchingClassifier(NearestClassifier):
    r"""Label queries by the class whose support examples get most of their attention.

    .. math:: P(y = k \mid x, S) = \sum_{i : y_i = k} a(x, x_i), \qquad
        a(x, x_i) = \mathrm{softmax}_i\left(-d(f(x), g(x_i)) / \tau\right)

    (equation 1 of [1]_). A class with more support examples has more terms, as the formula says.
    `meta_fit` learns to compare, once; `fit` meets new classes through a few examples of each;
    `partial_fit` enrols more.

    Parameters
    ----------
    encoder : transformer, "passthrough" or None, default=None
        - None: :class:`MatchingTransformer` with its defaults.
        - "passthrough": X holds embeddings, or images to compare pixel by pixel.
        - a scikit-learn transformer: cloned and fitted on the support set inside `fit`.
        - ``FrozenEstimator(fitted)``: used as it is.

        Full context embeddings come with a :class:`MatchingTransformer` that learned them.
    metric : str or callable, default="cosine"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m).
    temperature : float or None, default=None
        Divides the distances before the softmax. None: what the encoder learned with this metric,
        otherwise 0.1 for "cosine" and 1 for the others.
    index : {"faiss"}, PostgresGallery or None, default=None
        "faiss": approximate search by FAISS in `kneighbors` where 1,024 embeddings or more are
        enrolled. Its index is built at the first query after an enrolment, beside the estimator,
        and is not copied or saved with it. Not for "manhattan" and callables. A
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
        Seeds an encoder that has no seed of its own.

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
    head_ : MatchingHead
        Scores queries against the support examples.
    n_features_in_ : int
        Number of features of an example.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X was a DataFrame.

    See Also
    --------
    MatchingTransformer : Learns the encoder.
    PrototypicalClassifier : Compares with the mean of each class.

    References
    ----------
    .. [1] Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import MatchingClassifier, MatchingTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> base, novel = y < 5, y >= 5
    >>> clf = MatchingClassifier(MatchingTransformer(max_epochs=1, random_state=0))
    >>> clf = clf.meta_fit(X[base], y[base]).fit(X[novel][:50], y[novel][:50])
    >>> clf.classes_
    array([5, 6, 7, 8, 9])
    >>> clf.score(X[novel][50:], y[novel][50:]) > 0.8
    True
    """

    _default_encoder: ClassVar = MatchingTransformer

    _gallery_kind: ClassVar = Examples
    support_embeddings_ = property(support_embeddings)
    support_codes_ = property(support_codes)
    support_ids_ = property(support_ids)

    head_: MatchingHead

    def __init__(
        self,
        encoder=None,
        *,
        metric="cosine",
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

    def _make_head(self, gallery):
        learned = learned_head(self.encoder_)
        if not isinstance(learned, MatchingHead):
            return MatchingHead(self.metric, self.temperature)
        if learned.metric == self.metric and self.temperature is None:
            return learned
        return MatchingHead(self.metric, self.temperature, learned.context)

    def _best_scores(self, embeddings):
        context = self.head_.context
        if context is None:
            return super()._best_scores(embeddings)
        self._read_gallery()
        device = scoring_device(self)
        support = on_device(self._state[0], device)

        def best(queries: Tensor) -> Tensor:
            in_context = context.of_queries(queries, support)
            return -pairwise_distances(in_context, support, self.head_.metric).amin(1)

        size = rows_a_chunk(_CHUNK, embeddings.shape[1:])
        return apply_in_chunks(best, embeddings, chunk_size=size, device=device)

    def _best_scores_without_class(self, embeddings, codes):
        if self.head_.context is None:
            return super()._best_scores_without_class(embeddings, codes)
        return _left_out.without_class(self, embeddings, codes)

    def _best_scores_without_example(self, embeddings, codes):
        if self.head_.context is None:
            return super()._best_scores_without_example(embeddings, codes)
        return _left_out.without_example(self, embeddings, codes)
