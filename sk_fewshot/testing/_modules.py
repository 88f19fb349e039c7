"""Checks of losses and heads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.func import functional_call

SCALES = (1e-15, 1e-7, 1.0, 1e7, 1e15)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_EXAMPLES = 4


def check_loss(loss: nn.Module, *, embedding_dim: int = 4, n_classes: int = 6) -> None:
    """Check a loss on embeddings and labels.

    The value is a finite number, and so are the gradients, for embeddings of length 1e-15 to 1e15
    among which there are zeros, equal, parallel and opposite ones, in double, single and half
    precision; the gradients are those of finite differences; NaN is not hidden; nothing it is given
    is changed.

    Parameters
    ----------
    loss : nn.Module
        Called as ``loss(embeddings, y)`` on batches of `n_classes` classes x 4 examples, class by
        class, labelled from 0 on. It is copied.
    embedding_dim : int, default=4
        At least 2.
    n_classes : int, default=6
        At least 2.

    Raises
    ------
    AssertionError
        If it is not so.

    Examples
    --------
    >>> from sk_fewshot.losses import ArcFaceLoss
    >>> from sk_fewshot.testing import check_loss
    >>> check_loss(ArcFaceLoss(n_classes=6, embedding_dim=4))
    """
    _check_arguments("loss", loss, embedding_dim=embedding_dim, n_classes=n_classes)
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n_classes).repeat_interleave(_EXAMPLES)
    z = torch.randn(len(y), embedding_dim, generator=generator, dtype=torch.float64)
    hard = _with_hard_rows(z, loss)
    for dtype, scale in _finite_cases(hard):
        own = _in_precision(loss, dtype)
        given = (hard * scale).to(dtype).requires_grad_()
        before = given.detach().clone()
        value = own(given, y)
        case = f"embeddings of scale {scale:g} in {dtype}"
        assert value.shape == (), f"the loss must be a scalar, got shape {tuple(value.shape)}"
        _check_finite("the loss", value, case)
        _check_gradients(value, own, case, embeddings=given)
        assert torch.equal(given.detach(), before), "the loss changes the embeddings it is given"
    _check_by_differences(loss, lambda own, z: own(z, y), z)
    z[0, 0] = torch.nan
    hidden = _in_precision(loss, torch.float64)(z, y)
    assert not hidden.isfinite(), f"the loss hides NaN: it is {hidden.item()}"


def check_head(head: nn.Module, *, embedding_dim: int = 4) -> None:
    """Check a head, which scores queries against a support set.

    Scores, their loss and its gradients are finite numbers as for :func:`check_loss`; the gradients
    are those of finite differences. In eval mode the order of the support rows does not matter, a
    query's scores do not depend on the other queries, and scores follow the numbers of the classes.

    Parameters
    ----------
    head : nn.Module
        Called as ``head(queries, support, support_labels)``, returns scores (n_queries, n_classes);
        ``head.loss(scores, y)`` returns a scalar. It is copied.
    embedding_dim : int, default=4
        At least 2.

    Raises
    ------
    AssertionError
        If it is not so.

    Examples
    --------
    >>> from sk_fewshot.heads import PrototypicalHead
    >>> from sk_fewshot.testing import check_head
    >>> check_head(PrototypicalHead())
    """
    _check_arguments("head", head, embedding_dim=embedding_dim)
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([2, 0, 0, 1, 2, 0, 2])
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    n = len(y)
    z = torch.randn(n + len(labels), embedding_dim, generator=generator, dtype=torch.float64)
    hard = _with_hard_rows(z, head)
    for dtype, scale in _finite_cases(hard):
        for training in (True, False):
            own = _in_precision(head, dtype).train(training)
            given = (hard * scale).to(dtype).requires_grad_()
            case = f"embeddings of scale {scale:g} in {dtype}"
            scores = own(given[:n], given[n:], labels)
            assert scores.shape == (n, 3), (
                f"scores must have shape (n_queries, n_classes) = {(n, 3)}, "
                f"got {tuple(scores.shape)}"
            )
            _check_finite("scores", scores, case)
            value = own.loss(scores, y)  # type: ignore[operator]
            assert value.shape == (), f"the loss must be a scalar, got shape {tuple(value.shape)}"
            _check_finite("the loss", value, case)
            _check_gradients(value, own, case, embeddings=given)
    _check_by_differences(head, lambda own, z: own(z[:n], z[n:], labels), z)
    own = _in_precision(head, torch.float64).eval()
    with torch.no_grad():
        scores = own(z[:n], z[n:], labels)
        reverse = own(z[:n], z[n:].flip(0), labels.flip(0))
        alone = torch.cat([own(query, z[n:], labels) for query in z[:n].split(1)])
        renamed = own(z[:n], z[n:], 2 - labels)
    for other, what in (
        (reverse, "depend on the order of the support rows"),
        (alone, "of a query depend on the other queries"),
        (renamed.flip(1), "depend on how classes are numbered"),
    ):
        assert torch.allclose(other, scores, rtol=1e-5, atol=1e-8), f"scores {what}"


def _check_arguments(name: str, module: object, **sizes: int) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name} must be an nn.Module, got {module!r}.")
    for size, value in sizes.items():
        if not isinstance(value, Integral) or value < 2:
            raise ValueError(f"{size} must be an int of 2 or more, got {value!r}.")


def _with_hard_rows(z: Tensor, module: nn.Module) -> Tensor:
    """Rows of which some are zero, equal, parallel, opposite, and along what the module learned."""
    z = z.clone()
    last = len(z) - 1
    z[1], z[last] = z[0], z[0]
    z[2], z[last - 1] = 0, 0
    z[3], z[last - 2] = 2 * z[0], -z[0]
    directions = [p for p in module.parameters() if p.ndim == 2 and p.shape[1] == z.shape[1]]
    for direction in directions:
        row = direction[0].detach().double()
        z[4], z[last - 3] = row, -row
    return z


def _finite_cases(z: Tensor) -> list[tuple[torch.dtype, float]]:
    return [
        (dtype, scale)
        for dtype in DTYPES
        for scale in SCALES
        if (z * scale).to(dtype).isfinite().all()
    ]


def _in_precision(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy whose weights are float32, or float64 for embeddings in that."""
    return copy.deepcopy(module).to(dtype if dtype == torch.float64 else torch.float32)


def _check_finite(what: str, values: Tensor, case: str) -> None:
    if not values.isfinite().all():
        raise AssertionError(f"{what} must be finite, got {values.detach()} for {case}")


def _check_gradients(value: Tensor, module: nn.Module, case: str, **inputs: Tensor) -> None:
    leaves = {**inputs, **dict(module.named_parameters())}
    leaves = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    for name, gradient in zip(leaves, gradients):
        _check_finite(f"the gradient of {name}", gradient, case)


def _check_by_differences(
    module: nn.Module, function: Callable[[Callable[..., Tensor], Tensor], Tensor], z: Tensor
) -> None:
    """Compare the gradients of embeddings and parameters with finite differences."""
    own = _in_precision(module, torch.float64)
    names = [name for name, parameter in own.named_parameters() if parameter.requires_grad]

    def of_leaves(z: Tensor, *parameters: Tensor) -> Tensor:
        values = dict(zip(names, parameters))
        return function(lambda *inputs: functional_call(copy.deepcopy(own), values, inputs), z)

    leaves = [z, *(own.get_parameter(name) for name in names)]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    try:
        torch.autograd.gradcheck(of_leaves, leaves, fast_mode=True)
    except RuntimeError as error:
        raise AssertionError(f"gradients are not those of finite differences: {error}") from error
