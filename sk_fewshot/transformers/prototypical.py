"""The encoder of Prototypical Networks."""

from __future__ import annotations

from typing import ClassVar

from sklearn.utils._param_validation import StrOptions

from sk_fewshot.distances import METRICS
from sk_fewshot.heads import PrototypicalHead
from sk_fewshot.transformers._episodic import EpisodicTransformer


class PrototypicalTransformer(EpisodicTransformer):
    r"""Embed examples so that they lie near the mean of their class.

    Trained by episodes: each draws `n_way` classes, takes the mean embedding of `n_shot` support
    examples as the prototype :math:`c_k` of class k, and lowers

    .. math:: -\log p(y \mid x), \qquad
        p(k \mid x) = \mathrm{softmax}_k\left(-d(f(x), c_k)\right),

    over `n_query` queries per class (equations 1 and 2 and algorithm 1 of [1]_).

    Parameters
    ----------
    metric : str or callable, default="sqeuclidean"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m). With "cosine", a temperature is learned beside
        the encoder.
    n_way : int or None, default=None
        Classes per episode. None: all, at most 20. More classes than in the later task help; the
        paper takes 60 for Omniglot.
    n_shot : int, default=1
        Support examples per class, as in the later task.
    n_query : int or None, default=None
        Queries per class. None: 5, or fewer where the smallest class has fewer.
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
    head_ : PrototypicalHead
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
    PrototypicalClassifier : Labels new classes by their prototypes.

    References
    ----------
    .. [1] Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import PrototypicalTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = PrototypicalTransformer(max_epochs=1, batches_per_epoch=10, random_state=0)
    >>> encoder.fit_transform(X, y).shape
    (1797, 64)
    """

    _parameter_constraints: ClassVar[dict] = {
        **EpisodicTransformer._parameter_constraints,
        "metric": [StrOptions(set(METRICS)), callable],
    }

    def __init__(
        self,
        *,
        metric="sqeuclidean",
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
        self.metric = metric

    def _make_head(self, embedding_shape):
        return PrototypicalHead(self.metric)
