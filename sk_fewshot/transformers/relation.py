"""The encoder of Relation Networks."""

from __future__ import annotations

from math import log2
from typing import ClassVar

from sklearn.utils._param_validation import StrOptions
from torch import nn

from sk_fewshot.encoders import MLP, Conv4
from sk_fewshot.heads import RelationHead
from sk_fewshot.transformers._episodic import EpisodicTransformer


class RelationTransformer(EpisodicTransformer):
    r"""Embed examples together with a comparator that says which belong to one class.

    Trained by episodes: each draws `n_way` classes and draws the relation score
    :math:`r_k = g(f(x), c_k)` of each query x with each class k to 1 for its own class and to 0 for
    the others (equations 1 and 2 of [1]_), where :math:`c_k` is pooled from `n_shot` support
    examples and the comparator g, a small network, is learned beside the encoder f.

    Parameters
    ----------
    loss : {"mse", "softmax"}, default="mse"
        The paper's mean squared error, or a cross-entropy over the classes, which does better with
        many of them.
    pooling : {"mean", "sum"}, default="mean"
        How support examples become :math:`c_k`. The sum is the paper's; the mean does not depend on
        the number of shots, see :class:`~sk_fewshot.heads.RelationHead`.
    n_way : int or None, default=None
        Classes per episode. None: all, at most 20. The paper takes as many as in the later task.
    n_shot : int, default=1
        Support examples per class, as in the later task.
    n_query : int or None, default=None
        Queries per class. None: 5, or fewer where the smallest class has fewer.
    module : nn.Module, callable or None, default=None
        The encoder: a module, or a class or function that makes one. None:
        :class:`~sk_fewshot.encoders.Conv4` for images, :class:`~sk_fewshot.encoders.MLP` for flat
        features. Arguments that it names among `image_shape`, `n_features` and `embedding_dim` are
        filled in. One that returns feature maps (n, C, H, W) gets a convolutional comparator, one
        that returns vectors (n, d) a multi-layer perceptron. Conv4 is here the paper's, with
        pooling in the first two blocks only (fewer where a side of the image is down to one pixel);
        its feature maps are kept unless `embedding_dim` is given.
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
        Batches per epoch. A batch is one episode.
    validation_classes : float or None, default=None
        Share of the classes held out to choose the best epoch and to stop early.
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
    head_ : RelationHead
        The head it was trained through.
    loss_ : EpisodeLoss
        The loss, which holds the head.
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
    RelationClassifier : Labels new classes by the comparator.

    References
    ----------
    .. [1] Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import RelationTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = RelationTransformer(max_epochs=1, batches_per_epoch=10, random_state=0)
    >>> encoder.fit_transform(X, y).shape
    (1797, 64)
    """

    _parameter_constraints: ClassVar[dict] = {
        **EpisodicTransformer._parameter_constraints,
        "loss": [StrOptions({"mse", "softmax"})],
        "pooling": [StrOptions({"mean", "sum"})],
    }

    def __init__(
        self,
        *,
        loss="mse",
        pooling="mean",
        n_way=None,
        n_shot=1,
        n_query=None,
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
            n_way=n_way,
            n_shot=n_shot,
            n_query=n_query,
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
        self.pooling = pooling

    def _default_module(self):
        return MLP if self.image_shape_ is None else feature_maps

    def _make_head(self, embedding_shape):
        return RelationHead(embedding_shape, pooling=self.pooling, loss=self.loss)


def feature_maps(image_shape: tuple[int, int, int], embedding_dim: int | None = None) -> nn.Module:
    """Make a Conv4 with at most two poolings, of feature maps unless `embedding_dim` is given."""
    n_poolings = min(2, int(log2(min(image_shape[1:]))))
    encoder = Conv4(image_shape, embedding_dim, n_poolings=n_poolings)
    if embedding_dim is not None:
        return encoder
    return nn.Sequential(encoder, nn.Unflatten(1, encoder.map_shape))
