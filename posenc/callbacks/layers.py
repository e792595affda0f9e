"""What a stack does to its tokens, layer by layer, while it learns."""

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
"""A probe has 32 sequences, or as many as fit into 1,024 tokens but not fewer than 2, of at most 512 tokens each."""


class LayerQuantities(L.Callback):
    """Logs QUANTITY/layer_l of posenc.diagnostics.by_layer before training, at every validation and at the end.

    One forward pass in evaluation mode, by the explicit attention, of a fixed probe that has a random stream of its
    own: training does not notice. The pass runs at the run's precision, the quantities in float32 at least. Of several
    processes the first measures, as all hold the same weights.
    """

    FAMILIES = QUANTITIES
    """What is logged by layer: posenc.callbacks.tensorboard lays out one chart for each."""

    def __init__(self) -> None:
        self._measured: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure what training begins with; a run that goes on has no such point."""
        if trainer.global_step == 0:
            self._log(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure beside the scores."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the trained model, unless a validation has; a run that was stopped has its end before it."""
        if trainer.global_step == trainer.max_steps != self._measured:
            self._log(trainer, pl_module)

    def _log(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, SequenceModule)
        self._measured = trainer.global_step
        if not (trainer.is_global_zero and trainer.loggers):
            return
        with trainer.precision_plugin.forward_context():
            found = quantities(module, probe(module.task).to(module.device))
        width = len(str(len(module.encoder.blocks)))  # layer_02 stands before layer_10 wherever names are sorted
        row = {f"{name}/layer_{k:0{width}}": value for name, layers in found.items() for k, value in layers.items()}
        for logger in trainer.loggers:  # not module.log, which takes nothing before the first step or after the last
            logger.log_metrics(row, max(0, trainer.global_step - 1))  # Lightning calls the first step 0


def probe(task: Task) -> Int[Tensor, "B N"]:
    """The tokens that are looked at: those of the longest training length, fixed for a task, whatever the seed.

    A longer sequence is cut off after 512 tokens, so that what is recorded stays small.
    """
    part, length = task.split("validation"), task.length[1]
    tokens, _ = part.sample(generator(0, "layers"), SEQUENCES, length)
    tokens = tokens[:, :LONGEST]
    return tokens[: max(2, TOKENS // tokens.shape[1])]


@torch.no_grad()
def quantities(module: SequenceModule, tokens: Int[Tensor, "B N"]) -> dict[str, dict[int, float]]:
    """`by_layer` of a module in evaluation mode; it is left as it was."""
    was_training = module.training
    module.eval()
    with default_stream(0, "layers"), capture(module.encoder) as seen:
        module(tokens)
    module.train(was_training)
    return by_layer(seen, tokens)
