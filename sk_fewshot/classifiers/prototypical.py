"""Classification by the nearest prototype."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sk_fewshot._utils.device import on_device
from sk_fewshot._utils.state import of_one_moment
from sk_fewshot.classifiers import _left_out
from sk_fewshot.classifiers._encoder import learned_head
from sk_fewshot.classifiers._nearest import NearestClassifier
from sk_fewshot.classifiers._scoring import scoring_device
from sk_fewshot.gallery import ClassMeans
from sk_fewshot.gallery._search import log_sum_exp
from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.transformers import PrototypicalTransformer


class PrototypicalClassifier(NearestClassifier):
    r"""Label queries by the nearest prototype, the mean embedding of a class's support examples.

    .. math:: p(k \mid x) = \mathrm{softmax}_k\left(-d(f(x), c_k) / \tau\right), \qquad
        c_k = \frac{1}{|S_k|} \sum_{x_i \in S_k} f(x_i)

    (equations 1 and 2 of [1]_). `meta_fit` learns to compare, once; `fit` meets new classes through
    a few examples of each; `partial_fit` enrols more.

    Parameters
    ----------
    encoder : transformer, "passthrough" or None, default=None
        - None: :class:`PrototypicalTransformer` with its defaults.
        - "passthrough": X holds embeddings, or images to compare pixel by pixel.
        - a scikit-learn transformer: cloned and fitted on the support set inside `fit`.
        - ``FrozenEstimator(fitted)``: used as it is.
    metric : str or callable, default="sqeuclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m).
    temperature : float or None, default=None
        Divides the distances before the softmax. None: what the encoder learned with this metric,
        otherwise 0.1 for "cosine" and 1 for the others.
    index : {"faiss"}, PostgresGallery or None, default=None
        "faiss": approximate search by FAISS in `predict`, `predict_top_k` and `kneighbors` where
        1,024 embeddings or more are enrolled. Its index is built at the first query after an
        enrolment, beside the estimator, and is not copied or saved with it. Not for "manhattan" and
        callables. A :class:`~sk_fewshot.PostgresGallery` keeps what is enrolled in a database that
        many processes share. None: exact search in memory.
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
    prototypes_ : ndarray of shape (n_classes, embedding_dim)
        Mean support embedding of each class.
    class_counts_ : ndarray of shape (n_classes,)
        Support examples of each class.
    encoder_ : transformer or "passthrough"
        The fitted encoder.
    head_ : PrototypicalHead
        Scores queries against the prototypes.
    n_features_in_ : int
        Number of features of an example.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X was a DataFrame.

    See Also
    --------
    PrototypicalTransformer : Learns the encoder.
    sklearn.neighbors.NearestCentroid : The same on raw features, without probabilities by distance;
        with metric="manhattan" by medians, not means.

    References
    ----------
    .. [1] Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> base, novel = y < 5, y >= 5
    >>> encoder = PrototypicalTransformer(max_epochs=1, random_state=0).fit(X[base], y[base])
    >>> clf = PrototypicalClassifier(encoder=FrozenEstimator(encoder))
    >>> clf = clf.fit(X[novel][:50], y[novel][:50])
    >>> clf.classes_
    array([5, 6, 7, 8, 9])
    >>> clf.score(X[novel][50:], y[novel][50:]) > 0.8
    True
    """

    _default_encoder: ClassVar = PrototypicalTransformer

    _gallery_kind: ClassVar = ClassMeans

    head_: PrototypicalHead

    def __init__(
        self,
        encoder=None,
        *,
        metric="sqeuclidean",
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

    @property
    def prototypes_(self) -> NDArray:
        """Mean support embedding of each class, (n_classes, d)."""
        return self.gallery_.in_memory().rows

    @property
    def class_counts_(self) -> NDArray[np.intp]:
        """Support examples of each class, (n_classes,)."""
        return self.gallery_.in_memory().counts

    def _make_head(self, gallery):
        learned = learned_head(self.encoder_)
        if (
            isinstance(learned, PrototypicalHead)
            and learned.metric == self.metric
            and self.temperature is None
        ):
            return learned
        return PrototypicalHead(self.metric, self.temperature)

    _best_scores_without_example = _left_out.without_example_of_means

    @of_one_moment
    def predict_top_k(self, X, k=5):
        """Return the most probable classes and their probabilities.

        The k largest of each row of `predict_proba`, in memory that does not grow with n_queries
        times n_classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), (n_queries, H, W) or (n_queries, C, H, W)
        k : int, default=5
            At most the number of classes.

        Returns
        -------
        labels : ndarray of shape (n_queries, k)
            The most probable first.
        probabilities : ndarray of shape (n_queries, k)
            Among all classes.

        Raises
        ------
        TypeError, ValueError
            As `kneighbors`.
        """
        check_is_fitted(self)
        embeddings = self._embed(X, reset=False)
        self._read_gallery()
        found = self._neighbors(embeddings, k)
        device = scoring_device(self)
        tensors = on_device(embeddings, device).double(), on_device(self.prototypes_, device)
        with torch.inference_mode():
            log_total = log_sum_exp(*tensors, self.head_.similarity).cpu().numpy()
        temperature = float(self.head_.log_temperature.detach().exp())
        logarithms = np.minimum(-found.distances / temperature - log_total[:, None], 0)
        return found.labels, np.exp(logarithms).astype(embeddings.dtype)
