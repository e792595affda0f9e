"""Refuses what Hydra would ignore: options of its own that have no effect, and the user's files of a taken name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.runs.processes import place

ADDED = ("hydra.job.config.override_dirname.exclude_keys", "hydra.sweep.dir")
"""Keys that posenc.jobs.launch sets once, before the words of the user."""
OF_SWEEPS = ("hydra.sweep", "hydra.sweeper", "hydra.launcher", "hydra/sweeper", "hydra/launcher")
"""Keys that only a sweep reads."""


def words_of(overrides: Any) -> list[str]:
    """The words of hydra.overrides, not resolved."""
    return [str(word) for word in OmegaConf.to_container(overrides, resolve=False) or ()]


def typed(hydra: Any) -> list[Override]:
    """The overrides of Hydra's own options that the user has typed."""
    found = OverridesParser.create().parse_overrides(words_of(hydra.overrides.hydra))
    for key in ADDED:
        added = next((each for each in found if each.key_or_group == key), None)
        if added is not None:
            found.remove(added)
    return found


def check(hydra: Any) -> None:
    """Raise ConfigError for an option or a file that nothing reads, in a single run or in a sweep."""
    _check_files(hydra)
    sweep = hydra.mode == RunMode.MULTIRUN
    for override in typed(hydra):
        key = override.key_or_group
        if sweep and key == "hydra.run.dir":
            raise ConfigError(f"{key} is the folder of one run, but this is a sweep; write hydra.sweep.dir=...")
        if not sweep and any(key == root or key.startswith(f"{root}.") for root in OF_SWEEPS):
            instead = "; a run's folder is hydra.run.dir" if key == "hydra.sweep.dir" else ""
            raise ConfigError(f"{key} is read in a sweep, but this is one run; add -m, or leave it out{instead}.")
        if (override.is_add() or override.is_force_add()) and not _known(key):
            raise ConfigError(f"{key} is a key that nothing reads; leave it out.")


def _check_files(hydra: Any) -> None:
    """Raise ConfigError if an option that was chosen has another file in a folder that Hydra reads later."""
    folders = [Path(str(each.path)) for each in hydra.runtime.config_sources if each.schema == "file"]
    if len(folders) > 1:
        for key, name in hydra.runtime.choices.items():
            check_option(str(key).partition("@")[0], str(name), folders)


def check_option(group: str, name: str, folders: Sequence[Path]) -> None:
    """Raise ConfigError if folders have different files for one option. Hydra would read that of the first folder."""
    files = [file for folder in folders if (file := folder / group / f"{name}.yaml").is_file()]
    for other in files[1:]:
        if other.read_bytes() != files[0].read_bytes():
            raise ConfigError(
                f"{other} is never read, because {group}={name} is {files[0]}; give your file another name."
            )


def _known(key: str) -> bool:
    """Whether Hydra has this option, or allows any option there. Launchers and sweepers check their own options."""
    if key.startswith(OF_SWEEPS[1:3]):
        return True
    node: Any = OmegaConf.structured(HydraConf)
    for part in key.split(".")[1:]:
        if not isinstance(node, DictConfig) or OmegaConf.get_type(node) is dict:
            return True
        if part not in node:
            return False
        node = node[part]
    return True


def check_sweep(config: DictConfig, hydra: Any) -> None:
    """Raise ConfigError for a sweep or a search that would end in an error or without any run."""
    check(hydra)
    here = place()
    if here is not None and here.world > 1:
        raise ConfigError(
            f"a sweep itself starts the processes of each run (trainer=ddp); run it without {here.launcher}."
        )
    sweeper = hydra.sweeper
    if hydra.launcher is None or sweeper is None:
        raise ConfigError("a sweep needs hydra.launcher and hydra.sweeper; choose a launcher by launcher=local.")
    if sweeper._target_.endswith("BasicSweeper"):
        if sweeper.get("max_batch_size") is not None and sweeper.max_batch_size < 1:
            raise ConfigError(f"hydra.sweeper.max_batch_size must be ≥ 1 or null, got {sweeper.max_batch_size}.")
        return
    _check_search(config, hydra)


def _check_search(config: DictConfig, hydra: Any) -> None:
    """Raise ConfigError unless the search varies something and each trial has a validation loss to minimise."""
    sweeper = hydra.sweeper
    for name in ("n_trials", "n_jobs"):
        if sweeper.get(name) is not None and sweeper[name] < 1:
            raise ConfigError(f"hydra.sweeper.{name} must be a whole number ≥ 1, got {sweeper[name]}.")
    direction = sweeper.get("direction", "minimize")
    if OmegaConf.is_list(direction) or getattr(direction, "name", str(direction)) != "minimize":
        raise ConfigError(
            f"hydra.sweeper.direction={direction} does not fit: a run returns its "
            "validation loss; write hydra.sweeper.direction=minimize."
        )
    if not [*_searched(hydra)]:
        raise ConfigError(
            "the search has nothing to search for: each value is fixed; write hydra.sweeper.params, or on the command "
            "line such as 'encoding.base=tag(log, interval(2, 100000))'."
        )
    steps, every = config.trainer.max_steps, config.trainer.validate_every
    if isinstance(steps, int) and isinstance(every, int) and every > steps:
        raise ConfigError(
            f"a search compares trials by their validation loss, and with trainer.validate_every={every} there is no "
            f"validation in trainer.max_steps={steps}; set trainer.validate_every={steps} or less."
        )


def _searched(hydra: Any) -> Iterator[str]:
    """The keys that a search varies. A typed word replaces the config's value for the same key."""
    parser, params = OverridesParser.create(), hydra.sweeper.get("params") or {}
    words = [*(f"{key}={value}" for key, value in params.items()), *words_of(hydra.overrides.task)]
    last = {override.key_or_group: override for override in parser.parse_overrides(words)}
    yield from (key for key, override in last.items() if override.is_sweep_override())
    yield from hydra.sweeper.get("search_space") or ()
