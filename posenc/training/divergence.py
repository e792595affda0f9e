"""Errors that end a training early: numbers that are not finite, too little memory, a lost process."""

import math
import re
from typing import Any

import lightning as L
import torch


class Diverged(RuntimeError):
    """The loss, a gradient or a weight is no longer a finite number."""

    def __init__(self, what: str, trainer: L.Trainer, step: int | None = None) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        super().__init__(f"{what} at step {step or trainer.global_step}, learning rate {rate:.3g}")


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory could not be allocated, on a CPU or on an accelerator."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def lost(error: BaseException) -> bool:
    """Whether the error says that the connection to another process of the run is lost."""
    return re.search("connection|peer|gloo|nccl|socket", str(error), re.IGNORECASE) is not None


def check_gradient(trainer: L.Trainer, norm: torch.Tensor, loss: torch.Tensor) -> None:
    """Raise `Diverged` before the weights are updated, if the norm of the gradient is infinite or NaN.

    With float16's gradient scaler such a gradient is allowed: the scaler skips that step and lowers its scale.
    """
    if math.isfinite(norm.item()) or getattr(trainer.precision_plugin, "scaler", None) is not None:
        return
    what = f"gradient norm {norm.item()}, loss {loss.item():.4g}" if torch.isfinite(loss) else f"loss {loss.item()}"
    raise Diverged(what, trainer, trainer.global_step + 1)


class StopOnDivergence(L.Callback):
    """Ends the run at the first loss that is infinite or NaN, even if its gradient is finite."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Raise `Diverged` in all processes if one of them has such a loss."""
        finite = bool(torch.isfinite(outputs["loss"]))
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise Diverged(f"loss {outputs['loss'].item()}", trainer)
