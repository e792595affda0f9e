"""Checkpoints: when they are saved, how they are written, and what is checked before a run goes on from one."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn

from posenc import checks
from posenc.checks import ConfigError
from posenc.runs.files import BEST, LAST, PREVIOUS, RESUMED
from posenc.runs.reading import plain_text, short
from posenc.runs.writing import flush_folder
from posenc.training.checkpoint_file import Damaged, limit, read
from posenc.training.divergence import Diverged
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.loggers.metrics_file import MetricsFile

ENTRIES = {
    "optimizer_states": list, "lr_schedulers": list, "global_step": int, "loops": dict, "callbacks": dict,
}  # fmt: skip
"""The entries that a run needs to go on as if it had not been stopped."""
MINUTES = {"s": 1 / 60, "min": 1.0, "h": 60.0}
AVERAGES = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "sum"}
"""Entries of an optimizer's state that have the shape of the parameter. Other entries have other shapes."""


class Checkpoints(L.Callback):
    """Saves checkpoints in the folder checkpoints/:

        last.ckpt      every `every` steps (or minutes: 10min) and at the end
        previous.ckpt  the last.ckpt before it
        best.ckpt      at the lowest validation loss

    A checkpoint of step t is saved after all work of step t, validation included. It is renamed to last.ckpt when the
    row of step t is in the logs. So a run that goes on from it repeats no logged row and leaves none out, even if the
    process was killed. This must be the last callback, so that it saves the state of all others. If `stop` has received
    a signal, training ends here, after a checkpoint of the current step.
    """

    def __init__(self, folder: Path, every: int | str, stop: GracefulStop) -> None:
        self.steps, self.minutes = interval(every)
        self.folder, self.stop, self.best = folder, stop, float("inf")
        self._taken = time.monotonic()

    def _due(self, trainer: L.Trainer) -> bool:
        step = trainer.global_step
        if self.stop.stopping or trainer.should_stop or step == trainer.max_steps:
            return True
        if self.minutes is None:
            return self.steps > 0 and step % self.steps == 0
        over = time.monotonic() - self._taken >= 60 * self.minutes
        return trainer.strategy.reduce_boolean_decision(over, all=False) if trainer.world_size > 1 else over

    def _take(self, trainer: L.Trainer) -> None:
        self._taken = time.monotonic()
        if not all(bool(torch.isfinite(weight).all()) for weight in trainer.lightning_module.parameters()):
            raise Diverged("weights that are not finite after the update", trainer)
        trainer.save_checkpoint(self.folder / "next.ckpt")

    def _publish(self, trainer: L.Trainer) -> None:
        """Rename the saved checkpoint to last.ckpt. The logs now contain all rows up to its step."""
        taken, last = self.folder / "next.ckpt", self.folder / LAST
        if not trainer.is_global_zero or not taken.exists():
            return
        for logger in trainer.loggers:
            logger.save()
            if isinstance(logger, MetricsFile):
                logger.flush()
        if last.exists():
            last.replace(self.folder / PREVIOUS)
        taken.replace(last)
        flush_folder(self.folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete a checkpoint that a killed process has saved but not renamed."""
        if trainer.is_global_zero:
            self.folder.mkdir(exist_ok=True)
            (self.folder / "next.ckpt").unlink(missing_ok=True)
            best = self.folder / BEST
            with suppress(Damaged, OSError):
                if best.exists() and read(best)["global_step"] > trainer.global_step:  # from steps that are run again
                    best.unlink()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save a checkpoint if one is due, unless a validation follows."""
        if trainer.global_step % int(trainer.val_check_batch or 1) and self._due(trainer):
            self._take(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save best.ckpt if the validation loss is the lowest so far; save a checkpoint if one is due."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        loss = float(trainer.callback_metrics["validation/loss"])
        if not math.isfinite(loss):
            raise Diverged(f"validation loss {loss}", trainer)
        if loss < self.best:
            self.best = loss
            trainer.save_checkpoint(self.folder / BEST)
        if self._due(trainer):
            self._take(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """The logs contain all rows of the step before, so rename its checkpoint. Stop if a signal was received."""
        # Lightning's count of rows is one too low if a run goes on from a validation that is no longer due.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        self._publish(trainer)
        if self.stop.stopping:
            assert self.stop.received is not None
            raise Interrupted(self.stop.received)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rename the last checkpoint. Save it first if training ended early, before the number of steps."""
        self._publish(trainer)
        if not trainer.strategy.broadcast(self._holds(trainer, pl_module)):
            self._take(trainer)
            self._publish(trainer)

    def _holds(self, trainer: L.Trainer, module: L.LightningModule) -> bool:
        """Whether last.ckpt has this step and the weights that will be tested."""
        if not trainer.is_global_zero:
            return True
        try:
            state = read(self.folder / LAST)
        except (Damaged, OSError):
            return False
        theirs = state["state_dict"]
        return state["global_step"] == trainer.global_step and all(
            torch.equal(theirs[name], weight.cpu()) for name, weight in module.state_dict().items()
        )

    def state_dict(self) -> dict[str, Any]:
        """The lowest validation loss so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the lowest validation loss so far."""
        self.best = state_dict["best"]

    def last_good(self) -> str:
        """A sentence that names the last good checkpoint of a run that diverged."""
        for name in RESUMED:
            with suppress(Damaged, OSError):
                step = read(self.folder / name)["global_step"]
                return f"the last good checkpoint is checkpoints/{name}, of step {step}"
        return "no checkpoint was taken before that"


def interval(every: int | str) -> tuple[int, float | None]:
    """(steps, None), or (0, minutes) if `every` is a time such as 10min, 30s or 2h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", every) if isinstance(every, str) else None
    if found is not None:
        minutes = float(found[1]) * MINUTES[found[2]]
        checks.number("trainer", low=0, open_low=True, checkpoint_every=minutes)
        return 0, minutes
    if isinstance(every, str):
        raise ConfigError(
            f"trainer: checkpoint_every must be a number of steps or a time such as 30s, 10min or 2h, got {every!r}."
        )
    checks.positive("trainer", minimum=0, checkpoint_every=every)
    return every, None


def load_weights(path: str, module: L.LightningModule) -> None:
    """Load only the weights at `path` into `module`. Raises ConfigError if they do not fit it."""
    try:
        module.load_state_dict(check_weights(path, module)["state_dict"])
    except ConfigError as error:
        raise ConfigError(str(error).replace("ckpt_path=", "start_from=", 1)) from error


def read_weights(path: str, module: L.LightningModule, named: bool = True) -> dict[str, Any]:
    """The entries of the checkpoint at `path`. Raises ConfigError if it has no weights or is too large for `module`.

    named  whether the user gave the path. Then it may be a link; a link inside a run folder is refused
    """
    try:
        state = read(Path(path), limit(module), follow=named)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"ckpt_path={path} does not exist; checkpoints are in <run folder>/checkpoints/.") from error
    except (Damaged, OSError) as error:
        instead = "; copy it again, or give another file of its folder" if named else ""
        raise ConfigError(f"ckpt_path={path} is not a whole checkpoint of posenc ({error}){instead}.") from error
    _complete(path, state, {"state_dict": dict})
    return state


def check_weights(path: str, module: L.LightningModule, named: bool = True) -> dict[str, Any]:
    """The result of `read_weights`. Raises ConfigError if the weights do not fit `module`."""
    state = read_weights(path, module, named)
    _same_tensors(path, state["state_dict"], module.state_dict())
    return state


def check_checkpoint(path: str, module: L.LightningModule, named: bool = True) -> int:
    """The step of the checkpoint at `path`. Raises ConfigError if the training of `module` cannot go on from it."""
    state = check_weights(path, module, named)
    _complete(path, state, ENTRIES)
    _same_optimizer(path, state["optimizer_states"], module)
    return state["global_step"]


def _complete(path: str, state: dict[str, Any], entries: Mapping[str, type]) -> None:
    lacking = [name for name, kind in entries.items() if not isinstance(state.get(name), kind)]
    if lacking:
        raise ConfigError(f"ckpt_path={path} is no checkpoint of posenc: it has no {' and no '.join(lacking)}.")


def _same_tensors(path: str, theirs: dict[str, Any], own: dict[str, torch.Tensor]) -> None:
    again = "use the encoding and model of the run that wrote it (its .hydra/config.yaml)."
    if list(theirs) != list(own):
        odd = sorted(set(theirs) ^ set(own), key=str)
        raise ConfigError(
            f"ckpt_path={path} belongs to another architecture: {len(odd)} tensors differ in name, such as "
            f"{short(plain_text(str(next(iter(odd), 'their order'))))}; {again}"
        )
    for name, tensor in own.items():
        other = theirs[name]
        if not isinstance(other, torch.Tensor):
            raise ConfigError(f"ckpt_path={path} is no checkpoint of posenc: {name} is a {type(other).__name__}.")
        if other.shape != tensor.shape:
            raise ConfigError(
                f"ckpt_path={path} belongs to another architecture: {name} is {tuple(other.shape)} there and "
                f"{tuple(tensor.shape)} here; {again}"
            )


def _same_optimizer(path: str, states: Sequence[Any], module: L.LightningModule) -> None:
    """Raise ConfigError if the saved state does not fit this optimizer and these shapes. Lightning does not check."""
    optimizer = getattr(module, "optimizer", None)
    if optimizer is None:
        return
    (own,) = optimizer(module.parameters()).param_groups
    try:
        (state,) = states
        (group,) = state["param_groups"]
        same = set(own) <= set(group) and len(group["params"]) == len(own["params"])
        for number, values in state["state"].items():
            shape = own["params"][number].shape
            same &= all(values[name].shape == shape for name in AVERAGES & set(values))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        same = False
    if not same:
        raise ConfigError(
            f"ckpt_path={path} contains the state of another optimizer; use the optimizer of its run (in "
            ".hydra/config.yaml)."
        )


def usable(candidates: Sequence[Path], module: L.LightningModule) -> tuple[Path | None, int, list[str]]:
    """(the first checkpoint that `module` can go on from, its step, what is wrong with the candidates before it)."""
    wrong = []
    for path in candidates:
        try:
            return path, check_checkpoint(str(path), module, named=False), wrong
        except ConfigError as error:
            wrong.append(str(error).removeprefix("ckpt_path="))
    return None, 0, wrong
