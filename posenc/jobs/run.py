"""One run, from a composed config to a result on disk."""

import shlex
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.config.build import Parts, build
from posenc.config.resume import OVERRIDES_FILE, run_folder
from posenc.jobs import outcome
from posenc.runs import reading
from posenc.runs.folder import RunFolder, begin, begun, same_data
from posenc.runs.processes import thread_limit, threads_of
from posenc.runs.result import CONFIG_FILE, write_positions
from posenc.runs.signals import REQUEUE
from posenc.runs.slurm import requeue, slurm_job
from posenc.runs.writing import write_text
from posenc.terminal import say
from posenc.training import memory
from posenc.training.checkpoints import check_checkpoint, load_weights, usable
from posenc.training.divergence import Diverged
from posenc.training.evaluation.run_test import make_ready, run_test
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.loggers.metrics_file import close_logs, open_logs


def run(
    config: DictConfig, found: RunFolder, record: dict[str, Any], alone: bool, tell: Callable[[Any], None]
) -> tuple[dict[str, Any], int | None]:
    """Train and test what `config` describes, complete `record`, and write it last.

    alone  whether this is the only run of the command
    tell   starts the other processes of the run, if there are any

    Returns the record, and the signal that stopped the run, if any. A mistake in the config raises ConfigError if the
    run is `alone` and its folder is untouched; otherwise it is recorded. With `found.resume` a run goes on.
    """
    folder, stop = found.folder, GracefulStop()
    parts, signum, began = None, None, time.perf_counter()
    memory.keep_freed()
    outcome.commit()  # keeps what it finds: files may change while the run trains
    with thread_limit(threads_of(config)):
        try:
            with stop.listening():
                parts, checkpoint, steps = prepare(config, found, stop)
                if record["data_digest"] is None:
                    record["data_digest"] = parts.task.digest
                    if found.resume:
                        same_data(folder, begun(folder).get("data_digest"), parts.task.digest)
                begin(folder, record)
                write_text(folder / CONFIG_FILE, OmegaConf.to_yaml(config, resolve=True))
                write_text(folder / OVERRIDES_FILE, OmegaConf.to_yaml(shlex.split(record["command"])[2:]))
                plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
                if alone:
                    say(outcome.opening(record, parts))
                open_logs(parts.trainer.loggers, plain, steps)
                tell((plain, checkpoint, folder))
                record |= train(parts, checkpoint)
                write_positions(folder, parts.module.by_position)
        except ConfigError as error:
            if alone and found.untouched:
                raise
            record |= {"status": "failed", "error": str(error)}
        except Interrupted as caught:
            signum = caught.signum
            record |= {"status": "interrupted", "error": str(caught)}
            job = slurm_job()
            if signum == REQUEUE and job is not None:
                record["error"] += f"; {requeue(job)}"
        except Diverged as error:
            good = "" if parts is None else f"; {parts.checkpoints.last_good()}"
            record |= {"status": "diverged", "error": f"{error}{good}"}
        except Exception as error:
            record |= {"status": "failed", "error": outcome.reason(error, parts)}
            with suppress(OSError):  # the disk may be full
                write_text(folder / "traceback.txt", traceback.format_exc())
        if parts is not None:
            with suppress(OSError):
                close_logs(parts.trainer.loggers)
            record |= outcome.measured(parts)
        record |= {"wall_seconds": round(time.perf_counter() - began, 3), "versions": outcome.versions()}
    try:
        if alone:
            outcome.draw(folder, record, None if parts is None else parts.module)
    finally:
        outcome.write(folder, record)
    return record, signum


def prepare(config: DictConfig, found: RunFolder, stop: GracefulStop) -> tuple[Parts, str | None, int]:
    """Build everything, check the checkpoint, and make a dry run. Mistakes raise ConfigError here.

    Returns the parts, the checkpoint to go on from (the run's own if it has one, else `config.ckpt_path`), and how
    many steps the run has already done.
    """
    parts = build(config, found.folder, stop)
    checkpoint, steps = config.ckpt_path, 0
    if checkpoint is not None:
        checkpoint = to_absolute_path(checkpoint)  # from where the command was started
        taken = check_checkpoint(checkpoint, parts.module)
        if taken > config.trainer.max_steps and not found.resume:
            raise ConfigError(
                f"ckpt_path={checkpoint} is of step {taken}, past trainer.max_steps={config.trainer.max_steps}; set "
                f"trainer.max_steps={taken} or more."
            )
        if config.get("start_from") is None and run_folder(checkpoint) is None and not found.resume:
            raise ConfigError(
                f"ckpt_path={checkpoint} is in no run folder, so its run is unknown; copy it with its run folder, or "
                f"begin a new run with its weights: start_from={checkpoint}."
            )
    if found.resume:
        own, steps, wrong = usable(found.resume, parts.module)
        for words in wrong:
            words = reading.plain_text(words)
            print(f"{words} {f'Continuing from {own}.' if own else 'Training from the start.'}", flush=True)
        checkpoint = checkpoint if own is None else str(own)
    if checkpoint is None and config.get("start_from") is not None:  # a checkpoint already contains these weights
        load_weights(config.start_from, parts.module)
    make_ready(parts.module, parts.data, parts.trainer)
    return parts, checkpoint, steps


def train(parts: Parts, ckpt_path: str | None) -> dict[str, Any]:
    """Fit and test; returns the result of `run_test`.

    A signal raises Interrupted after the current step, and a checkpoint of that step is saved.
    """
    with parts.stop.deferred():
        parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=ckpt_path, weights_only=True)
    return run_test(parts.module, parts.data, parts.trainer)
