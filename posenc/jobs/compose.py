"""Makes sweeps start faster: each config file is read once, and each choice of files is composed once."""

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from functools import partial
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig


class ReadOnce(CachingConfigRepository):
    """A repository of config files that all jobs of a sweep share. Hydra itself makes a new one for each job.

    Hydra changes configs while it composes them, so it gets copies of them. It needs no copies of lists of defaults.
    Editing a config file during a sweep does not change the jobs of that sweep.
    """

    def __init__(self, delegate: Any) -> None:
        super().__init__(delegate)
        self._path: ConfigSearchPath | None = None
        self._exists: dict[tuple[str, ObjectType], bool] = {}
        self._composed: dict[tuple[Any, ...], DictConfig] = {}
        self._copies = False

    def __deepcopy__(self, memo: Any) -> "ReadOnce":
        return self

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Use the folders of this search path. Files from another search path are forgotten."""
        found = [(each.provider, each.path) for each in config_search_path.get_path()]
        known = None if self._path is None else [(each.provider, each.path) for each in self._path.get_path()]
        if found != known:
            super().initialize_sources(config_search_path)
            self.cache.clear()
            self._exists.clear()
            self._composed.clear()
            self._path = config_search_path

    def load_config(self, config_path: str) -> ConfigResult | None:
        """The content of the file."""
        found = copy(super().load_config(config_path))
        if found is not None and self._copies:
            found.config = deepcopy(found.config)
        return found

    def group_exists(self, config_path: str) -> bool:
        """Whether the folder exists."""
        key = config_path, ObjectType.GROUP
        if key not in self._exists:
            self._exists[key] = super().group_exists(config_path)
        return self._exists[key]

    def config_exists(self, config_path: str) -> bool:
        """Whether the file exists."""
        key = config_path, ObjectType.CONFIG
        if key not in self._exists:
            self._exists[key] = super().config_exists(config_path)
        return self._exists[key]

    def compose(self, by_hydra: Callable[..., DictConfig], defaults: Sequence[ResultDefault], repo: Any) -> DictConfig:
        """A copy of the config that Hydra composes of these files, before the values of a job are set."""
        key = tuple((each.config_path, each.package, each.is_self) for each in defaults)
        if key not in self._composed:
            self._copies = True
            try:
                self._composed[key] = by_hydra(defaults=defaults, repo=CachingConfigRepository(self))
            finally:
                self._copies = False
        return deepcopy(self._composed[key])


def read_once() -> None:
    """From now on, all jobs that Hydra composes share one `ReadOnce`."""
    loader: Any = GlobalHydra.instance().config_loader()
    if not isinstance(loader.repository, ReadOnce):
        loader.repository = ReadOnce(loader.repository)
        by_hydra = loader._compose_config_from_defaults_list
        loader._compose_config_from_defaults_list = partial(loader.repository.compose, by_hydra)
