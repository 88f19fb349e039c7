"""The processes that train one encoder: this one alone, or several by Hugging Face Accelerate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from skorch.hf import AccelerateMixin
from torch import nn

from sk_fewshot._device import resolve_device
from sk_fewshot._training.net import EncoderNet


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

    def make_net(self, encoder: nn.Module, loss: nn.Module, **settings) -> EncoderNet:
        """Return the net that they train; it prints nothing with ``verbose=0``."""
        if self.accelerator is None:
            settings = {"device": self.device, "callbacks__print_log": None, **settings}
            return EncoderNet(encoder, loss, **settings)
        settings = {"callbacks__print_log__sink": print, **settings}
        return AcceleratedNet(encoder, loss, accelerator=self.accelerator, **settings)

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


class AcceleratedNet(AccelerateMixin, EncoderNet):
    """A net that several processes train: each on batches of its own, with averaged gradients.

    The losses that it remembers are means over the processes, so that whatever depends on them is
    decided alike everywhere.
    """

    optimizer_: Any

    @property
    def learners(self):
        """The module and the criterion, as they are without Accelerate."""
        return tuple(self.accelerator.unwrap_model(part) for part in super().learners)

    @property
    def writes_files(self):
        """Whether this process is the one that writes files."""
        return self.accelerator.is_main_process

    def train_step(self, batch, **fit_params):
        """Take a step on the batches of all processes."""
        return self._with_mean_loss(super().train_step(batch, **fit_params))

    def validation_step(self, batch, **fit_params):
        """Validate on the batches of all processes."""
        return self._with_mean_loss(super().validation_step(batch, **fit_params))

    def _with_mean_loss(self, step):
        return {**step, "loss": self.accelerator.reduce(step["loss"].detach(), "mean")}

    def _initialize_accelerator(self):
        """Prepare what learns: torch refuses to distribute a module without parameters."""
        for name in ("module_", "criterion_"):
            part = getattr(self, name).train()  # the mode that its wrapping believes it to be in
            if any(parameter.requires_grad for parameter in part.parameters()):
                setattr(self, name, self.accelerator.prepare(part))
        self.optimizer_ = self.accelerator.prepare(self.optimizer_)
        self._wrapped_with_accelerator = True
        return self
