"""One job of Hydra, a single run or a part of a sweep: finds an existing result or runs it, and reports the result."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from posenc.checks import ConfigError
from posenc.config import effect, launching, resume, shape
from posenc.jobs import summary
from posenc.runs.folder import open_run, same_data
from posenc.runs.identity import config_hash, former_hashes, start_digest
from posenc.runs.processes import Place, place
from posenc.runs.result import SCHEMA, title
from posenc.runs.sweep_journal import RUNNING, Journal, sweep_folder
from posenc.tasks.parts import corpus
from posenc.terminal import TRAIN, keep_going

Tell = Callable[[Any], None]
PATIENCE = 5
"""The number of seconds that rank 0 has to write its result. A launcher kills all processes after one has failed."""


def job(config: DictConfig) -> float | None:
    """Train and test what `config` describes, or find its result in the run folder. Returns the best validation loss.

    A user's mistake raises ConfigError and leaves no folder. In a sweep a mistake or a failure becomes a row with a
    status, and the other runs go on. A single run that did not complete ends the process with status 1; if a signal
    stopped it, the status is 128 + the signal. torch is imported only if there is something to train. If torchrun or
    srun has started several processes, the first one does all this and the others train and test their share.
    """
    keep_going()  # also in a launcher's worker
    here = place()
    if here is None or here.world == 1:
        return _job(config, here, lambda decision: None)
    from posenc.jobs import ranks

    if here.rank == 0:
        with ranks.leading(here) as tell:
            return _job(config, here, tell)
    why = ranks.follow(here, Path(HydraConfig.get().runtime.output_dir))
    if why is not None:
        print(f"process rank{here.rank} ends, because another one has ended: {why}", file=sys.__stderr__)
        print("the same command continues from the last checkpoint", file=sys.__stderr__, flush=True)
        time.sleep(PATIENCE)
        sys.exit(1)
    return None


def _job(config: DictConfig, here: Place | None, tell: Tell) -> float | None:
    """The part of rank 0, or of the only process."""
    hydra = HydraConfig.get()
    folder, alone = Path(hydra.runtime.output_dir), hydra.mode == RunMode.RUN
    journal, began, signum, skipped = None if alone else Journal.of(hydra), time.time(), None, False
    if _value(config, "study") is not None:
        if not alone:
            raise ConfigError("a study has its own seeds (study.seeds), so it is no sweep; run it without -m.")
        if _value(config, "ledger") is not None:
            raise ConfigError("a study does not read a ledger; leave ledger out.")
        if here is not None and here.world > 1:
            raise ConfigError(f"a study itself starts its processes; run it without {here.launcher}.")
    if journal is not None:
        journal.note(hydra.job.num, RUNNING, began=began, skipped=False)
    record = known(config)
    try:
        effect.check(config, hydra)
        config = resume.as_begun(config, folder, effect.typed_words(hydra))
        plain = shape.check(config)
        resume.check(plain, folder)
        if config.study is not None:
            from posenc.studies.method import conduct  # torch and matplotlib, which a finished sweep need not load

            conduct.conduct(config, folder)
            return None
        OmegaConf.resolve(config)  # once, so that later steps need not resolve it
        record |= {"config_hash": config_hash(plain), "data_digest": corpus.data_digest(plain["dataset"])}
        record["start_digest"] = start_digest(plain["start_from"])
        options = {"data": record["data_digest"], "start": record["start_digest"], "former": former_hashes(plain)}
        options["root"] = None if alone else sweep_folder(hydra)
        there = in_ledger(plain, record)
        if there is not None:
            with suppress(OSError):
                folder.rmdir()  # Hydra has made it
            if alone:
                print(f"this run is in the ledger {plain['ledger']}; force=true runs it again")
                Console().print(summary.line(folder, there), soft_wrap=True, highlight=False)
            elif journal is not None:
                ended = {"began": began, "skipped": True, "folder": str(folder), "result": there, "ledger": True}
                journal.note(hydra.job.num, there["status"], **ended)
            return objective(there)
        several = here is None and isinstance(config.trainer.get("devices"), int) and config.trainer.devices > 1
        how = {"alone": alone, "tell": None if several else tell, "force": config.force}
        result, signum, skipped = at_work(config, folder, record, **how, **options)
        if several and not skipped:
            from posenc.jobs.workers import start  # torch

            result, signum = start(config, folder, record, alone=alone, **options)
    except (ConfigError, OmegaConfBaseException, OSError) as error:
        with suppress(OSError):
            folder.rmdir()  # Hydra has made it
        if alone:
            raise
        result = record | {"status": "failed", "error": reason(error)}  # printed, not written to disk
    if alone:
        summary.print_run(folder, result)
        if signum is not None:
            print(f"continue    {_again(folder)}", flush=True)
            sys.exit(128 + signum)
        if result["status"] != "completed":
            sys.exit(1)
        return objective(result)
    if journal is not None:
        journal.note(hydra.job.num, result["status"], began=began, skipped=skipped, folder=str(folder), result=result)
    if signum is not None:
        print("the same command continues from here", flush=True)
        sys.exit(128 + signum)
    return objective(result)


def reason(error: BaseException) -> str:
    """The first line of an error. If a resolver of posenc raised it, the resolver's message, not OmegaConf's."""
    inner: BaseException | None = error
    while isinstance(inner, OmegaConfBaseException):
        inner = inner.__context__
    return str(inner if isinstance(inner, ConfigError) else error).partition("\n")[0]


def _again(folder: Path) -> str:
    """The command that goes on with a stopped run in its folder."""
    keys = ("hydra.run.dir", "name", *launching.ADDED)
    given = [word for word in sys.argv[1:] if word.partition("=")[0] not in keys]
    return shlex.join(["python", *sys.argv[:1], *given, f"hydra.run.dir={folder}"])


def known(config: DictConfig) -> dict[str, Any]:
    """The entries of a result that are known before the config is checked."""
    hydra = HydraConfig.get()
    choices, seed = hydra.runtime.choices, _value(config, "seed")
    record: dict[str, Any] = {"schema": SCHEMA, "status": "completed", "error": None}
    record |= {"command": shlex.join([*TRAIN.split(), *effect.typed_words(hydra)])}
    record |= {group: choices.get(group, "none") for group in ("encoding", "positions", "dataset")}
    return record | {
        "recipe": choices.get("recipe"),
        "seed": seed if isinstance(seed, int | float | str | None) else str(seed),
        "config_hash": "",
        "data_digest": None,
        "start_from": _value(config, "start_from"),
        "start_digest": None,
    }


def in_ledger(plain: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of this run in the ledger that the config names; None if there is none, or with `force`."""
    if plain.get("ledger") is None:
        return None
    path = Path(to_absolute_path(str(plain["ledger"])))
    if plain["trainer"]["precision"] == "auto":
        raise ConfigError(
            "a ledger holds runs of many machines, on which trainer.precision=auto may differ; add "
            "trainer.precision=32-true, or leave ledger out."
        )
    from posenc.report.reading import ledger  # imports pandas, which nothing else here needs

    found = ledger.find(path, record)
    return None if plain["force"] else found


