"""Composes the jobs of a sweep before the first one starts, so that their configs can be checked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict, read_write

from posenc.config import shape
from posenc.jobs.job import known
from posenc.report.reading.read import Run
from posenc.runs.sweep_journal import sweep_folder


def composed(config: DictConfig, jobs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
    """The config of each job as Hydra composes it; of jobs that differ only in their seeds, of the first."""
    firsts = {tuple(word for word in job if not word.startswith("seed=")): job for job in reversed(jobs)}
    loader = GlobalHydra.instance().config_loader()
    for job in reversed(firsts.values()):
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


def to_be_run(made: DictConfig) -> Run:
    """The run that a job will make, as far as it is known before: its names and its settings."""
    with current(made) as config:
        return Run(Path(), Path(), known(config), shape.check(config))
