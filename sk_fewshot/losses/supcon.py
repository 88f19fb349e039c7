"""The supervised contrastive loss."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from sk_fewshot._utils.device import labels_on
from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_batch, check_parameters
from sk_fewshot.losses._directions import rows_of_length
from sk_fewshot.losses._rows import row_chunks, sum_over_rows


class SupConLoss(nn.Module):
    r"""Picks an example's own class out of the rest of the batch, by a softmax over cosines.

    Let z be the embeddings, scaled to length 1, :math:`\tau` the temperature, and P(i) the
    positives of an anchor i: the other examples of its class. The anchor costs

    .. math:: -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log
        \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \ne i} \exp(z_i \cdot z_a / \tau)}

    (:math:`\mathcal{L}^{sup}_{out}`, equation 2 of [1]_). The mean is taken over all anchors that
    have a positive; the paper writes the sum. An example that is alone in its class is no anchor,
    and only a negative for the others. A batch without a positive pair gives 0.

    Parameters
    ----------
    temperature : float, default=0.1
        :math:`\tau`, in units of the cosine. The paper's experiments have 0.1, the code that its
        authors published 0.07.

    Raises
    ------
    InvalidParameterError
        If `temperature` is not a positive number.

    See Also
    --------
    sk_fewshot.LossTransformer : Trains an encoder by it.

    References
    ----------
    .. [1] Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from sk_fewshot.losses import SupConLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> SupConLoss(temperature=1)(embeddings, torch.tensor([0, 0, 1]))  # log(1 + exp(0 - 1))
    tensor(0.3133)
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        check_parameters(
            self,
            {"temperature": [Interval(Real, 0, None, closed="neither")]},
            temperature=temperature,
        )
        self.temperature = temperature

    def forward(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Floating point; half precision is computed in float32.
        y : Tensor of int of shape (n,)
            Labels, any values.

        Returns
        -------
        Tensor
            A scalar, float32 or float64.

        Raises
        ------
        TypeError, ValueError
            If the types or shapes are others.
        """
        check_batch(embeddings, y)
        y = labels_on(y, embeddings.device)

        def terms(rows: slice, z: Tensor) -> tuple[Tensor, Tensor]:
            number = torch.arange(len(z), device=z.device)
            itself = number[rows, None] == number  # (r, n)
            positive = (y[rows, None] == y) & ~itself
            n_positives = positive.sum(1)
            anchors = n_positives > 0
            cosines = z[rows] @ z.T / self.temperature
            pulled = torch.where(positive, cosines, 0).sum(1) / n_positives.clamp(min=1)
            others = cosines.masked_fill(itself, -torch.inf).logsumexp(1)
            return torch.where(anchors, others - pulled, 0).sum(), anchors.sum()

        with full_precision(embeddings) as z:
            directions = rows_of_length(z)
            total, count = sum_over_rows(terms, row_chunks(len(z), len(z)), directions)
            return (total / count.clamp(min=1)).to(z.dtype)
