"""The encoder of ArcFace."""

from __future__ import annotations

from math import pi, prod
from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from sk_fewshot.losses import ArcFaceLoss
from sk_fewshot.transformers._batch import BatchTransformer


class ArcFaceTransformer(BatchTransformer):
    r"""Embed examples by direction, with an angular margin between the classes.

    Every training class has a weight; the angle :math:`\theta_k` between an embedding and the
    weight of class k decides. Trained by the softmax loss over the logits

    .. math:: s \cos(\theta_y + m) \text{ for the true class } y, \qquad
        s \cos\theta_k \text{ for the others}

    (equation 3 of [1]_). Embeddings come from `transform` with length 1.

    Parameters
    ----------
    margin : float, default=0.5
        m, in radians; the paper's.
    scale : float, default=16
        s. The paper's is 64, for embeddings of 512 numbers and millions of images; on small data a
        lower one trains more reliably.
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
        Share of the classes held out to choose the best epoch and to stop early. These classes have
        no weights: they are judged by one-shot episodes with the cosine.
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
    loss_ : ArcFaceLoss
        The loss, with the class weights: ``loss_.logits(embeddings)`` scores the classes it was
        trained on, in their order.
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
    AMSoftmaxTransformer : The margin is on the cosine.
    sklearn.neighbors.KNeighborsClassifier : Finds neighbours by angle among these embeddings.

    References
    ----------
    .. [1] Deng, Guo, Xue and Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
       Recognition", CVPR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_fewshot import ArcFaceTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = ArcFaceTransformer(max_epochs=1, random_state=0)
    >>> knn = make_pipeline(encoder, KNeighborsClassifier(1)).fit(X[:1000], y[:1000])
    >>> knn.score(X[1000:], y[1000:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BatchTransformer._parameter_constraints,
        "margin": [Interval(Real, 0, pi, closed="left")],
        "scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        margin=0.5,
        scale=16,
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
        self.margin = margin
        self.scale = scale

    @property
    def _directional(self):
        return True

    def _make_loss(self, n_classes, embedding_shape):
        return ArcFaceLoss(n_classes, prod(embedding_shape), margin=self.margin, scale=self.scale)
