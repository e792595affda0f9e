"""The LightningModule: loss, metrics, optimizer."""

import math
from collections.abc import Callable, Iterable

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from posenc import checks
from posenc.checks import ConfigError
from posenc.data import Batch
from posenc.encoder import Encoder
from posenc.positions import Positions
from posenc.schemes import PositionScheme
from posenc.streams import default_stream, stream_seed
from posenc.tasks.base import IGNORE, Task, skill

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The share of the peak learning rate at `step`: linear up to it over `warmup` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


class Scores(nn.Module):
    """Accuracy and loss over one evaluation set; both count asked targets, each once."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(num_outputs, average="micro", ignore_index=IGNORE, validate_args=False)
        self.loss = MeanMetric()
        self.share, self.square = MeanMetric(), MeanMetric()  # of right answers in a sequence
        self.exact = MeanMetric()  # sequences with no wrong answer
        self.sequences = SumMetric()
        self.per_token = False

    def forward(self, logits: Float[Tensor, "B *N C"], targets: Int[Tensor, "B *N"], loss: Tensor) -> None:
        """Take in a batch."""
        asked = targets.flatten(1) != IGNORE if targets.ndim > 1 else (targets != IGNORE)[:, None]
        right = (logits.argmax(-1) == targets).reshape(asked.shape) & asked
        share = (right.sum(1) / asked.sum(1))[asked.any(1)]
        self.accuracy.update(logits.flatten(0, -2), targets.flatten())
        self.loss.update(loss, weight=asked.sum())
        self.share.update(share)
        self.square.update(share.square())
        self.exact.update((share == 1).float())
        self.per_token = targets.ndim > 1
        self.sequences.update(len(share))

    def compute(self) -> dict[str, float]:
        """accuracy and its standard error; loss in nats and in bits a target; exact_match. Starts anew afterwards.

        Sequences are independent and the tokens of one are not, so the error is that of a mean over sequences:
        √((E[s²] − E[s]²) / n), s the share of right answers in one of n sequences; √(p(1 − p)/n) where each sequence
        asks one thing. exact_match, where a sequence asks several, is the share of sequences with no wrong answer.
        """
        metrics = (self.accuracy, self.loss, self.share, self.square, self.exact, self.sequences)
        accuracy, loss, share, square, exact, sequences = (metric.compute().item() for metric in metrics)
        for metric in metrics:
            metric.reset()
        error = math.sqrt(max(0.0, square - share**2) / sequences)
        scores = {"accuracy": accuracy, "accuracy_standard_error": error, "loss": loss, "bits": loss / math.log(2)}
        return scores | ({"exact_match": exact} if self.per_token else {})


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
        self.validation = Scores(task.num_outputs)
        self.tests = nn.ModuleList(Scores(task.num_outputs) for _ in task.test_lengths)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, at positions drawn by the scheme."""
        positions = self.place(tokens)
        if self.training and self.global_rank:  # positions are those of the whole batch, dropout this rank's own
            torch.manual_seed(stream_seed(self.seed, f"step/{self.global_step}/rank/{self.global_rank}"))
        return self.encoder(tokens, positions)

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
        logits = logits.float()
        return logits, targets, F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE)

    @torch.no_grad()
    def rehearse(self) -> None:
        """One sequence of every length, forward, and the optimizer: what cannot work says so before any work starts."""
        try:
            self.optimizer(self.parameters())
        except (TypeError, ValueError) as error:
            raise ConfigError(f"optimizer: {error}.") from error
        with default_stream(self.seed, "rehearsal"):
            for length in sorted(self.ceilings):
                self._answer(self.task.sample(torch.default_generator, 1, length))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout and random positions of a step depend on (seed, step) alone."""
        torch.manual_seed(stream_seed(self.seed, f"step/{self.global_step}"))

    @property
    def logs_this_step(self) -> bool:
        """Whether the trainer writes a row after the step in hand."""
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # pyright: ignore[reportAttributeAccessIssue]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; loss, accuracy and learning rate are logged where the trainer writes a row."""
        logits, targets, loss = self._answer(batch)
        weight = self._weight(targets)
        if weight is not None:
            loss = loss * weight
        if self.logs_this_step:
            asked = targets != IGNORE
            accuracy = (logits.detach().argmax(-1) == targets)[asked].float().mean()
            accuracy = accuracy if weight is None else accuracy * weight
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            rows = {"train/loss": loss.detach(), "train/accuracy": accuracy, "train/learning_rate": rate}
            self.log_dict(rows, sync_dist=weight is not None)
        return loss

    def _weight(self, targets: Tensor) -> Tensor | None:
        """w = asked · processes / Σ asked, so that the mean of w · loss over processes is that over all targets."""
        if self.trainer.world_size == 1:
            return None
        asked = (targets != IGNORE).sum().float()
        return asked * self.trainer.world_size / self.trainer.strategy.reduce(asked.clone(), reduce_op="sum")

    def _scores(self, scores: "Scores", length: int) -> dict[str, float]:
        values = scores.compute()
        relative = skill(values["accuracy"], *self.ceilings[length])
        return values if relative is None else values | {"skill": relative}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect accuracy and loss."""
        self.validation(*self._answer(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores and, so that charts can show them, the ceilings."""
        length = self.task.length[1]
        scores = self._scores(self.validation, length)
        self.log_dict({f"validation/{key}": value for key, value in scores.items()})
        ceilings = dict(zip(("ceiling/order_blind", "ceiling/order_aware"), self.ceilings[length], strict=True))
        ceilings |= {f"reference/{key}": value for key, value in self.task.references().items()}
        self.log_dict({key: value for key, value in ceilings.items() if value is not None})

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect accuracy and loss of one test length."""
        self.tests[dataloader_idx](*self._answer(batch))

    def on_test_epoch_end(self) -> None:
        """Log the scores of every test length as test/<length>/<score>."""
        for length, scores in zip(self.task.test_lengths, self.tests, strict=True):
            assert isinstance(scores, Scores)
            self.log_dict({f"test/{length}/{key}": value for key, value in self._scores(scores, length).items()})

    def configure_optimizers(self) -> dict:
        """The optimizer under linear warm-up and cosine decay, stepped every step."""
        optimizer = self.optimizer(self.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
