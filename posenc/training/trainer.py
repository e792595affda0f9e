"""The Lightning trainer as posenc uses it. It counts in steps, saves checkpoints safely and stops between steps."""

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ProgressBar
from lightning.pytorch.loggers import Logger

from posenc import checks
from posenc.checks import ConfigError
from posenc.model.compiled import backend_of, compile_encoder
from posenc.runs.processes import Place, place
from posenc.training.checkpoint_file import DurableFiles
from posenc.training.checkpoints import Checkpoints
from posenc.training.divergence import StopOnDivergence
from posenc.training.interrupt import GracefulStop
from posenc.training.module import SequenceModule
from posenc.training.precision import LinearBfloat16, automatic

# Notices at every start, and a deprecation between Lightning 2.6 and torch 2.13. A user can do nothing about them.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")

PRECISIONS = ("auto", "32-true", "64-true", "16-mixed", "bf16-linear", "bf16-mixed", "bf16-true")


class Stopwatch(L.Callback):
    """Counts seconds and tokens of training, without evaluation and figures. A resumed run goes on counting."""

    clock = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.seconds, self.tokens, self._began = 0.0, 0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        """Start the watch."""
        self._began = self.clock()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Stop the watch."""
        self.seconds += self.clock() - self._began
        self.tokens += batch[0].numel() * trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        """Seconds and tokens so far."""
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from the values in the checkpoint."""
        self.seconds, self.tokens = state_dict["seconds"], state_dict["tokens"]


class CompiledEncoder(L.Callback):
    """Compiles the encoder before the first batch of a training or a test. The dry run before is not compiled."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compile the encoder in place, once."""
        if isinstance(pl_module, SequenceModule):
            compile_encoder(pl_module.encoder, self.backend)


def cluster(here: Place | None) -> ClusterEnvironment:
    """Lightning's environment for the program that started the processes.

    Lightning alone would treat a batch job as if srun had started it.
    """
    if here is None or here.world == 1:
        return LightningEnvironment()
    if here.launcher == "torchrun":
        return TorchElasticEnvironment()
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # Lightning refuses some options of srun
        raise ConfigError(f"trainer: {error}") from error


def make_trainer(
    folder: Path,
    callbacks: Sequence[L.Callback] = (),
    logger: Sequence[Logger] = (),
    stop: GracefulStop | None = None,
    max_steps: int = 1000,
    validate_every: int = 250,
    checkpoint_every: int | str = 500,
    log_every: int = 50,
    precision: str = "auto",
    gradient_clip: float | None = 1.0,
    accelerator: str = "auto",
    devices: int = 1,
    compile: bool | str | None = None,
) -> L.Trainer:
    """A trainer for `max_steps` steps that validates, saves checkpoints and logs, each after a number of steps.

    `checkpoint_every` may be a time: 30s, 10min, 2h. With 0 there is only a checkpoint at the end.

    `devices` is the number of processes on all nodes. They divide each batch (Lightning's DDP) and are already started.
    `precision` is Lightning's, or `bf16-linear`, or `auto` (see posenc.training.precision).
    `compile`: true or the name of a backend of torch.compile (see posenc.model.compiled).
    """
    checks.positive("trainer", max_steps=max_steps, validate_every=validate_every, log_every=log_every, devices=devices)
    checks.one_of("trainer", PRECISIONS, precision=precision)
    if not isinstance(accelerator, str):
        raise ConfigError(f"trainer: accelerator must be a word such as auto, cpu or gpu, got {accelerator!r}.")
    checks.number("trainer", low=0, open_low=True, **checks.given(gradient_clip=gradient_clip))
    for callback in callbacks:
        if isinstance(callback, GradientAccumulationScheduler) and callback.going_to_accumulate_grad_batches():
            raise ConfigError(
                "callbacks: GradientAccumulationScheduler is not supported: a run that is stopped between two batches "
                "of one step could not be resumed exactly; raise data.batch_size instead."
            )
    precision = automatic(accelerator) if precision == "auto" else precision
    here = place()
    nodes = 1 if here is None else here.nodes
    if here is not None and devices != here.world:
        raise ConfigError(
            f"trainer: {here.launcher} has started {here.world} process{'es' if here.world > 1 else ''} and devices is "
            f"{devices}; set trainer.devices={here.world}."
        )
    backend = backend_of(compile)
    compiled = [] if backend is None else [CompiledEncoder(backend)]
    plugins: list[Any] = [DurableFiles(), cluster(here)]
    stop = stop or GracefulStop()
    checkpoints = Checkpoints(folder / "checkpoints", checkpoint_every, stop)
    if precision == LinearBfloat16.precision:
        plugins.append(LinearBfloat16())
    try:
        trainer = L.Trainer(
            default_root_dir=folder,
            callbacks=[StopOnDivergence(), stop, *compiled, *callbacks, checkpoints],
            logger=list(logger),
            max_steps=max_steps,
            val_check_interval=validate_every,
            check_val_every_n_epoch=None,
            log_every_n_steps=log_every,
            precision=None if precision == LinearBfloat16.precision else precision,  # pyright: ignore[reportArgumentType]
            gradient_clip_val=gradient_clip,
            accelerator=accelerator,
            devices=devices // nodes,
            num_nodes=nodes,
            strategy="ddp" if devices > 1 else "auto",
            plugins=plugins,
            use_distributed_sampler=False,  # posenc.training.data divides batches
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {error}") from error
    # Lightning's signal handlers would end the process with status 0, or communicate with other processes.
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer
