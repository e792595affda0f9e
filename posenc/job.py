"""One job of Hydra, alone or in a sweep: looks whether the work is done already, and tells what became of it."""

import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from posenc import composition, runs, summary
from posenc.checks import ConfigError
from posenc.claims import Claim, claim
from posenc.journal import RUNNING, Journal
from posenc.output import keep_going


def job(config: DictConfig) -> float | None:
    """Train and test what `config` describes, or find its result in the run folder; the best validation loss.

    A user's mistake raises ConfigError and leaves no folder. In a sweep it, like any failure, is a row with a
    status, and the other runs go on; alone, a run that did not complete ends the process with status 1, and one that
    was stopped with 128 + the signal. torch is imported only when there is something to train.
    """
    keep_going()  # in a launcher's worker too
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        record = identity(config)
    except (ConfigError, OmegaConfBaseException):
        with suppress(OSError):
            folder.rmdir()  # Hydra has made it
        raise
    if config.study is not None:
        if hydra.mode != RunMode.RUN:
            raise ConfigError("a study takes its seeds by itself (study.seeds) and is not swept; run it without -m.")
        from posenc.studies.conduct import conduct  # torch and matplotlib, which a finished sweep need not load

        conduct(config, folder)
        return None
    if hydra.mode == RunMode.RUN:
        with claim(folder, record["config_hash"], force=config.force, wait=False) as found:
            result, signum = _result(config, found, record, alone=True)
        summary.print_run(folder, result)
        if signum is not None:
            sys.exit(128 + signum)
        if result["status"] != "completed":
            sys.exit(1)
        return objective(result)
    journal, began, signum, skipped = Journal.of(hydra), time.time(), None, False
    if journal is not None:
        journal.note(hydra.job.num, RUNNING, began=began, skipped=False)
    try:
        with claim(folder, record["config_hash"], force=config.force, wait=True) as found:
            skipped = found.finished is not None
            result, signum = _result(config, found, record, alone=False)
    except (ConfigError, OSError) as error:  # the folder is not this run's, or cannot be written: it holds no result
        result = record | {"status": "failed", "error": str(error)}
    if journal is not None:
        journal.note(hydra.job.num, result["status"], began=began, skipped=skipped, folder=str(folder), result=result)
    if signum is not None:
        print("the same command goes on from here", flush=True)
        sys.exit(128 + signum)
    return objective(result)


def identity(config: DictConfig) -> dict[str, Any]:
    """What is known of a result before anything is built."""
    hydra = HydraConfig.get()
    choices = hydra.runtime.choices
    plain = composition.check(config)
    record: dict[str, Any] = {"schema": runs.SCHEMA, "status": "completed", "error": None}
    record |= {"command": shlex.join(["python", "train.py", *hydra.overrides.task])}
    record |= {group: choices[group] for group in ("encoding", "positions", "dataset")}
    return record | {"seed": config.seed, "config_hash": runs.config_hash(plain)}


def _result(config: DictConfig, found: Claim, record: dict[str, Any], alone: bool) -> tuple[dict[str, Any], int | None]:
    if found.finished is not None:
        found.complete(found.finished["status"])  # a kill may have come between
        if alone:
            print("this run is finished: what follows is its result; force=true runs it anew")
        return found.finished, None
    from posenc.run import run  # 6 seconds of imports, which a finished sweep need not pay

    result, signum = run(config, found, record, alone=alone)
    found.complete(result["status"])
    if found.before is not None:
        print(f"the result that force=true was to replace is kept in {found.before}")
    return result, signum


def objective(result: dict[str, Any]) -> float:
    """What a search minimises: the best validation loss, never a test score; infinite where training did not end."""
    best = result.get("validation", {}).get("best_loss")
    return float("inf") if best is None or result["status"] != "completed" else best
