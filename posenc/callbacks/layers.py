"""Quantities of `posenc.diagnostics.by_layer`, measured layer by layer during training."""

import lightning as L
import torch
from jaxtyping import Int
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from posenc.diagnostics import QUANTITIES, by_layer, capture
from posenc.streams import default_stream, generator
from posenc.tasks.base import Task
from posenc.training.module import SequenceModule

SEQUENCES, TOKENS, LONGEST = 32, 1024, 512
"""A probe has at most 32 sequences, 1,024 tokens in all and 512 in a sequence, but at least 2 sequences."""


class LayerQuantities(L.Callback):
    """Logs QUANTITY/layer_l of posenc.diagnostics.by_layer before training, at every validation and at the end.

    A fixed probe goes through the model once, in evaluation mode and with explicit attention. Training is unchanged,
    because the probe has its own random stream. The pass has the run's precision; the quantities are computed in
    float32 or more. Only the first of several processes measures, because all have the same weights.
    """

    FAMILIES = QUANTITIES
    """The quantities that are logged by layer. posenc.callbacks.tensorboard makes one chart for each."""

    def __init__(self) -> None:
        self._measured: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the initial model, unless the run was resumed."""
        if trainer.global_step == 0:
            self._log(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure at each validation of training."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the trained model, unless a validation has just measured it or the run was stopped early."""
        if trainer.global_step == trainer.max_steps != self._measured:
            self._log(trainer, pl_module)

    def _log(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, SequenceModule)
        self._measured = trainer.global_step
        if not (trainer.is_global_zero and trainer.loggers):
            return
        with trainer.precision_plugin.forward_context():
            found = quantities(module, probe(module.task).to(module.device))
        width = len(str(len(module.encoder.blocks)))  # sorted by name, layer_02 comes before layer_10
        row = {f"{name}/layer_{k:0{width}}": value for name, layers in found.items() for k, value in layers.items()}
        for logger in trainer.loggers:  # module.log is not allowed before the first step or after the last
            logger.log_metrics(row, max(0, trainer.global_step - 1))  # Lightning counts steps from 0


def probe(task: Task) -> Int[Tensor, "B N"]:
    """The probe of a task: sequences of the longest trained length, the same for every seed, cut after 512 tokens."""
    part, length = task.split("validation"), task.length[1]
    tokens, _ = part.sample(generator(0, "layers"), SEQUENCES, length)
    tokens = tokens[:, :LONGEST]
    return tokens[: max(2, TOKENS // tokens.shape[1])]


@torch.no_grad()
def quantities(module: SequenceModule, tokens: Int[Tensor, "B N"]) -> dict[str, dict[int, float]]:
    """`by_layer` of a module in evaluation mode. The module gets its former mode back."""
    was_training = module.training
    module.eval()
    with default_stream(0, "layers"), capture(module.encoder) as seen:
        module(tokens)
    module.train(was_training)
    return by_layer(seen, tokens)
