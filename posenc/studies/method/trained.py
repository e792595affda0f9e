"""Trainings inside a study, with the data, loss, optimizer and schedule of train.py, but without files."""

import logging
from dataclasses import dataclass
from functools import partial

import lightning as L
import torch
from torch.optim import AdamW

from posenc import checks
from posenc.checks import ConfigError
from posenc.model.encoder import Encoder
from posenc.positions.schemes import PositionScheme
from posenc.tasks.base import IGNORE, Task, skill
from posenc.training.data import SequenceData
from posenc.training.divergence import Diverged, StopOnDivergence
from posenc.training.dry_run import dry_run
from posenc.training.evaluation.sets import evaluation_set
from posenc.training.module import SequenceModule

Row = tuple[str, str, float, int, float]
"""(quantity, arm, at, seed, value), a row of posenc.statistics.measurements.Measurements."""


@dataclass(frozen=True)
class Recipe:
    """How the arms of a study are trained: AdamW, linear warm-up, cosine to zero, gradients clipped at norm 1.

    lr            the peak learning rate, reached after `warmup_steps`
    eval_size     sequences in each test set
    """

    steps: int
    batch_size: int
    lr: float
    warmup_steps: int = 100
    eval_size: int = 2000

    def __post_init__(self) -> None:
        """Check the options."""
        checks.positive(self, steps=self.steps, batch_size=self.batch_size, eval_size=self.eval_size)
        checks.positive(self, minimum=0, warmup_steps=self.warmup_steps)
        checks.number(self, low=0, open_low=True, lr=self.lr)


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    skills    {test length: skill}; of a diverged training 0, the skill of a guess
    diverged  whether the loss became NaN or infinite
    """

    module: SequenceModule
    skills: dict[int, float]
    diverged: bool


def fit(
    encoder: Encoder, task: Task, seed: int, recipe: Recipe, *, lr: float | None = None, train_size: int | None = None
) -> Trained:
    """Train `encoder` on `task`. `lr` replaces that of the recipe; `train_size` limits the training set."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # silences the notices of every training
    optimizer = partial(AdamW, lr=recipe.lr if lr is None else lr, weight_decay=0.01)
    module = SequenceModule(encoder, PositionScheme(), task, optimizer, seed, recipe.warmup_steps)
    dry_run(module, torch.device("cpu"))
    if skill(1.0, *module.ceilings[task.length[1]]) is None:
        raise ConfigError(
            f"{task} has no skill under this mask and read-out, because its ceilings are "
            f"{module.ceilings[task.length[1]]}; choose another dataset, or the dataset's own mask and read-out."
        )
    data = SequenceData(task, seed, batch_size=recipe.batch_size, eval_size=recipe.eval_size, train_size=train_size)
    data.test_lengths = module.test_lengths
    trainer = L.Trainer(
        max_steps=recipe.steps,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        accelerator="cpu",
        callbacks=[StopOnDivergence()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    diverged = False
    try:
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
    except Diverged:
        diverged = True
    scores = {} if diverged else trainer.callback_metrics
    skills = {n: float(scores.get(f"test/{n}/skill", 0.0)) for n in module.test_lengths}
    module.eval()
    return Trained(module, skills, diverged)


@torch.no_grad()
def skill_now(module: SequenceModule, length: int, size: int) -> float:
    """The skill of a module with its hooks, on the first `size` sequences of a test set."""
    tokens, targets = evaluation_set(module.task, "test", length, size)
    right = (module(tokens).argmax(-1) == targets)[targets != IGNORE].double().mean()
    value = skill(float(right), *module.ceilings[length])
    assert value is not None, f"{module.task} has no ceilings at length {length}"
    return value
