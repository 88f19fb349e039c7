"""Classification by a learned comparator."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from sk_fewshot.classifiers import _left_out
from sk_fewshot.classifiers._base import BaseFewShotClassifier
from sk_fewshot.classifiers._encoder import learned_head
from sk_fewshot.classifiers._examples import (
    check_two_examples_per_class,
    support_codes,
    support_embeddings,
    support_ids,
)
from sk_fewshot.gallery import Examples
from sk_fewshot.heads import RelationHead
from sk_fewshot.transformers import RelationTransformer


class RelationClassifier(BaseFewShotClassifier):
    r"""Label queries by a learned comparator of their embedding with that of each class.

    The relation score :math:`r_k = g(f(x), c_k)` of equation 1 of [1]_ says how well a query goes
    with class k. `meta_fit` learns the encoder f and the comparator g, once; `fit` meets new
    classes through a few examples of each; `partial_fit` enrols more. The comparator is the metric:
    there is no other to choose.

    Probabilities are :math:`r_k / \sum_j r_j` for an encoder trained with loss="mse", and the
    softmax of g for "softmax". `decision_function` gives their logarithms up to a constant a row.

    Parameters
    ----------
    encoder : transformer, "passthrough" or None, default=None
        - None: :class:`RelationTransformer` with its defaults.
        - "passthrough": X holds embeddings, or images to compare pixel by pixel.
        - a scikit-learn transformer: cloned and fitted on the support set inside `fit`.
        - ``FrozenEstimator(fitted)``: used as it is.

        The comparator is the one that a :class:`RelationTransformer` learned beside its embedding.
        Over any other encoder, `fit` learns one from the support set by episodes on the embeddings,
        which takes two examples of each class or more; `partial_fit` then keeps that comparator.
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
    head_ : RelationHead
        Scores queries against the classes.
    n_features_in_ : int
        Number of features of an example.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X was a DataFrame.

    See Also
    --------
    RelationTransformer : Learns the encoder and the comparator.

    References
    ----------
    .. [1] Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import RelationClassifier, RelationTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> base, novel = y < 5, y >= 5
    >>> clf = RelationClassifier(RelationTransformer(max_epochs=1, random_state=0))
    >>> clf = clf.meta_fit(X[base], y[base]).fit(X[novel][:50], y[novel][:50])
    >>> clf.classes_
    array([5, 6, 7, 8, 9])
    >>> clf.score(X[novel][50:], y[novel][50:]) > 0.5
    True
    """

    _default_encoder: ClassVar = RelationTransformer

    _gallery_kind: ClassVar = Examples
    support_embeddings_ = property(support_embeddings)
    support_codes_ = property(support_codes)
    support_ids_ = property(support_ids)

    head_: RelationHead

    def __init__(
        self,
        encoder=None,
        *,
        reject_below=None,
        unknown_label=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            encoder,
            reject_below=reject_below,
            unknown_label=unknown_label,
            device=device,
            random_state=random_state,
        )

    _best_scores_without_class = _left_out.without_class_by_scores

    def _learns_head(self, encoder):
        return not isinstance(learned_head(encoder), RelationHead)

    def _make_head(self, gallery):
        if not self._learns_head(self.encoder_):
            return learned_head(self.encoder_)
        check_two_examples_per_class(gallery, "RelationClassifier", "RelationTransformer")
        learner = RelationTransformer(
            module=nn.Identity(),
            lr=1e-2,
            max_epochs=10,
            batches_per_epoch=10,
            device=self.device,
            random_state=self.random_state,
        )
        return learner.fit(gallery.rows, gallery.codes).head_
