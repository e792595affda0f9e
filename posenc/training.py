"""The Lightning trainer as posenc uses it: counted in steps, checkpointed atomically, stopped gracefully."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerFn

from posenc import checks
from posenc.checks import ConfigError
from posenc.precision import LinearBfloat16, automatic

PRECISIONS = ("auto", "32-true", "64-true", "16-mixed", "bf16-linear", "bf16-mixed", "bf16-true")


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


class StopOnDivergence(L.Callback):
    """Ends the run at the first loss that is infinite or not a number."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Raise `Diverged`, naming step and learning rate."""
        finite = bool(torch.isfinite(outputs["loss"]))
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise Diverged(f"loss {outputs['loss'].item()} at step {trainer.global_step}, learning rate {rate:.3g}")


class Checkpoints(L.Callback):
    """checkpoints/last.ckpt every `every` steps and at the end, checkpoints/best.ckpt by validation loss.

    Each is written beside its place and renamed, so that an interrupted write leaves the one before.
    """

    def __init__(self, folder: Path, every: int) -> None:
        checks.positive("trainer", minimum=0, checkpoint_every=every)
        self.folder, self.every, self.best = folder, every, float("inf")

    def _save(self, trainer: L.Trainer, name: str) -> None:
        self.folder.mkdir(exist_ok=True)
        for logger in trainer.loggers:  # what is logged up to here must be on disk for a run that goes on from here
            logger.save()
        part = self.folder / f"{name}.ckpt.part"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.folder / f"{name}.ckpt")

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save `last` where its turn has come."""
        if self.every and trainer.global_step % self.every == 0:
            self._save(trainer, "last")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save `best` where the validation loss is the lowest so far."""
        loss = float(trainer.callback_metrics["validation/loss"])
        if trainer.state.fn == TrainerFn.FITTING and loss < self.best:
            self.best = loss
            self._save(trainer, "best")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save `last`, also when the run was asked to stop."""
        self._save(trainer, "last")

    def state_dict(self) -> dict[str, Any]:
        """The lowest validation loss so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the lowest validation loss so far."""
        self.best = state_dict["best"]


class Stopwatch(L.Callback):
    """Seconds and tokens of training alone, evaluation and figures left out; a run that goes on counts on."""

    def __init__(self) -> None:
        self.seconds, self.tokens, self._began = 0.0, 0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        """Start the watch."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Stop the watch."""
        self.seconds += time.perf_counter() - self._began
        self.tokens += batch[0].numel() * trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        """Seconds and tokens so far."""
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from what the checkpoint says."""
        self.seconds, self.tokens = state_dict["seconds"], state_dict["tokens"]


def make_trainer(
    folder: Path,
    callbacks: Sequence[L.Callback] = (),
    logger: Sequence[Logger] = (),
    environment: ClusterEnvironment | None = None,
    max_steps: int = 1000,
    validate_every: int = 250,
    checkpoint_every: int = 500,
    log_every: int = 50,
    precision: str = "auto",
    gradient_clip: float | None = 1.0,
    accelerator: str = "auto",
    devices: int = 1,
) -> L.Trainer:
    """A trainer of `max_steps` steps that validates, checkpoints and logs every so many of them.

    Several devices divide each batch among processes that `environment` knows (Lightning's DDP). `precision` is
    Lightning's, or `bf16-linear`, or `auto` (see posenc.precision).
    """
    checks.positive("trainer", max_steps=max_steps, validate_every=validate_every, log_every=log_every, devices=devices)
    checks.one_of("trainer", PRECISIONS, precision=precision)
    if not isinstance(accelerator, str):
        raise ConfigError(f"trainer: accelerator must be a word such as auto, cpu or gpu, got {accelerator!r}.")
    if gradient_clip is not None:
        checks.number("trainer", low=0, open_low=True, gradient_clip=gradient_clip)
    precision = automatic(accelerator) if precision == "auto" else precision
    plugins: list[Any] = [] if environment is None else [environment]  # else Lightning would look for SLURM's
    if precision == LinearBfloat16.precision:
        plugins.append(LinearBfloat16())
    try:
        return L.Trainer(
            default_root_dir=folder,
            callbacks=[StopOnDivergence(), Checkpoints(folder / "checkpoints", checkpoint_every), *callbacks],
            logger=list(logger),
            max_steps=max_steps,
            val_check_interval=validate_every,
            check_val_every_n_epoch=None,
            log_every_n_steps=log_every,
            precision=None if precision == LinearBfloat16.precision else precision,  # pyright: ignore[reportArgumentType]
            gradient_clip_val=gradient_clip,
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            plugins=plugins or None,
            use_distributed_sampler=False,  # posenc.shares divides batches, and pads none
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {error}") from error


class Interrupted(Exception):
    """The run was asked to stop by a signal; it is `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class GracefulStop(L.Callback):
    """The first SIGINT or SIGTERM ends training after the step in hand; the second ends the process at once.

    Active inside `listening()`. Outside of `fit` the first signal raises `Interrupted` where it arrives.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._trainer: L.Trainer | None = None

    def _handle(self, signum: int, frame: Any) -> None:
        self.received = signum
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._trainer is None or self._trainer.state.fn != TrainerFn.FITTING:
            raise Interrupted(signum)
        if self._trainer.world_size == 1:
            self._trainer.should_stop = True

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Of several processes none may stop alone: they end after the same step once one was asked to."""
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.should_stop = True
            self.received = self.received or signal.SIGTERM

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers there only
            for each in self.SIGNALS:
                signal.signal(each, self._handle)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals inside; restore the handlers afterwards."""
        before = {each: signal.getsignal(each) for each in self.SIGNALS}
        self._listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for each, handler in before.items():
                    signal.signal(each, handler)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take SIGTERM back from Lightning, which sets a handler of its own when `fit` begins."""
        self._trainer = trainer
        if self.received is None:
            self._listen()


def check_checkpoint(path: str, module: L.LightningModule) -> None:
    """One clear error if `path` cannot be loaded into `module`; nothing but plain values and tensors is unpickled."""
    if not Path(path).is_file():
        raise ConfigError(f"ckpt_path={path} does not exist; checkpoints are in <run folder>/checkpoints/.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises a dozen types for the many ways a file can be broken
        reason = str(error).splitlines()[0]
        raise ConfigError(f"ckpt_path={path} is not a whole checkpoint of posenc ({reason}).") from error
    own = module.state_dict()
    if list(state) != list(own):
        odd = sorted(set(state) ^ set(own))
        raise ConfigError(
            f"ckpt_path={path} belongs to another architecture: {len(odd)} tensors differ in name, such as {odd[0]}; "
            "use the encoding and model of the run that wrote it (its .hydra/config.yaml)."
        )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise ConfigError(
                f"ckpt_path={path} belongs to another architecture: {name} is {tuple(state[name].shape)} there and "
                f"{tuple(tensor.shape)} here; use the encoding and model of the run that wrote it."
            )
