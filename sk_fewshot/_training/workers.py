"""The processes that train one encoder: this one alone, or several by Hugging Face Accelerate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sk_fewshot._utils.device import resolve_device


@dataclass(frozen=True)
class Workers:
    """Who trains.

    Attributes
    ----------
    device : torch.device
        Where this process computes.
    rank : int
        Its number, from 0.
    size : int
        How many there are.
    accelerator : accelerate.Accelerator or None
        Joins them; None for one process without Accelerate.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @classmethod
    def join(cls, device: str | torch.device) -> Workers:
        """Return the workers for an estimator's `device`: with "accelerate" those it has started.

        Raises
        ------
        ImportError
            If Accelerate is asked for and not installed.
        ValueError
            If the device is unknown or not there, or Accelerate is to accumulate gradients, of
            which skorch's net would drop all but the last.
        """
        if device != "accelerate":
            return cls(resolve_device(device))
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                "device='accelerate' needs the package accelerate: "
                'pip install "sk-fewshot[distributed]".'
            ) from error
        accelerator = Accelerator()
        if (steps := accelerator.gradient_accumulation_steps) != 1:
            raise ValueError(
                f"device='accelerate' takes no gradient_accumulation_steps={steps}: start more "
                "processes, or make batches larger."
            )
        rank, size = accelerator.process_index, accelerator.num_processes
        return cls(accelerator.device, rank, size, accelerator)

    def agreed(self, value: int) -> int:
        """Return the first worker's value; waits for it."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def align_buffers(self, module: nn.Module) -> None:
        """Give the module the buffers, such as BatchNorm's statistics, of the first worker's."""
        if self.size > 1:
            from accelerate.utils import broadcast

            broadcast(list(module.buffers()))
