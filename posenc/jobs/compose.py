"""The config files of a sweep are read once, and not again for each of its jobs."""

from copy import copy, deepcopy
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult


class ReadOnce(CachingConfigRepository):
    """Hydra's repository of config files, which a compose copies and asks; this one is shared by all of them.

    What it hands out is a copy, since a compose changes it. Files that are edited while a sweep goes on change none of
    its jobs.
    """

    def __init__(self, delegate: Any) -> None:
        super().__init__(delegate)
        self._path: ConfigSearchPath | None = None
        self._exists: dict[tuple[str, ObjectType], bool] = {}

    def __deepcopy__(self, memo: Any) -> "ReadOnce":
        return self

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Look in the folders of this search path; what was read from others is forgotten."""
        found = [(each.provider, each.path) for each in config_search_path.get_path()]
        known = None if self._path is None else [(each.provider, each.path) for each in self._path.get_path()]
        if found != known:
            super().initialize_sources(config_search_path)
            self.cache.clear()
            self._exists.clear()
            self._path = config_search_path

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy of what the file says."""
        found = copy(super().load_config(config_path))
        if found is not None:
            found.config = deepcopy(found.config)
        return found

    def group_exists(self, config_path: str) -> bool:
        """Whether there is such a folder."""
        key = config_path, ObjectType.GROUP
        if key not in self._exists:
            self._exists[key] = super().group_exists(config_path)
        return self._exists[key]

    def config_exists(self, config_path: str) -> bool:
        """Whether there is such a file."""
        key = config_path, ObjectType.CONFIG
        if key not in self._exists:
            self._exists[key] = super().config_exists(config_path)
        return self._exists[key]


def read_once() -> None:
    """Let all jobs that Hydra composes from now on share what it reads."""
    loader: Any = GlobalHydra.instance().config_loader()
    if not isinstance(loader.repository, ReadOnce):
        loader.repository = ReadOnce(loader.repository)
