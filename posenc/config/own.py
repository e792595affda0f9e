"""Refuses a file of the user's own config folder that is never read, because posenc has a file of the same name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posenc.checks import ConfigError


def check(hydra: Any) -> None:
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
