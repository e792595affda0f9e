"""The plan of a sweep: its jobs, whether they can be built, how many are finished, and what is told of them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from posenc.checks import ConfigError
from posenc.config import effect, resume, shape
from posenc.jobs.job import in_ledger, known, reason
from posenc.jobs.launch import arm
from posenc.runs.folder import FINISHED
from posenc.runs.identity import config_hash, start_digest
from posenc.runs.reading import read_json
from posenc.runs.result import RESULT
from posenc.runs.sweep_journal import RUNNING, sweep_folder, time_left
from posenc.tasks.parts import corpus

if TYPE_CHECKING:
    from posenc.report.reading.read import Run

PLURALS = {"dataset": "data sets", "encoding": "encodings", "seed": "seeds", "recipe": "recipes"}
OF_THIS_MACHINE = ("basic", "joblib", "submitit_local")
"""Launchers whose runs have the devices of this machine, so that a run can be built here as it will be built there."""


def opening(root: Path, jobs: Sequence[Sequence[str]] | None, total: int | None, finished: int) -> str:
    """The text before the first run of a sweep: how many runs, which kinds, and their folder."""
    values: dict[str, set[str]] = {}
    for word in (word for job in jobs or () for word in job):
        key, _, value = word.partition("=")
        values.setdefault(key, set()).add(value)
    varied = [f"{len(found)} {PLURALS.get(key, f'values of {key}')}" for key, found in values.items() if len(found) > 1]
    of = f" ({' × '.join(varied)})" if varied else ""
    done = f", {finished} of them finished before" if finished else ""
    return f"sweep       {total or 'as many as its sweeper asks for'} runs{of} in {root}{done}"


def jobs_of(config: DictConfig) -> list[list[str]] | None:
    """The overrides of each job that Hydra will make from the command; None if the sweeper does not tell."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(BasicSweeper.__name__):
        return None
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*words, *effect.typed_words(config.hydra)])
    return [job for batch in BasicSweeper.split_arguments(overrides, sweeper.max_batch_size) for job in batch]


def check_values(config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError with the first job's mistake if the config of no job can be built.

    If some configs can be built, a mistake in another one belongs to that run, and the other runs go on.
    """
    if config.hydra.runtime.choices.get("hydra/launcher") not in OF_THIS_MACHINE or config.get("study") is not None:
        return
    first: Exception | None = None
    for made in composed(config, jobs):
        try:
            with current(made) as job:
                _build(job, made.hydra)
            return
        except (ConfigError, OmegaConfBaseException) as error:
            first = first or error
        except Exception:  # no mistake in a value: the run reports it, with its traceback
            return
    if first is not None:
        raise ConfigError(reason(first)) from first


def _build(config: DictConfig, hydra: DictConfig) -> None:
    """Check and build the config of a job as its run will do, without loggers, which may write files.

    A run that is in the ledger is not built, because its config has been built before.
    """
    effect.check(config, hydra)
    plain = shape.check(config)
    resume.check(plain)
    digests = {"data_digest": corpus.data_digest(plain["dataset"]), "start_digest": start_digest(plain["start_from"])}
    if in_ledger(plain, {"config_hash": config_hash(plain)} | digests) is not None:
        return
    from posenc.config.build import build  # torch, which a finished sweep does not need
    from posenc.training.evaluation.run_test import make_ready

    with open_dict(config):
        config.pop("logger", None)
    parts = build(config, Path(hydra.runtime.output_dir))
    make_ready(parts.module, parts.data, parts.trainer)


def composed(config: DictConfig, jobs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
    """The config of each job as Hydra composes it; of jobs that differ only in whole seeds, of the first."""
    firsts = dict[tuple[str, ...], Sequence[str]]()
    for job in jobs:
        firsts.setdefault(tuple(word for word in job if not re.fullmatch(r"seed=\d+", word)), job)
    loader = GlobalHydra.instance().config_loader()
    for job in firsts.values():
        made = loader.load_sweep_config(config, [*job])
        with read_write(made.hydra), open_dict(made.hydra):
            made.hydra.job.num, made.hydra.job.id = 0, "0"
            made.hydra.runtime.output_dir = str(sweep_folder(config.hydra))
        yield made


@contextmanager
def current(made: DictConfig) -> Iterator[DictConfig]:
    """A context manager in which interpolations of Hydra read this job. Gives its config without Hydra's part."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(made)
    try:
        config = deepcopy(made)
        with read_write(config), open_dict(config):
            del config["hydra"]
        yield config
    finally:
        hydra.cfg = before


def to_be_run(made: DictConfig) -> "Run":
    """The run that a job will make, as far as it is known before: its names and its settings, but not its seed."""
    from posenc.report.reading.read import Run  # pandas, which most sweeps import at their end

    with current(made) as config:
        return Run(Path(), Path(), known(config) | {"seed": 0}, shape.check(config))


def finished_before(config: DictConfig, jobs: Sequence[Sequence[str]]) -> int:
    """How many of the jobs already have a result in the sweep's folder, to estimate the time left.

    A job is recognised by its data set, encoding and seed, which are names of folders. Jobs that differ only in other
    values share such a folder; the number of results in it counts.
    """
    if config.force:
        return 0
    choices = config.hydra.runtime.choices
    known = {key: choices.get(key) for key in ("dataset", "encoding", "recipe")}
    asked = Counter[Path]()
    for job in jobs:
        own = known | {"seed": str(config.seed)} | dict(word.split("=", 1) for word in job if "=" in word)
        name = arm(own["encoding"], own["recipe"])
        asked[Path(sweep_folder(config.hydra), own["dataset"], name, f"seed{own['seed']}")] += 1
    return sum(min(count, _results_below(folder)) for folder, count in asked.items())


def _results_below(folder: Path) -> int:
    found = 0
    for path in folder.rglob(RESULT):
        with suppress(OSError, ValueError, TypeError, KeyError):
            found += read_json(path)["status"] in FINISHED
    return found


def progress(plan: Mapping[str, Any], jobs: Mapping[int, Mapping[str, Any]]) -> str:
    """The number of other jobs that are running, and the time left."""
    running = sum(job["state"] == RUNNING for job in jobs.values())
    bad = sum(job["state"] not in (RUNNING, "completed") for job in jobs.values())
    words = [f"{running} running"] if running else []
    if bad:
        words.append(f"{bad} not completed")
    left = time_left(plan, jobs)
    if left and left > 0:  # negative if the clock was set back
        words.append(f"{timedelta(seconds=round(left))} left")
    return "".join(f" · {word}" for word in words)
