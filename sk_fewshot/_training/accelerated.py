"""The net that several processes train."""

from __future__ import annotations

from typing import Any

from skorch.hf import AccelerateMixin

from sk_fewshot._training.net import EncoderNet


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
