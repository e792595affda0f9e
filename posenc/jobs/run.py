"""One run, from a composed config to a result on disk."""

import logging
import platform
import shlex
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf

from posenc import checks
from posenc.checks import ConfigError
from posenc.config.build import Parts, build
from posenc.config.resume import WORDS, run_folder
from posenc.runs import reading
from posenc.runs.folder import RunFolder, begin, begun, same_data
from posenc.runs.processes import place
from posenc.runs.result import write_positions, write_result
from posenc.runs.signals import REQUEUE
from posenc.runs.slurm import requeue, slurm_job
from posenc.runs.writing import write_picture, write_text
from posenc.statistics.length import summarise
from posenc.training import memory
from posenc.training.checkpoints import check_checkpoint, load_weights, usable
from posenc.training.divergence import Diverged, lost, ran_out
from posenc.training.dry_run import dry_run
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.loggers.metrics_file import close_logs, open_logs

# Notices and hints at every start, and a deprecation between Lightning 2.6 and torch 2.13 that no user can mend.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")

THREADS = 1024
"""More than any machine has; the system refuses to start so many, and ends the process."""


def run(
    config: DictConfig, found: RunFolder, record: dict[str, Any], alone: bool, tell: Callable[[Any], None]
) -> tuple[dict[str, Any], int | None]:
    """Train and test what `config` describes and complete `record`; it is written last.

    tell  lets the other processes of the run begin, if there are any

    Returns the record, and the signal that stopped the run if one did. A mistake raises ConfigError while the folder
    is untouched and the run is `alone`, else it is a failure like any other. Goes on where `found` says so.
    """
    folder, stop = found.folder, GracefulStop()
    parts, signum, began = None, None, time.perf_counter()
    memory.keep_freed()
    with thread_limit(threads_of(config)):
        try:
            with stop.listening():
                parts, checkpoint, steps = prepare(config, found, stop)
                if record["data_digest"] is None:
                    record["data_digest"] = parts.task.digest
                    if found.resume:
                        same_data(folder, begun(folder).get("data_digest"), parts.task.digest)
                begin(folder, record)
                write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
                write_text(folder / WORDS, OmegaConf.to_yaml(shlex.split(record["command"])[2:]))
                plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
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
            record |= {"status": "failed", "error": reason(error, parts)}
            with suppress(OSError):  # there may be no room for it
                write_text(folder / "traceback.txt", traceback.format_exc())
        if parts is not None:
            with suppress(OSError):
                close_logs(parts.trainer.loggers)
            record |= measured(parts)
        record |= {"wall_seconds": round(time.perf_counter() - began, 3), "versions": versions()}
    try:
        if alone:
            draw(folder, record, parts)
    finally:
        _write(folder, record)
    return record, signum


def _write(folder: Path, record: dict[str, Any]) -> None:
    """Write the result; where it cannot be, say what it was."""
    try:
        write_result(folder, record)
    except OSError as error:
        state = record["status"] + (f": {record['error']}" if record["error"] else "")
        raise OSError(error.errno, f"{error.strerror}; the run itself: {state}", error.filename) from error


