"""The LightningModule: loss, metrics, optimizer."""

import math
from collections.abc import Callable, Iterable

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from posenc import checks
from posenc.checks import ConfigError
from posenc.data import Batch
from posenc.encoder import Encoder
from posenc.positions import Positions, PositionScheme
from posenc.streams import default_stream, stream_seed
from posenc.tasks.base import IGNORE, Task, skill

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The share of the peak learning rate at `step`: linear up to it over `warmup` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


class SequenceModule(L.LightningModule):
    """Cross-entropy of an encoder on a task; accuracy and skill beside what is achievable.

    optimizer     makes an optimizer from parameters
    warmup_steps  steps of linear warm-up; then a cosine to zero at the trainer's last step
    """

    def __init__(
        self,
        encoder: Encoder,
        positions: PositionScheme,
        task: Task,
        optimizer: OptimizerFactory,
        seed: int,
        warmup_steps: int = 100,
    ) -> None:
        super().__init__()
        checks.positive(self, minimum=0, warmup_steps=warmup_steps)
        self.encoder, self.positions, self.task = encoder, positions, task
        self.optimizer, self.seed, self.warmup_steps = optimizer, seed, warmup_steps
        self.ceilings = {
            length: (task.order_blind_ceiling(length), task.order_aware_ceiling(length))
            for length in {task.length[1], *task.test_lengths}
        }
        self.accuracies = nn.ModuleDict()
        self.losses = nn.ModuleDict()
        for name in ("validation", *(f"test/{length}" for length in task.test_lengths)):
            self.accuracies[name] = MulticlassAccuracy(
                task.num_outputs, average="micro", ignore_index=IGNORE, validate_args=False
            )
            self.losses[name] = MeanMetric()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, at positions drawn by the scheme."""
        return self.encoder(tokens, self.place(tokens))

    def place(self, tokens: Tensor) -> Positions:
        """Where the scheme puts these tokens, the read-out's own included."""
        return self.positions(tokens, training=self.training, extra=self.encoder.extra_positions)

    def _answer(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        tokens, targets = batch
        logits = self(tokens)
        if logits.shape[:-1] != targets.shape:
            asked = "one answer a token" if targets.ndim == 2 else "one answer a sequence"
            fit = "per_token" if targets.ndim == 2 else "mean, last or query"
            raise ConfigError(f"{self.task} asks {asked}; set model.readout={fit}, not {self.encoder.readout}.")
        logits, targets = logits.flatten(0, -2).float(), targets.flatten()
        return logits, targets, F.cross_entropy(logits, targets, ignore_index=IGNORE)

    @torch.no_grad()
    def rehearse(self) -> None:
        """One sequence of every length, forward: what cannot work says so before any work starts."""
        with default_stream(self.seed, "rehearsal"):
            for length in sorted(self.ceilings):
                self._answer(self.task.sample(torch.default_generator, 1, length))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout and random positions of a step depend on (seed, step) alone."""
        torch.manual_seed(stream_seed(self.seed, f"step/{self.global_step}"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; loss and accuracy are logged where the trainer writes a row."""
        logits, targets, loss = self._answer(batch)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            asked = targets != IGNORE
            accuracy = (logits.detach().argmax(-1) == targets)[asked].float().mean()
            self.log_dict({"train/loss": loss.detach(), "train/accuracy": accuracy}, prog_bar=True)
        return loss

    def _evaluate(self, batch: Batch, name: str) -> None:
        logits, targets, loss = self._answer(batch)
        self.accuracies[name].update(logits, targets)
        self.losses[name].update(loss, weight=(targets != IGNORE).sum())

    def _scores(self, name: str, length: int) -> dict[str, float]:
        accuracy, loss = self.accuracies[name].compute().item(), self.losses[name].compute().item()
        scores = {"accuracy": accuracy, "loss": loss, "bits": loss / math.log(2)}
        relative = skill(accuracy, *self.ceilings[length])
        if relative is not None:
            scores["skill"] = relative
        self.accuracies[name].reset()
        self.losses[name].reset()
        return scores

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect accuracy and loss."""
        self._evaluate(batch, "validation")

    def on_validation_epoch_end(self) -> None:
        """Log the scores and, so that charts can show them, the ceilings."""
        length = self.task.length[1]
        scores = self._scores("validation", length)
        self.log_dict({f"validation/{key}": value for key, value in scores.items()}, prog_bar=True)
        ceilings = dict(zip(("ceiling/order_blind", "ceiling/order_aware"), self.ceilings[length], strict=True))
        ceilings |= {f"reference/{key}": value for key, value in self.task.references().items()}
        self.log_dict({key: value for key, value in ceilings.items() if value is not None})

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect accuracy and loss of one test length."""
        self._evaluate(batch, f"test/{self.task.test_lengths[dataloader_idx]}")

    def on_test_epoch_end(self) -> None:
        """Log the scores of every test length as test/<length>/<score>."""
        for length in self.task.test_lengths:
            name = f"test/{length}"
            self.log_dict({f"{name}/{key}": value for key, value in self._scores(name, length).items()})

    def configure_optimizers(self) -> dict:
        """The optimizer under linear warm-up and cosine decay, stepped every step."""
        optimizer = self.optimizer(self.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
