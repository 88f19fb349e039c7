"""Full context embeddings of Matching Networks."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.device import labels_on, wide_device
from sk_fewshot._utils.precision import limited
from sk_fewshot._utils.validation import check_parameters, check_width


class FullContext(nn.Module):
    r"""Embeds support examples and queries anew, in the light of the whole support set.

    A support example becomes the sum of its embedding and of what a bidirectional LSTM says about
    it; a query is refined by an LSTM that reads the support set by attention, K times (appendix A
    of [1]_):

    .. math::
        g(x_i) &= \overrightarrow{h}_i + \overleftarrow{h}_i + g'(x_i) \\
        \hat h_k, c_k &= \mathrm{LSTM}(f'(x), [h_{k-1}, r_{k-1}], c_{k-1}) \\
        h_k &= \hat h_k + f'(x) \\
        r_{k-1} &= \textstyle\sum_i \mathrm{softmax}_i(h_{k-1}^\top g(x_i)) \, g(x_i)

    and :math:`f(x) = h_K`. An LSTM cell whose recurrent state is :math:`[h, r]` is one whose
    state is h and whose input is :math:`[f'(x), r]`; so it is written here, and
    :math:`h_0 = f'(x)`, :math:`c_0 = 0`.

    An LSTM sees a sequence, a support set has no order: it is sorted along one fixed direction of
    the embedding space (equal embeddings by class), so that neither the order of the rows nor the
    names of the classes matter.

    Parameters
    ----------
    embedding_dim : int
        Length d of an embedding, before and after.
    n_steps : int, default=5
        Read-outs K a query.

    References
    ----------
    .. [1] Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.heads import FullContext
    >>> context = FullContext(embedding_dim=8)
    >>> support = context.of_support(torch.zeros(6, 8), torch.tensor([0, 0, 0, 1, 1, 1]))
    >>> context.of_queries(torch.zeros(4, 8), support).shape
    torch.Size([4, 8])
    """

    def __init__(self, embedding_dim: int, n_steps: int = 5):
        super().__init__()
        positive = [Interval(Integral, 1, None, closed="left")]
        check_parameters(
            self,
            {"embedding_dim": positive, "n_steps": positive},
            embedding_dim=embedding_dim,
            n_steps=n_steps,
        )
        self.embedding_dim = embedding_dim
        self.n_steps = n_steps
        self.lstm = nn.LSTM(embedding_dim, embedding_dim, batch_first=True, bidirectional=True)
        self.attention_lstm = nn.LSTMCell(2 * embedding_dim, embedding_dim)

    def of_support(self, support: Tensor, support_labels: Tensor) -> Tensor:
        """Embed the support set anew.

        Parameters
        ----------
        support : Tensor of shape (..., n_support, d)
            Cast to the weights' dtype.
        support_labels : Tensor of int of shape (..., n_support)

        Returns
        -------
        Tensor of shape (..., n_support, d)
            In the order of the rows given.
        """
        support = self._cast("support", support)
        order = _canonical_order(support, support_labels).unsqueeze(-1)  # (..., n_support, 1)
        ordered = support.take_along_dim(order, -2)
        states, _ = self.lstm(ordered.reshape(-1, *ordered.shape[-2:]))  # (b, n_support, 2 d)
        forward, backward = states.reshape(*ordered.shape[:-1], -1).chunk(2, dim=-1)
        return (ordered + forward + backward).take_along_dim(order.argsort(-2), -2)

    def of_queries(self, queries: Tensor, support: Tensor) -> Tensor:
        """Embed queries (..., n_queries, d) anew, given what :meth:`of_support` returned."""
        queries, support = self._cast("queries", queries), self._cast("support", support)
        of_input, of_read = self.attention_lstm.weight_ih.chunk(2, dim=1)  # (4 d, d) each
        of_state = self.attention_lstm.weight_hh
        bias = self.attention_lstm.bias_ih + self.attention_lstm.bias_hh
        inputs = nn.functional.linear(queries, of_input, bias)  # (..., n_queries, 4 d)
        reads = support @ of_read.mT  # (..., n_support, 4 d): a read-out is a mean of these
        hidden, cell = queries, torch.zeros_like(queries)
        for _ in range(self.n_steps):
            attention = (hidden @ support.mT).softmax(-1)  # (..., n_queries, n_support)
            gates = inputs + attention @ reads + hidden @ of_state.mT
            enter, keep, new, leave = gates.chunk(4, dim=-1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = leave.sigmoid() * cell.tanh() + queries
        return hidden

    def _cast(self, name: str, embeddings: Tensor) -> Tensor:
        check_width(name, embeddings, self.embedding_dim)
        return limited(embeddings, self.attention_lstm.weight_ih.dtype)


def _canonical_order(support: Tensor, labels: Tensor) -> Tensor:
    """Row order (..., n_support) that the embeddings alone determine, and labels between ties."""
    device = support.device
    support = support.detach().to(wide_device(device)).double()
    labels = labels_on(labels, support.device)
    direction = torch.arange(1, support.shape[-1] + 1, device=support.device).double().cos()
    by_label = labels.argsort(dim=-1, stable=True)
    places = (support * direction).sum(-1).take_along_dim(by_label, -1)
    return by_label.take_along_dim(places.argsort(dim=-1, stable=True), -1).to(device)
