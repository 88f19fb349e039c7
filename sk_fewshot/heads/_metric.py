"""What the heads that compare by a distance share."""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sk_fewshot._utils.precision import full_precision
from sk_fewshot._utils.validation import check_parameters
from sk_fewshot.distances import METRICS, Metric, paired_distances, pairwise_distances
from sk_fewshot.heads._head import Head

_COSINE_TEMPERATURE = 0.1  # cosine distances span 2, which at 1 would cap five-way p near 0.65
_ROWS = 4096  # whose differences to a query are held at once


class MetricHead(Head):
    """A head over a distance and a temperature.

    Parameters
    ----------
    metric : str or callable
    temperature : float or None
        Distances are divided by it. None: 1, except for "cosine", where it is learned from 0.1 on.
    """

    needs_float64 = True

    nearest_decides = False
    """Whether the class of the nearest row has the highest score."""

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
        self.temperature = temperature
        self.log_temperature: Tensor
        if temperature is None and metric == "cosine":
            self.log_temperature = nn.Parameter(torch.tensor(math.log(_COSINE_TEMPERATURE)))
        else:
            log_temperature = torch.tensor(math.log(temperature or 1.0), dtype=torch.float64)
            self.register_buffer("log_temperature", log_temperature)

    @abstractmethod
    def class_similarity(self, queries: Tensor, state: Any, *, alone: bool = False) -> Tensor:
        """How alike queries and classes are, (..., n_queries, n_classes), in units of `similarity`.

        Parameters
        ----------
        queries : Tensor of shape (..., n_queries, d)
        state : Tensor or tuple of Tensor
            What `enrol` returned.
        alone : bool, default=False
            Compute each distance alone, so that classes at equal distances are bitwise equal.
            Without leading dimensions, and with ascending labels.
        """

    def score(self, queries: Tensor, state: Any) -> Tensor:
        """Score queries (..., n_queries, d) against what `enrol` returned."""
        return self.scores_of(self.class_similarity(queries, state))

    def scores_of(self, class_similarity: Tensor) -> Tensor:
        """Return scores, given similarities (..., n_classes)."""
        return class_similarity

    @property
    def distance(self) -> Metric:
        """What rows are ranked by."""
        return self.metric

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """Negative distances over the temperature, of x (..., n, d) and y (..., m, d).

        In float32 at least, like all that follows from them.
        """
        wide = x.dtype == y.dtype and x.dtype.itemsize >= 4
        if wide and not torch.is_autocast_enabled(x.device.type):
            distances = pairwise_distances(x, y, self.metric)
        else:
            with full_precision(x) as x_full, full_precision(y) as y_full:
                dtype = torch.promote_types(x_full.dtype, y_full.dtype)
                distances = pairwise_distances(x_full.to(dtype), y_full.to(dtype), self.metric)
        return distances / -self.log_temperature.exp().to(distances)

    def similarity_alone(self, x: Tensor, y: Tensor) -> Tensor:
        """As `similarity`, of x (n, d) and y (m, d), from distances that are each computed alone.

        Equal distances are then bitwise equal.
        """
        with full_precision(x) as x_full, full_precision(y) as y_full:
            parts = y_full.split(_ROWS)
            rows = []
            for one in x_full.split(1):
                pairs = ((one.expand_as(part), part.to(one.dtype)) for part in parts)
                rows.append(torch.cat([paired_distances(*pair, self.metric) for pair in pairs]))
        distances = torch.stack(rows)
        return distances / -self.log_temperature.exp().to(distances)

    def _apply(self, fn, recurse=True):
        """Keep the temperature in float32 on a device without float64."""

        def narrowed(tensor: Tensor) -> Tensor:
            try:
                return fn(tensor)
            except TypeError:
                return fn(tensor.float())

        return super()._apply(narrowed, recurse)
