"""The LightningModule: loss, metrics, optimizer."""

from collections.abc import Callable, Iterable

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from posenc import checks
from posenc.checks import ConfigError
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from posenc.positions.schemes import PositionScheme
from posenc.streams import generator, stream_seed
from posenc.tasks.base import IGNORE, Task, skill
from posenc.training.divergence import check_gradient
from posenc.training.evaluation.ceilings import achievable
from posenc.training.evaluation.enough import enough
from posenc.training.evaluation.sets import Batch
from posenc.training.scores import Scores
from posenc.training.stopping.schedule import Schedule, warmup_cosine

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class SequenceModule(L.LightningModule):
    """Trains an encoder on a task with cross-entropy; logs accuracy, skill and the ceilings.

    optimizer     makes an optimizer from parameters
    warmup_steps  steps of linear warm-up; then `schedule`, by default a cosine to zero at the trainer's last step
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
        task.check_mask(encoder.causal)
        self.encoder, self.positions, self.task = encoder, positions, task
        self.optimizer, self.seed, self.warmup_steps = optimizer, seed, warmup_steps
        self.schedule: Schedule = warmup_cosine
        self.ceilings, self.references = achievable(task, encoder)
        self.trained_tokens = task.tokens(task.length[1]) + encoder.extra_positions
        positions.trained_at(self.trained_tokens)
        encoder.trained_at(self.trained_tokens, positions.reach(self.trained_tokens))
        self.undefined: dict[int, str] = {}
        self.validation = Scores(self._places(task.length[1]))
        self.tests = nn.ModuleDict({str(length): Scores(self._places(length)) for length in task.test_lengths})
        self.by_position: list[dict[str, float]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits. The position scheme places the tokens."""
        positions = self.place(tokens)
        if self.training and self.global_rank:  # all ranks draw the same positions; each rank has its own dropout
            torch.manual_seed(stream_seed(self.seed, f"step/{self.global_step}/rank/{self.global_rank}"))
        return self.encoder(tokens, positions)

    def place(self, tokens: Tensor) -> Positions:
        """The positions of these tokens and of the read-out's own token."""
        return self.positions(tokens, training=self.training, extra=self.encoder.extra_positions)

    def _places(self, length: int) -> int | None:
        """How many tokens a sequence of this length has, if each token has an answer; otherwise None."""
        _, targets = self.task.sample(generator(0, "places"), 1, length)
        return targets.shape[1] if targets.ndim == 2 else None

    @property
    def test_lengths(self) -> list[int]:
        """The test lengths at which the encoding is defined."""
        return [length for length in self.task.test_lengths if length not in self.undefined]

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits in float32, and targets. Raises ConfigError if the read-out does not fit the task's targets."""
        tokens, targets = batch
        logits = self(tokens)
        if logits.shape[:-1] != targets.shape:
            asked = "one answer a token" if targets.ndim == 2 else "one answer a sequence"
            fit = "per_token" if targets.ndim == 2 else "mean, last or query"
            raise ConfigError(f"{self.task} asks {asked}; set model.readout={fit}, not {self.encoder.readout}.")
        return logits.float(), targets

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed torch, so that dropout and random positions of a step depend only on (seed, step)."""
        torch.manual_seed(stream_seed(self.seed, f"step/{self.global_step}"))

    @property
    def logs_this_step(self) -> bool:
        """Whether the trainer writes a row after this step."""
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # pyright: ignore[reportAttributeAccessIssue]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch. Loss, accuracy and learning rate are logged at steps at which the trainer writes a row."""
        logits, targets = self.answer(batch)
        loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE)
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
        self._loss = loss.detach()
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradient's norm to `gradient_clip_val`, if it is set. Raises Diverged if the norm is not finite."""
        if gradient_clip_val is None:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        else:
            norm = nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        check_gradient(self.trainer, norm, self._loss)

    def _weight(self, targets: Tensor) -> Tensor | None:
        """w = asked · processes / Σ asked. The mean of w · loss over processes is then the loss over all targets."""
        if self.trainer.world_size == 1:
            return None
        asked = (targets != IGNORE).sum().float()
        return asked * self.trainer.world_size / self.trainer.strategy.reduce(asked.clone(), reduce_op="sum")

    def _scores(self, values: dict[str, float], length: int) -> dict[str, float]:
        blind, aware = self.ceilings[length]
        relative = skill(values["accuracy"], blind, aware)
        if relative is None or blind is None or aware is None:
            return values
        error = values["accuracy_standard_error"] / (aware - blind)
        return values | {"skill": relative, "skill_standard_error": error}

    def _log_epoch(self, values: dict[str, float]) -> None:
        """Log values that are equal in all processes, because scores are gathered. `sync_dist` silences a warning."""
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect accuracy and loss."""
        self.validation(*self.answer(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores, and the ceilings for charts."""
        length = self.task.length[1]
        scores = self._scores(self.validation.compute(), length)
        self._log_epoch({f"validation/{key}": value for key, value in scores.items()})
        ceilings = dict(zip(("ceiling/order_blind", "ceiling/order_aware"), self.ceilings[length], strict=True))
        ceilings |= {f"reference/{key}": value for key, value in self.references.items()}
        self._log_epoch({key: value for key, value in ceilings.items() if value is not None})

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect accuracy and loss of one test length."""
        self._test_scores(self.test_lengths[dataloader_idx])(*self.answer(batch))

    def on_test_epoch_end(self) -> None:
        """Log the scores of each test length as test/<length>/<score>; keep scores of each place in `by_position`."""
        self.by_position = []
        # Without its own step the row would have Lightning's, which is one too low if a run is resumed after its end.
        self._log_epoch({"step": float(self.global_step)})
        for length in self.test_lengths:
            scores = self._test_scores(length)
            values = self._scores(scores.compute(), length)
            self._log_epoch({f"test/{length}/{key}": value for key, value in values.items()})
            self.by_position += [{"length": length} | self._a_byte(row) for row in scores.by_place()]

    def _a_byte(self, row: dict[str, float]) -> dict[str, float]:
        """The scores of a place, and bits per byte if the task knows how many bytes a token has."""
        size = self.references.get("bytes_per_token")
        bits = {f"bits_per_byte{of}": row[f"bits{of}"] / size for of in ("", "_standard_error")} if size else {}
        return row | bits

    def _test_scores(self, length: int) -> Scores:
        scores = self.tests[str(length)]
        assert isinstance(scores, Scores)
        return scores

    def known(self, length: int, error: float) -> bool:
        """Whether the test batches so far are `enough` for the skill at `length`. All processes get the same answer."""
        return enough(self._scores(self._test_scores(length).now(), length), error)

    def configure_optimizers(self) -> dict:
        """The optimizer and the schedule of its learning rate, which changes every step."""
        optimizer = self.optimizer(self.parameters())
        # A fused optimizer says that it unscales float16's gradients itself. Lightning would then refuse to clip them.
        optimizer._step_supports_amp_scaling = False  # pyright: ignore[reportAttributeAccessIssue]
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: self.schedule(step, self.warmup_steps, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
