"""Starts the processes of a run with several devices (trainer.devices), with torch's own launcher.

They receive only the composed config of this run. Lightning would start the whole command again, perhaps a sweep.
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
"""The number of seconds that workers have to end after a signal. It is large because a validation may take long."""
for name in ("torch.distributed.elastic", "torch.multiprocessing"):  # posenc itself reports how a worker ended
    logging.getLogger(name).addHandler(logging.NullHandler())
    logging.getLogger(name).propagate = False


def start(config: DictConfig, folder: Path, record: dict[str, Any], **how: Any) -> tuple[dict[str, Any], int | None]:
    """Let `trainer.devices` processes do a run. Returns its result, and the signal that stopped it, or None.

    how  further arguments of `at_work`
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
        for child in multiprocessing.active_children():  # they still run after a second signal
            child.kill()
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers in no other thread
            for each, handler in before.items():
                signal.signal(each, handler)
    if isinstance(answer, Exception):
        raise answer
    return _ended(folder, record, failure, signum)


def _config(devices: int, logs: str) -> LaunchConfig:
    """A launch on one machine, without a second try. The launcher passes its signals on to the workers."""
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
    config.signals_to_handle = ",".join(each.name for each in stop_signals())  # torch 2.8 ignores it
    return config


def _worker(plain: Any, folder: Path, record: dict[str, Any], how: dict[str, Any]) -> Exception | None:
    """One process of the run. Rank 0 returns a user's mistake, and its parent reports it."""
    from posenc.jobs.ranks import follow, leading  # imports Lightning, which the parent does not need

    if hasattr(os, "setsid"):
        os.setsid()  # a terminal signals only the parent, which passes the signal on
    keep_going()
    here = place()
    assert here is not None
    if here.rank:
        with muted():
            follow(here)  # if another process is lost, the parent says which
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
    """The result that rank 0 has written, or, if a process failed before that, a result with the reason."""
    try:
        result = read_json(folder / RESULT)
    except (OSError, ValueError):
        result = record | {"status": "interrupted", "error": "stopped before it could write a result"}
    if failure is not None:
        rank, process = failure
        if process.exitcode > 128 and result["status"] == "interrupted":
            return result, process.exitcode - 128  # one worker received the signal and told the others
        said: Any = process.message
        why = said["message"] if isinstance(said, dict) else said
        how = f"by {process.signal_name()}" if process.exitcode < 0 else f"with {why}"
        error = f"process rank{rank} ended {plain_text(how)}; the same command continues from the last checkpoint"
        result |= {"status": "failed", "error": error}
        with lock_folder(folder, wait=True):  # rank 0 may have ended before it wrote a result
            write_result(folder, result)
    return result, signum if result["status"] == "interrupted" else None