def reason(error: Exception, parts: Parts | None) -> str:
    """Why a run failed, in a sentence; what to lower where memory was too little."""
    if parts is not None and ran_out(error):
        return memory.explain(error, parts.module, parts.data)
    if place() is not None and lost(error):
        why = str(error).partition("\n")[0]
        return f"another process of the run has ended ({why}); the same command goes on from the last checkpoint"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'} could not be written or read: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def threads_of(config: DictConfig) -> int | None:
    """The threads that this process is asked to compute with: `config.threads`, or its share of the machine."""
    if config.threads is not None:
        checks.positive("config", maximum=THREADS, threads=config.threads)
        return config.threads
    here = place()
    local = 1 if here is None else here.world // here.nodes
    return max(1, torch.get_num_threads() // local) if local > 1 else None


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Inside, torch computes with so many threads, or with as many as before."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare(config: DictConfig, found: RunFolder, stop: GracefulStop) -> tuple[Parts, str | None, int]:
    """Build everything, check the checkpoint, and make a dry run: mistakes show here.

    Returns the parts, the checkpoint to go on from (the run's own if it has one, else `config.ckpt_path`), and how
    many steps the run has in its folder already.
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
                f"ckpt_path={checkpoint} lies in no run folder, so that nothing says which run it belongs to; copy it "
                f"with its folder, or begin a new run with its weights: start_from={checkpoint}."
            )
    if found.resume:
        own, steps, wrong = usable(found.resume, parts.module)
        for words in wrong:
            words = reading.plain_text(words)
            print(f"{words} {f'Going on from {own}.' if own else 'Training from the start.'}", flush=True)
        checkpoint = checkpoint if own is None else str(own)
    if checkpoint is None and config.get("start_from") is not None:  # what has begun needs its beginning no more
        load_weights(config.start_from, parts.module)
    dry_run(parts.module, parts.trainer.strategy.root_device)
    if str(parts.trainer.precision).endswith("-true"):  # else Lightning converts after it has loaded a checkpoint
        parts.trainer.strategy.precision_plugin.convert_module(parts.module)
    parts.data.test_lengths = parts.module.test_lengths
    return parts, checkpoint, steps


def train(parts: Parts, ckpt_path: str | None) -> dict[str, Any]:
    """Fit and test; the scores of every test length, and what they say about lengths that were not trained.

    Raises Interrupted after the step in hand, with a checkpoint of it.
    """
    with parts.stop.deferred():
        parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=ckpt_path, weights_only=True)
    parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
    table: dict[str, dict[str, float]] = {}
    for name, value in parts.trainer.callback_metrics.items():
        if name.startswith("test/"):
            _, length, score = name.split("/")
            table.setdefault(length, {})[score] = value.item()
    for length, scores in table.items():
        scores["sequences"] = parts.data.size(int(length))
    skills = {length: table.get(str(length), {}).get("skill") for length in parts.task.test_lengths}
    return {
        "test": table,
        "undefined": {str(length): reason for length, reason in sorted(parts.module.undefined.items())},
        "length_generalization": summarise(parts.task.length[1], skills),
    }


def draw(folder: Path, record: dict[str, Any], parts: Parts | None) -> None:
    """length.png and by_position.png, where a run has scores at several lengths and of several places.

    A sweep leaves its figures to the report over all of its runs.
    """
    from posenc.figures import lengths  # matplotlib takes most of a second

    if len(record.get("test", {})) > 1:
        write_picture(folder / "length.png", lengths.length_curves(record), dpi=150)
    if parts is not None and parts.module.by_position and parts.module.validation.places is not None:
        title = f"{record['dataset']} · encoding={record['encoding']} · seed {record['seed']}"
        figure = lengths.position_curves(parts.module.by_position, parts.module.validation.places, title)
        write_picture(folder / "by_position.png", figure, dpi=150)


def measured(parts: Parts) -> dict[str, Any]:
    """Cost and ceilings of a run, whether or not it came to its end."""
    encoder, watch = parts.module.encoder, parts.stopwatch
    ceilings = {
        str(length): {"order_blind": blind, "order_aware": aware}
        for length, (blind, aware) in sorted(parts.module.ceilings.items())
    }
    return {
        "trained_lengths": list(parts.task.length),
        "trained_tokens": parts.module.trained_tokens,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "encoding_parameters": sum(p.numel() for p in encoder.encodings.parameters()),
        "steps": parts.trainer.global_step,
        "processes": parts.trainer.world_size,
        "precision": str(parts.trainer.precision),
        "seconds": round(watch.seconds, 3),
        "tokens_per_second": round(watch.tokens / watch.seconds) if watch.seconds else None,
        "ceilings": ceilings,
        "validation": {"best_loss": parts.best_validation_loss},
        "references": parts.module.references,
    }


def versions() -> dict[str, Any]:
    """What a result may depend on besides its config."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("posenc", "torch", "lightning", "hydra-core")},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
