"""When a run first reached some levels of validation skill."""

from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

SKILL = "validation/skill"
LEVELS = {".5": 0.5, ".9": 0.9, ".99": 0.99}
"""The levels, by their names in result.json."""
ROUNDING = 1e-6
"""Skill is a float32 number. A skill that is below a level by less than this counts as reaching it."""


class Milestones(L.Callback):
    """For each of `LEVELS` the step of the first validation whose skill was at least that level.

    Skill is known only at validations, so a step is exact to within `trainer.validate_every`.
    """

    def __init__(self) -> None:
        self.first: dict[str, int] = {}
        self._from_the_start, self._has_skill = True, False

    @property
    def steps(self) -> dict[str, int | None] | None:
        """The step for each level; None for a level that was not reached.

        None instead of all if no validation had a skill, or if the run began with a version of posenc without this.
        """
        if not self._has_skill or not self._from_the_start:
            return None
        return {name: self.first.get(name) for name in LEVELS}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the levels that were reached for the first time."""
        if trainer.state.fn != TrainerFn.FITTING or SKILL not in trainer.callback_metrics:
            return
        self._has_skill = True
        skill = float(trainer.callback_metrics[SKILL])
        for name, level in LEVELS.items():
            if skill >= level - ROUNDING:
                self.first.setdefault(name, trainer.global_step)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether the checkpoint has the earlier steps. Checkpoints of earlier versions of posenc do not."""
        self._from_the_start = self.state_key in checkpoint["callbacks"]

    def state_dict(self) -> dict[str, Any]:
        """The steps so far, and whether none is missing."""
        return {"first": dict(self.first), "from_the_start": self._from_the_start, "has_skill": self._has_skill}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the steps so far."""
        self.first = dict(state_dict["first"])
        self._from_the_start, self._has_skill = state_dict["from_the_start"], state_dict["has_skill"]
