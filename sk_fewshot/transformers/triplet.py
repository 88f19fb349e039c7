"""The encoder of triplet networks."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sk_fewshot.distances import METRICS
from sk_fewshot.losses import TripletLoss, TripletRatioLoss
from sk_fewshot.transformers._batch import BatchTransformer, given, refuse
from sk_fewshot.transformers._module import build_loss

_HINGE_ONLY = ("mining", "margin", "normalize", "soft")


class TripletTransformer(BatchTransformer):
    r"""Embed examples nearer to their own class than to others.

    With the distances :math:`d_{ap}` from an example to another of its class and :math:`d_{an}` to
    one of another class, training lowers over the triplets of each batch

    .. math:: \max(0, d_{ap} - d_{an} + m)

    with loss="hinge" (FaceNet, equation 3 of [1]_), or with loss="ratio" (Triplet Network,
    section 3.1 of [2]_) the squared error of :math:`\mathrm{softmax}(d_{ap}, d_{an})` to (0, 1).
    The defaults are FaceNet's. The batch-hard loss with soft margin [3]_ is ``mining="hard",
    metric="euclidean", normalize=False, soft=True``.

    Parameters
    ----------
    loss : {"hinge", "ratio"}, nn.Module or callable, default="hinge"
        See above. `mining`, `margin`, `normalize` and `soft` belong to "hinge" and must be None
        with "ratio", which takes all triplets and has no margin. Or a loss of your own on
        (embeddings, y), as those of pytorch-metric-learning are: a module, which is copied, or a
        class or function that makes one. Arguments that it names among `n_classes` and
        `embedding_dim` are filled in. Of the parameters that follow only `normalize` goes with it.
    mining : {"all", "hard", "semihard"} or None, default=None
        Which triplets of a batch count: "all" with a positive loss, "hard" each example's farthest
        of its class and nearest of the others, "semihard" those with
        :math:`d_{ap} < d_{an} < d_{ap} + m`. None: "semihard", FaceNet's.
    margin : float or None, default=None
        m, in units of `metric`, so of the squared distance for "sqeuclidean". None: 0.2, FaceNet's.
    metric : str, callable or None, default=None
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m). None: the papers', "sqeuclidean" for "hinge"
        and "euclidean" for "ratio".
    normalize : bool or None, default=None
        Compare only directions; embeddings then come from `transform` with length 1. None: True for
        "hinge", as FaceNet. A loss of your own gets the embeddings with the lengths they have.
    soft : bool or None, default=None
        ``log(1 + exp(d_ap - d_an))`` instead of the hinge. None: False.
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
        Share of the classes held out to choose the best epoch and to stop early. With "hinge" they
        are judged by their hardest triplets, whatever `mining` is: the mean over the triplets that
        have a loss need not fall while their number does. With a loss of your own, which may have
        weights for the training classes, they are judged by one-shot episodes.
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
    loss_ : nn.Module
        The loss it was trained by.
    net_ : skorch.NeuralNet
        The net that trained it. Not pickled.
    history_ : list of dict
        Losses and duration of each epoch.
    classes_ : ndarray of shape (n_classes,)
        The training classes.
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
    SiameseTransformer : Learns from pairs.
    LossTransformer : Learns by any loss, without the parameters of this one.

    References
    ----------
    .. [1] Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition
       and Clustering", CVPR 2015.
    .. [2] Hoffer and Ailon, "Deep metric learning using Triplet network", SIMBAD 2015.
    .. [3] Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
       2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_fewshot import TripletTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = TripletTransformer(max_epochs=1, random_state=0)
    >>> knn = make_pipeline(encoder, KNeighborsClassifier(1)).fit(X[:1000], y[:1000])
    >>> knn.score(X[1000:], y[1000:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BatchTransformer._parameter_constraints,
        "loss": [StrOptions({"hinge", "ratio"}), nn.Module, callable],
        "mining": [StrOptions({"all", "hard", "semihard"}), None],
        "margin": [Interval(Real, 0, None, closed="left"), None],
        "metric": [StrOptions(set(METRICS)), callable, None],
        "normalize": ["boolean", None],
        "soft": ["boolean", None],
    }

    def __init__(
        self,
        *,
        loss="hinge",
        mining=None,
        margin=None,
        metric=None,
        normalize=None,
        soft=None,
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
        self.mining = mining
        self.margin = margin
        self.metric = metric
        self.normalize = normalize
        self.soft = soft

    @property
    def _directional(self):
        normalize = self.loss == "hinge" if self.normalize is None else self.normalize
        return self.metric == "cosine" or normalize

    def _make_loss(self, n_classes, embedding_shape):
        if self.loss == "hinge":
            return TripletLoss(**given(self, "metric", *_HINGE_ONLY))
        if self.loss == "ratio":
            refuse(self, _HINGE_ONLY, loss="hinge")
            return TripletRatioLoss(**given(self, "metric"))
        refuse(self, ("mining", "margin", "metric", "soft"), loss="hinge")
        return build_loss(self.loss, n_classes, embedding_shape)

    def _make_validation_loss(self):
        if self.loss == "hinge":
            return TripletLoss(**{**given(self, "metric", *_HINGE_ONLY), "mining": "hard"})
        if self.loss == "ratio":
            return None
        return super()._make_validation_loss()
