"""The gradient's norm before it is clipped."""

import lightning as L
import torch
from torch.optim import Optimizer

from posenc.training.module import SequenceModule


class GradientNorm(L.Callback):
    """Logs gradient/norm = ‖∂loss/∂θ‖₂ over all parameters, before clipping, at each step whose scores are logged."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Log the norm."""
        assert isinstance(pl_module, SequenceModule)
        if pl_module.logs_this_step:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("gradient/norm", torch.nn.utils.get_total_norm(gradients))
