"""Gradient norms of each layer's matrices, before they are clipped."""

import math

import lightning as L
from torch.optim import Optimizer

from posenc.diagnostics import gradient_norms
from posenc.training.module import SequenceModule


class LayerGradients(L.Callback):
    """Logs gradient_GROUP/layer_l = ‖∂loss/∂W‖_F, before clipping, at each step whose scores are logged.

    GROUP is query, key, value, output or mlp (the norm of both its matrices together); layer l is the l-th block, from
    1. The gradients are those of the training step. Sources: posenc.diagnostics.gradients.
    """

    FAMILIES = tuple(f"gradient_{group}" for group in ("query", "key", "value", "output", "mlp"))
    """The groups of values by layer. posenc.callbacks.tensorboard makes one chart for each."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Log the norms."""
        assert isinstance(pl_module, SequenceModule)
        if not pl_module.logs_this_step:
            return
        norms = gradient_norms(pl_module.encoder)
        width = len(str(len(norms)))
        for layer, groups in enumerate(norms, start=1):
            mlp = [norm for group, norm in groups.items() if group.startswith("mlp")]
            row = {group: norm for group, norm in groups.items() if not group.startswith("mlp")}
            row |= {"mlp": math.hypot(*mlp)} if mlp else {}
            pl_module.log_dict({f"gradient_{group}/layer_{layer:0{width}}": norm for group, norm in row.items()})
