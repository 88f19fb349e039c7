"""What the heads that compare by a distance share."""

from __future__ import annotations

import math
from numbers import Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.distances import METRICS, Metric, pairwise_distances

_COSINE_TEMPERATURE = 0.1  # cosine distances span 2, which at 1 would cap five-way p near 0.65


class MetricHead(nn.Module):
    """A head over a distance and a temperature.

    Parameters
    ----------
    metric : {"sqeuclidean", "euclidean", "cosine", "manhattan", "dot"} or callable
    temperature : float or None
        Distances are divided by it. None: 1, except for "cosine", where it is learned from 0.1 on.
    """

    def __init__(self, metric: Metric, temperature: float | None):
        super().__init__()
        check_parameters(
            self,
            {
                "metric": [StrOptions(set(METRICS)), callable],
                "temperature": [Interval(Real, 0, None, closed="neither"), None],
            },
            metric=metric,
            temperature=temperature,
        )
        self.metric = metric
        self.log_temperature: Tensor
        if temperature is None and metric == "cosine":
            self.log_temperature = nn.Parameter(torch.tensor(math.log(_COSINE_TEMPERATURE)))
        else:
            log_temperature = torch.tensor(math.log(temperature or 1.0), dtype=torch.float64)
            self.register_buffer("log_temperature", log_temperature)

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """Negative distances over the temperature, of x (..., n, d) and y (..., m, d).

        In float32 at least, like all that follows from them.
        """
        with full_precision(x) as x_full, full_precision(y) as y_full:
            distances = pairwise_distances(x_full, y_full, self.metric)
        return distances / -self.log_temperature.exp().to(distances.dtype)
