"""The encoder of siamese networks."""

from __future__ import annotations

from math import prod, sqrt
from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from sk_fewshot._utils.examples import check_channels, check_rows
from sk_fewshot._utils.pairs import as_pairs, check_same
from sk_fewshot._utils.rows import members
from sk_fewshot._utils.state import all_or_nothing
from sk_fewshot._utils.switches import restoring
from sk_fewshot.distances import METRICS
from sk_fewshot.heads import SiameseHead
from sk_fewshot.losses import ContrastiveLoss, PairBCELoss
from sk_fewshot.transformers._batch import BatchTransformer, given, refuse
from sk_fewshot.transformers._siamese_pairs import GivenPairsLoss, PairRows


class SiameseTransformer(BatchTransformer):
    r"""Embed examples so that pairs of one class are near and others far.

    Both examples of a pair pass through the same encoder, hence the name [1]_; all pairs of a batch
    are used. With the distance d between two embeddings, loss="contrastive" (equations 1 to 4 of
    [2]_) lowers

    .. math:: d^2 / 2 \text{ for the same class}, \qquad
        \max(0, m - d)^2 / 2 \text{ for different ones};

    loss="bce" is logistic regression of "the same class" on the two embeddings [3]_, with

    .. math:: p(\text{same}) = \mathrm{sigmoid}\Bigl(b + \sum_j a_j |z_{1j} - z_{2j}|\Bigr)

    for metric="manhattan" and the sigmoid of a scaled similarity for the others; a and b are
    learned. Pairs of the same class and others weigh half each.

    Parameters
    ----------
    loss : {"contrastive", "bce"}, default="contrastive"
        See above.
    metric : str, callable or None, default=None
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m). None: "cosine" for "contrastive", which needs
        no margin in the scale of the embeddings (the paper's is "euclidean"), and "manhattan" for
        "bce", the paper's. With "cosine", embeddings come from `transform` with length 1.
    margin : float or None, default=None
        m, in units of the distance: pairs of different classes that are farther apart do not count.
        None: 0.5 for "cosine", an angle of 60 degrees; for "euclidean" the square root of twice the
        embedding's length, the distance between two random embeddings of variance 1; 1 for the
        others. The paper leaves it open. Belongs to "contrastive" and must be None with "bce".
    classes_per_batch : int or None, default=None
        Classes per batch. None: as many as make a batch of about 72 examples.
    samples_per_class : int or None, default=None
        Examples of each class in a batch, two or more. None: 4, more where there are few classes,
        fewer where the smallest class has fewer.
    module : nn.Module, callable or None, default=None
        The encoder: a module, or a class or function that makes one. None:
        :class:`~sk_fewshot.encoders.Conv4` for images, :class:`~sk_fewshot.encoders.MLP` for flat
        features. Arguments that it names among `image_shape`, `n_features` and `embedding_dim` are
        filled in.
    module_params : dict or None, default=None
        Further arguments of the module's class.
    embedding_dim : int or None, default=None
        Length of an embedding. None: the module's own.
    image_shape : tuple of (C, H, W) or None, default=None
        Shape of an image where X is flat; one of the three may be -1, whatever fits. None: taken
        from X if it holds images.
    frozen : sequence of str or None, default=None
        Patterns, as :mod:`fnmatch` takes them, of the names of parts and parameters of the module,
        such as ``["layer1", "layer2.*"]``. They get no gradient and stay in eval mode, with
        BatchNorm and dropout: what they compute is bitwise the same before and after `fit`.
    augment : callable or None, default=None
        Changes a training batch, a float32 tensor (n, C, H, W) or (n, n_features), into another of
        the same shape; see :mod:`sk_fewshot.augmentation`.
    optimizer : {"adam", "adamw", "sgd"} or torch optimizer class, default="adam"
        Trains the encoder and what the loss or the head learns.
    lr : float, default=1e-3
        Initial learning rate. It falls to 0 along half a cosine.
    max_epochs : int, default=20
        Number of epochs.
    batches_per_epoch : int, default=100
        Batches per epoch.
    validation_classes : float or None, default=None
        Share of the classes held out to choose the best epoch and to stop early. Not for
        `fit_pairs`.
    net_params : dict or None, default=None
        Further arguments of :class:`skorch.NeuralNet`, such as `callbacks` or
        `optimizer__weight_decay`.
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one; "accelerate" trains in all processes that Hugging Face
        Accelerate has started.
    checkpoint : path-like or None, default=None
        A file for the state of the training, written after each epoch. Where the same training
        (parameters, data) was interrupted, `fit` goes on from it, to bitwise the same weights. It
        returns immediately if that training had finished, and raises if the file belongs to a
        different training, such as the next candidate of a grid search.
    verbose : int, default=0
        1 shows a progress bar.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same embedding at every call.

    Attributes
    ----------
    module_ : nn.Module
        The trained encoder, in eval mode. Its embeddings are not normalised.
    head_ : SiameseHead
        Scores queries by what the loss compares by.
    loss_ : ContrastiveLoss or PairBCELoss
        The loss it was trained by.
    net_ : skorch.NeuralNet
        The net that trained it. Not pickled.
    history_ : list of dict
        Losses and duration of each epoch.
    classes_ : ndarray of shape (n_classes,)
        The training classes. After `fit_pairs`, 0 (different) and 1 (same).
    image_shape_ : tuple of (C, H, W) or None
        Shape of an image; None for flat features.
    embedding_dim_ : int
        Length of an embedding.
    n_features_in_ : int
        Number of features of an example, for images C x H x W.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X was a DataFrame.
    n_iter_ : int
        Number of epochs run.

    See Also
    --------
    SiameseClassifier : Labels new classes by the most similar example.
    PairClassifier : Decides whether two examples are of the same class.
    TripletTransformer : Learns from triplets.

    References
    ----------
    .. [1] Bromley et al., "Signature Verification using a 'Siamese' Time Delay Neural Network",
       NeurIPS 1993.
    .. [2] Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
       CVPR 2006.
    .. [3] Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition",
       ICML workshop 2015, section 3.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_fewshot import SiameseTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = SiameseTransformer(max_epochs=1, random_state=0)
    >>> knn = make_pipeline(encoder, KNeighborsClassifier(1)).fit(X[:1000], y[:1000])
    >>> knn.score(X[1000:], y[1000:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BatchTransformer._parameter_constraints,
        "loss": [StrOptions({"contrastive", "bce"})],
        "metric": [StrOptions(set(METRICS)), callable, None],
        "margin": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        loss="contrastive",
        metric=None,
        margin=None,
        classes_per_batch=None,
        samples_per_class=None,
        module=None,
        module_params=None,
        embedding_dim=None,
        image_shape=None,
        frozen=None,
        augment=None,
        optimizer="adam",
        lr=1e-3,
        max_epochs=20,
        batches_per_epoch=100,
        validation_classes=None,
        net_params=None,
        device="auto",
        checkpoint=None,
        verbose=0,
        random_state=None,
    ):
        super().__init__(
            classes_per_batch=classes_per_batch,
            samples_per_class=samples_per_class,
            module=module,
            module_params=module_params,
            embedding_dim=embedding_dim,
            image_shape=image_shape,
            frozen=frozen,
            augment=augment,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batches_per_epoch=batches_per_epoch,
            validation_classes=validation_classes,
            net_params=net_params,
            device=device,
            checkpoint=checkpoint,
            verbose=verbose,
            random_state=random_state,
        )
        self.loss = loss
        self.metric = metric
        self.margin = margin

    loss_: ContrastiveLoss | PairBCELoss

    @restoring
    @_fit_context(prefer_skip_nested_validation=False)
    def fit_pairs(self, pairs, same):
        """Learn to compare from given pairs instead of labelled examples.

        A batch holds as many same as different pairs, `samples_per_class` of either.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, n_features), (n_pairs, 2, H, W) or \
                (n_pairs, 2, C, H, W)
            Pairs of examples; also :class:`~sk_fewshot.datasets.ExamplePairs`.
        same : array-like of shape (n_pairs,)
            1 or True where both are of one class, 0 or False where not: two pairs or more of either
            kind.

        Returns
        -------
        self : object
            The fitted transformer; its `classes_` are 0 (different) and 1 (same).

        Raises
        ------
        ValueError
            If there are too few pairs of a kind, or `validation_classes` is given, or `checkpoint`
            is damaged or of another training.
        OSError
            If `checkpoint` cannot be read or written.
        KeyboardInterrupt
            If interrupted; the estimator is then as it was before. With a `checkpoint`, the next
            `fit_pairs` goes on after the last whole epoch.

        See Also
        --------
        PairClassifier : Decides whether two examples are of the same class.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sk_fewshot import SiameseTransformer
        >>> from sk_fewshot.metrics import make_pairs
        >>> X, y = load_digits(return_X_y=True)
        >>> pairs, same = make_pairs(X, y, n_pairs=1000, random_state=0)
        >>> encoder = SiameseTransformer(max_epochs=1, random_state=0).fit_pairs(pairs, same)
        >>> encoder.transform(X).shape
        (1797, 64)
        """
        if self.validation_classes is not None:
            raise ValueError(
                "validation_classes needs class labels, which pairs do not have; it must be None, "
                f"got {self.validation_classes!r}."
            )
        with all_or_nothing(self) as fitted:
            pairs = as_pairs(pairs, "pairs")
            same = check_same(same, len(pairs))
            if self.image_shape is None and pairs.ndim == 5:
                check_channels(pairs.shape)
            _, fitted.image_shape_ = check_rows(
                fitted, members(pairs), image_shape=self._checked_image_shape(), reset=True
            )
            fitted.classes_ = np.array([0, 1])
            fitted._learn(pairs, same, fitted._rows_of_pairs, fitted._make_loss_of_pairs)
            fitted.loss_ = fitted.net_.criterion_.of_pair
        return self

    @property
    def head_(self) -> SiameseHead:
        """The head of one-shot classification by what the loss compares by."""
        comparator = self.loss_ if hasattr(self.loss_, "pair_logits") else None
        return SiameseHead(self.loss_.metric, comparator=comparator)

    @property
    def _directional(self):
        return self.metric == "cosine" or (self.loss == "contrastive" and self.metric is None)

    def _make_loss(self, n_classes, embedding_shape):
        embedding_dim = prod(embedding_shape)
        if self.loss == "bce":
            refuse(self, ("margin",), loss="contrastive")
            return PairBCELoss(embedding_dim, **given(self, "metric"))
        metric = self.metric or "cosine"
        margins = {"cosine": 0.5, "euclidean": sqrt(2 * embedding_dim)}
        margin = margins.get(metric, 1.0) if self.margin is None else self.margin
        return ContrastiveLoss(margin, metric)

    def _rows_of_pairs(self, pairs, same, rng, device):
        return PairRows(pairs, same, (2, *self._input_shape), device), None

    def _make_loss_of_pairs(self, n_classes, embedding_shape):
        return GivenPairsLoss(self._make_loss(n_classes, embedding_shape))

    def _make_validation_loss(self):
        return None
