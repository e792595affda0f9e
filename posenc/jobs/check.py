"""Composes the jobs of a sweep before the first one starts, so that a mistake in all of them is said once."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from posenc.checks import ConfigError
from posenc.config import effect, resume, shape
from posenc.jobs.job import in_ledger, known, reason
from posenc.runs.identity import config_hash, start_digest
from posenc.runs.sweep_journal import sweep_folder
from posenc.tasks.parts import corpus

if TYPE_CHECKING:
    from posenc.report.reading.read import Run

OF_THIS_MACHINE = ("basic", "joblib", "submitit_local")
"""Launchers whose runs have the devices of this machine, so that a run can be built here as it will be built there."""


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
