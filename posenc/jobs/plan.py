"""The plan of a sweep: its jobs, how many are finished, and the text at its start and during it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from posenc.config.effect import typed_words
from posenc.jobs.launch import arm
from posenc.runs.folder import FINISHED
from posenc.runs.reading import read_json
from posenc.runs.result import RESULT
from posenc.runs.sweep_journal import RUNNING, sweep_folder, time_left

PLURALS = {"dataset": "data sets", "encoding": "encodings", "seed": "seeds", "recipe": "recipes"}


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
    overrides = parser.parse_overrides([*words, *typed_words(config.hydra)])
    return [job for batch in BasicSweeper.split_arguments(overrides, sweeper.max_batch_size) for job in batch]


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
