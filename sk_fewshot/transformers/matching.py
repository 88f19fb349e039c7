"""The encoder of Matching Networks."""

from __future__ import annotations

from math import prod
from numbers import Integral
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from sk_fewshot.distances import METRICS
from sk_fewshot.heads import FullContext, MatchingHead
from sk_fewshot.transformers._episodic import EpisodicTransformer


class MatchingTransformer(EpisodicTransformer):
    r"""Embed examples so that they attend to the examples of their class.

    Trained by episodes: each draws `n_way` classes and lowers

    .. math:: -\log P(y \mid x, S), \qquad
        P(y = k \mid x, S) = \sum_{i : y_i = k} \mathrm{softmax}_i(-d(f(x), g(x_i)) / \tau),

    over `n_query` queries per class, for a support set S of `n_shot` examples per class (equation 1
    of [1]_). With the cosine distance, the temperature is learned beside the encoder.

    Parameters
    ----------
    metric : str or callable, default="cosine"
        The distance d: a name in :data:`~sk_fewshot.distances.METRICS`, or a callable that takes
        tensors (n, d) and (m, d) and returns (n, m).
    full_context : bool, default=False
        Learn full context embeddings, :class:`~sk_fewshot.heads.FullContext`: f and g then depend
        on the whole support set. False: f and g are the encoder. The embeddings of `transform` are
        the encoder's in both cases.
    n_steps : int, default=5
        Read-outs K of the full context embedding of a query.
    n_way : int or None, default=None
        Classes per episode. None: all, at most 20.
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
    head_ : MatchingHead
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
    MatchingClassifier : Labels new classes by attention to their examples.

    References
    ----------
    .. [1] Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_fewshot import MatchingTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> encoder = MatchingTransformer(max_epochs=1, batches_per_epoch=10, random_state=0)
    >>> encoder.fit_transform(X, y).shape
    (1797, 64)
    """

    _parameter_constraints: ClassVar[dict] = {
        **EpisodicTransformer._parameter_constraints,
        "metric": [StrOptions(set(METRICS)), callable],
        "full_context": ["boolean"],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        metric="cosine",
        full_context=False,
        n_steps=5,
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
        self.full_context = full_context
        self.n_steps = n_steps

    def _make_head(self, embedding_shape):
        context = FullContext(prod(embedding_shape), self.n_steps) if self.full_context else None
        return MatchingHead(self.metric, context=context)
