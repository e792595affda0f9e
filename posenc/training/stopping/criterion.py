"""When a run is done. Then its learning rate falls to zero over a fixed number of steps, and the run ends.

The criterion is Lightning's EarlyStopping. When EarlyStopping would end the training, the decay of the learning rate
begins instead. If that does not happen in time, the decay takes the last steps of the budget, trainer.max_steps. So all
runs end with the same decay, and their test scores can be compared even if they end at different steps.
"""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import skill as skill_of
from posenc.training.module import SequenceModule
from posenc.training.stopping.milestones import ROUNDING, SKILL
from posenc.training.stopping.schedule import warmup_decay

NEVER = sys.maxsize


class Criterion(EarlyStopping):
    """Starts the decay when EarlyStopping would have ended the training at `times` validations in a row.

    decay_steps  steps of the decay
    least        the lowest number of validations that the criterion needs
    others       arguments of EarlyStopping

    The state is in the checkpoint, so a resumed run goes on with its decay. It depends only on gathered scores, so all
    processes of a run have the same state.
    """

    def __init__(self, decay_steps: int, least: int, times: int = 1, **others: Any) -> None:
        checks.positive(self, decay_steps=decay_steps, times=times)
        super().__init__(check_on_train_epoch_end=False, check_finite=False, **others)
        self.decay_steps, self.least, self.times = decay_steps, least, times
        self.stopped: int | None = None
        self._streak, self._last = 0, NEVER

    def take(self, module: SequenceModule, trainer: L.Trainer) -> None:
        """Give `module` the schedule. Raises ConfigError if this run is too short for the criterion."""
        steps, every = trainer.max_steps, int(trainer.val_check_interval)
        constant = steps - self.decay_steps
        if self.least * every > constant:
            raise ConfigError(
                f"stop: {type(self).__name__} needs {self.least} validations before the decay, one every {every} steps "
                f"(trainer.validate_every); the decay takes the last {self.decay_steps} (stop.decay_steps) of "
                f"trainer.max_steps={steps}, so {max(0, constant)} are left; raise trainer.max_steps, or lower "
                "trainer.validate_every or stop.decay_steps."
            )
        self._last = constant
        module.schedule = self.share

    @property
    def begin(self) -> int:
        """The step at which the decay begins: when the run is done, or `decay_steps` before the end of the budget."""
        return self._last if self.stopped is None else min(self.stopped, self._last)

    def share(self, step: int, warmup: int, total: int) -> float:
        """The share of the peak learning rate at `step`."""
        return warmup_decay(step, warmup, self.begin, self.decay_steps)

    def censored(self, step: int) -> bool | None:
        """Whether the budget ended before the run was done; None if this is not decided at `step`."""
        if self.stopped is not None:
            return False
        return True if step >= self._last else None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask EarlyStopping, unless the decay has begun. Begin the decay after `times` positive answers in a row."""
        over = self.stopped is not None or trainer.global_step > self._last
        if trainer.state.fn != TrainerFn.FITTING or over:
            return
        others, trainer.should_stop = trainer.should_stop, False
        super().on_validation_end(trainer, pl_module)
        met, trainer.should_stop = trainer.should_stop, others
        self._streak = self._streak + 1 if met else 0
        if self._streak >= self.times:
            self.stopped = trainer.global_step
            self._set_end(trainer)

    def _set_end(self, trainer: L.Trainer) -> None:
        """Set trainer.max_steps to the end of the decay. `should_stop` would make one more validation."""
        trainer.fit_loop.epoch_loop.max_steps = self.begin + self.decay_steps

    def state_dict(self) -> dict[str, Any]:
        """EarlyStopping's state, the number of positive answers in a row, and the step at which the run was done."""
        return super().state_dict() | {"streak": self._streak, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, also during the decay."""
        super().load_state_dict(state_dict)
        self._streak, self.stopped = state_dict["streak"], state_dict["stopped"]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set the end of a run whose decay has begun. Lightning needs it before training and does not save it."""
        self.stopped = checkpoint["callbacks"].get(self.state_key, {}).get("stopped")
        if self.stopped is not None:
            self._set_end(trainer)


class Solved(Criterion):
    """The run is done when validation skill is `skill` or more in `times` validations in a row.

    decay_steps  steps of the decay after that
    """

    def __init__(self, skill: float = 0.99, times: int = 2, decay_steps: int = 200) -> None:
        checks.number(self, low=0, high=1, open_low=True, skill=skill)
        super().__init__(
            decay_steps, least=times, times=times, monitor=SKILL, mode="max", patience=NEVER,
            stopping_threshold=skill - ROUNDING,  # EarlyStopping stops only above its threshold
        )  # fmt: skip

    def take(self, module: SequenceModule, trainer: L.Trainer) -> None:
        """Give `module` the schedule. Raises ConfigError if the task has no skill."""
        length = module.task.length[1]
        if skill_of(1.0, *module.ceilings[length]) is None:
            raise ConfigError(
                f"stop=solved needs a validation skill, but {module.task} has none at length {length} with this "
                "model, because its ceilings are unknown or equal; write stop=plateau, which uses the loss."
            )
        super().take(module, trainer)


class Plateau(Criterion):
    """The run is done when validation loss has not fallen by more than `min_delta` in `patience` validations in a row.

    It does not distinguish a plateau before the task is learned from a plateau after it is learned.

    decay_steps  steps of the decay after that
    """

    def __init__(self, patience: int = 2, min_delta: float = 0.005, decay_steps: int = 200) -> None:
        checks.positive(self, patience=patience)
        checks.number(self, low=0, min_delta=min_delta)
        super().__init__(
            decay_steps, least=patience + 1, monitor="validation/loss", mode="min", patience=patience,
            min_delta=min_delta,
        )  # fmt: skip
