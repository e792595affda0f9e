"""The gradient's norm before it is clipped."""

import lightning as L
import torch
from torch.optim import Optimizer


class GradientNorm(L.Callback):
    """Logs gradient/norm = ‖∂loss/∂θ‖₂ over all parameters, before clipping, where the trainer writes a row."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Measure and log."""
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("gradient/norm", torch.nn.utils.get_total_norm(gradients))
