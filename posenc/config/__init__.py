"""From options to objects: checks of options and configs, and the objects that they build."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())
"""The folder of posenc's own configs. In an installed package it is inside the package, in a checkout beside it."""


def single_run() -> bool:
    """Whether the command is a single run. A config that is composed without a command belongs to none."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN


OmegaConf.register_new_resolver("single_run", single_run, replace=True)
"""Here and not where a command starts, because whoever composes a config needs it."""