def _value(config: DictConfig, key: str) -> Any:
    """A value of the config; None if it cannot be resolved (shape.check raises the error later)."""
    with suppress(OmegaConfBaseException):
        return config.get(key)
    return None


def at_work(
    config: DictConfig, folder: Path, record: dict[str, Any], alone: bool, tell: Tell | None, **options: Any
) -> tuple[dict[str, Any], int | None, bool]:
    """Lock the run folder and do the run, unless it is finished.

    tell     as in posenc.jobs.run; None: other processes do the run
    options  arguments of open_run

    Returns the result, the signal that stopped the run (or None), and whether the run was already finished.
    """
    with open_run(folder, record["config_hash"], wait=not alone, **options) as found:
        if found.finished is not None:
            recorded = found.finished.get("data_digest")
            if recorded is not None and record["data_digest"] is None:  # the task reads data in its own way
                from posenc.config.make import make

                same_data(found.folder, recorded, make(config, "dataset").digest)
            found.complete(found.finished["status"])  # the process may have been killed before this line
            if alone:
                print("this run is finished, and its result follows; force=true runs it again")
            return found.finished, None, True
        if tell is None:
            return record, None, False
        if alone:
            # Something is shown before the imports. It does not say that the run starts: a value may yet be refused.
            print(f"{title(record)} is being checked", flush=True)
        from posenc.jobs.run import run  # 6 seconds of imports, which a finished sweep does not need

        result, signum = run(config, found, record, alone, tell)
        found.complete(result["status"])
        if found.before is not None:
            print(f"the result that force=true would replace is kept in {found.before}")
        return result, signum, False


def objective(result: dict[str, Any]) -> float:
    """The value that a search minimises: the best validation loss, not a test score; infinite for an incomplete run."""
    best = result.get("validation", {}).get("best_loss")
    return float("inf") if best is None or result["status"] != "completed" else best
