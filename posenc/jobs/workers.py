"""Starts the processes of a run that asks for several (trainer.devices), by torch's own launcher.

They get the composed config of this run alone. Lightning would give the whole command again, which may be a sweep.
"""

import logging
import multiprocessing
import os
import signal
import threading
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from posenc.checks import ConfigError
from posenc.jobs.job import at_work
from posenc.runs.folder import lock_folder
from posenc.runs.processes import place
from posenc.runs.reading import plain_text, read_json
from posenc.runs.result import RESULT, write_result
from posenc.runs.signals import stop_signals
from posenc.terminal import keep_going, muted

HOST = "127.0.0.1"
DAY = "86400"
"""Seconds that workers have to end after a signal: a validation in hand may take long."""
for name in ("torch.distributed.elastic", "torch.multiprocessing"):  # posenc says in one sentence how a worker ended
    logging.getLogger(name).addHandler(logging.NullHandler())
    logging.getLogger(name).propagate = False


def start(config: DictConfig, folder: Path, record: dict[str, Any], **how: Any) -> tuple[dict[str, Any], int | None]:
    """Let `trainer.devices` processes do a run; its result, and the signal that stopped the run if one did.

    how  the other arguments of `at_work`
    """
    devices, most = config.trainer.devices, max(2, os.cpu_count() or 1, torch.cuda.device_count())
    if devices > most:
        raise ConfigError(f"trainer: devices must be at most {most} on this machine, got {devices}.")
    answer, failure, signum = None, None, None
    plain = OmegaConf.to_container(config, resolve=True)
    before = {each: signal.getsignal(each) for each in stop_signals()}
    try:
        with TemporaryDirectory() as logs:
            launch = elastic_launch(_config(devices, logs), _worker)
            answer = launch(plain, folder, record, how)[0]
    except ChildFailedError as error:
        failure = error.get_first_failure()
    except SignalException as caught:
        signum = int(caught.sigval)
    finally:
        for child in multiprocessing.active_children():  # a second signal leaves them
            child.kill()
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers there only
            for each, handler in before.items():
                signal.signal(each, handler)
    if isinstance(answer, Exception):
        raise answer
    return _ended(folder, record, failure, signum)


def _config(devices: int, logs: str) -> LaunchConfig:
    """One machine, and no second try. The launcher hands the signals that it gets on to the workers."""
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", DAY)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{HOST}:0",
        local_addr=HOST,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
    )
    config.signals_to_handle = ",".join(each.name for each in stop_signals())  # which torch 2.8 ignores
    return config


def _worker(plain: Any, folder: Path, record: dict[str, Any], how: dict[str, Any]) -> Exception | None:
    """One process of the run. Rank 0 returns a mistake, which its parent tells."""
    from posenc.jobs.ranks import follow, leading  # Lightning, which the parent does not need

    if hasattr(os, "setsid"):
        os.setsid()  # a terminal signals the parent alone, which hands the signal on
    keep_going()
    here = place()
    assert here is not None
    if here.rank:
        with muted():
            follow(here)  # if another process is gone, the parent says which
        return None
    try:
        with leading(here) as tell:
            config = cast(DictConfig, OmegaConf.create(plain))
            _, signum, _ = at_work(config, folder, record, tell=tell, force=False, **how)
    except (ConfigError, OSError) as error:
        return error
    if signum is not None:
        raise SystemExit(128 + signum)
    return None


def _ended(
    folder: Path, record: dict[str, Any], failure: tuple[int, ProcessFailure] | None, signum: int | None
) -> tuple[dict[str, Any], int | None]:
    """What rank 0 has written; what is to be said in its place where a process has failed first."""
    try:
        result = read_json(folder / RESULT)
    except (OSError, ValueError):
        result = record | {"status": "interrupted", "error": "stopped before it could write a result"}
    if failure is not None:
        rank, process = failure
        if process.exitcode > 128 and result["status"] == "interrupted":
            return result, process.exitcode - 128  # one worker alone was signalled, and told the others
        said: Any = process.message
        why = said["message"] if isinstance(said, dict) else said
        how = f"by {process.signal_name()}" if process.exitcode < 0 else f"with {why}"
        error = f"process rank{rank} ended {plain_text(how)}; the same command goes on from the last checkpoint"
        result |= {"status": "failed", "error": error}
        with lock_folder(folder, wait=True):  # rank 0 may have died before it could write
            write_result(folder, result)
    return result, signum if result["status"] == "interrupted" else None
