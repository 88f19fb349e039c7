"""Classification by the nearest prototype."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from sk_fewshot._utils.device import as_tensor
from sk_fewshot.classifiers._base import take_rows
from sk_fewshot.classifiers._encoder import learned_head
from sk_fewshot.classifiers._gallery import OneRowAClass
from sk_fewshot.gallery._growth import is_mapped, updated_rows
from sk_fewshot.gallery._inner_products import InnerProducts
from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.transformers import PrototypicalTransformer


class PrototypicalClassifier(OneRowAClass):
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
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable, \
            default="sqeuclidean"
        The distance d, the paper's by default. A callable takes tensors (n, d) and (m, d) and
        returns (n, m).
    temperature : float or None, default=None
        Divides the distances before the softmax. None: what the encoder learned with this metric,
        otherwise 0.1 for "cosine" and 1 for the others.
    index : {"faiss"} or None, default=None
        "faiss": approximate search by FAISS in `predict`, `predict_top_k` and `kneighbors` where
        1,024 embeddings or more are enrolled. Its index is built at the first query after an
        enrolment, beside the estimator, and is not copied or saved with it. Not for "manhattan" and
        callables. None: exact search.
    reject_below : float or None, default=None
        Open set: `predict` labels queries whose `score_samples` is under it as `unknown_label`.
        None: every query gets a known class. `calibrate_rejection` chooses it.
    unknown_label : int, str or None, default=None
        Label of rejected queries, of the kind of the classes and none of them. None: -1 among
        numbers, "unknown" among strings.
    device : str or torch.device, default="auto"
        Where distances are computed; "auto" takes CUDA where there is one.
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
    sklearn.neighbors.NearestCentroid : The same on raw features, without probabilities by distance.

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

    head_: PrototypicalHead
    class_counts_: NDArray[np.intp]
    _sums: Any  # float64 (n_classes, d), or None while the prototypes are rows of a file

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

    def _make_head(self, embeddings, codes):
        learned = learned_head(self.encoder_)
        if (
            isinstance(learned, PrototypicalHead)
            and learned.metric == self.metric
            and self.temperature is None
        ):
            return learned
        return PrototypicalHead(self.metric, self.temperature)

    def _enrol(self, embeddings, codes, new):
        if new is None and is_mapped(embeddings) and np.array_equal(codes, np.arange(len(codes))):
            self._sums, self.prototypes_, self.class_counts_ = None, embeddings, np.ones_like(codes)
            return
        touched, own = np.unique(codes, return_inverse=True)  # the classes of these rows
        rows, counts = embeddings.astype(np.float64), np.bincount(own)
        if new is None:
            self._sums, self.class_counts_ = _sums_by_class(rows, own), counts
            self.prototypes_ = self._means(embeddings.dtype)
            return
        self._load()
        dtype = np.result_type(self.prototypes_, embeddings)
        if dtype != self.prototypes_.dtype:
            self.prototypes_ = self._means(dtype)
        met = np.isin(touched, new, invert=True)  # which were enrolled before
        place = touched[met] - np.searchsorted(new, touched[met])  # of those, before
        rows = np.concatenate([self._sums[place], rows])
        sums = _sums_by_class(rows, np.concatenate([np.flatnonzero(met), own]))
        counts[met] += self.class_counts_[place]
        values = {
            "_sums": sums,
            "prototypes_": (sums / counts[:, None]).astype(dtype),
            "class_counts_": counts,
        }
        for name, of_touched in values.items():
            before = getattr(self, name)
            setattr(self, name, updated_rows(before, touched, of_touched, met))

    def _forget(self, code):
        self._load()
        for name in ("_sums", "prototypes_", "class_counts_"):
            setattr(self, name, np.delete(getattr(self, name), code, axis=0))

    def _load(self) -> None:
        """Read prototypes that lie in a file, before they change."""
        if self._sums is None:
            self._sums = self.prototypes_.astype(np.float64)
            self.prototypes_ = self._means(self.prototypes_.dtype)

    def _means(self, dtype) -> NDArray:
        return (self._sums / self.class_counts_[:, None]).astype(dtype)

    @property
    def _gallery(self):
        return self.prototypes_

    def _score(self, queries):
        prototypes = as_tensor(self.prototypes_).to(queries.device, queries.dtype)
        return self.head_.score(queries, prototypes)

    def _episode_scorer(self, embeddings):
        if not InnerProducts.rank(self.metric):
            return super()._episode_scorer(embeddings)
        products = InnerProducts(self.metric, embeddings)
        factors = products.queries(embeddings)  # (n_samples, d)
        lengths = factors.norm(dim=1)
        left = factors.new_empty(0)  # keeps its memory from step to step

        def score(support, queries):
            examples = take_rows(embeddings, support)  # (n_episodes, n_way, n_shot, d)
            one = examples.shape[2] == 1
            prototypes = examples[:, :, 0] if one else examples.double().mean(2).to(examples.dtype)
            rows, offsets, row_lengths = products.rows(prototypes)
            torch.index_select(factors, 0, queries.flatten(), out=left.resize_(0))
            scores = torch.baddbmm(offsets.unsqueeze(-1), rows, left.unflatten(0, queries.shape).mT)
            return scores, products.error(lengths[queries], row_lengths.amax(-1, keepdim=True))

        return score


def _sums_by_class(rows: NDArray, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums (n_classes, d) of the rows (n, d) with each code.

    They run over the rows in order, so that enrolling later, with the earlier sum as the first row,
    is bitwise the same as enrolling at once.
    """
    membership = sparse.csr_array((np.ones(len(rows)), (codes, np.arange(len(rows)))))
    return membership @ rows
