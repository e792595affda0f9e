"""A sweep as Hydra recorded it in its folder: its command, and what has chosen its runs."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posenc.runs.reading import plain_text, read_yaml
from posenc.terminal import TRAIN

HIDDEN = ("hydra.mode=", "hydra.run.dir=", "hydra.job.config.override_dirname.exclude_keys=")
"""Overrides that posenc adds to a command, so that they are not shown."""
FOLDER = "hydra.sweep.dir="
"""Posenc adds this override too, before the user's words. Only the user's own is shown."""


@dataclass(frozen=True)
class Sweep:
    """A sweep of a report."""

    command: str = ""
    """Empty if it is not known."""
    searched: bool = False
    """Whether a sweeper such as Optuna has chosen its runs. Then further seeds would be further trials."""
    claim: str = ""
    """The published claim that it tests, if any. Then docs/own_claim.md says when seeds may be added."""

    @classmethod
    def recorded(cls, found: Mapping[str, Any]) -> "Sweep":
        """The sweep that the record of a run in a table names."""
        command, claim = (
            value if isinstance(value := found.get(key), str) else "" for key in ("sweep_command", "claim")
        )
        return cls(command, found.get("searched") is True, claim or _typed_claim(command))

    def record(self) -> dict[str, Any]:
        """The entries of such a record."""
        return {"sweep_command": self.command or None, "searched": self.searched or None, "claim": self.claim or None}


NO_SWEEP = Sweep()
"""Nothing is known of the sweep, or there was none."""


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder, as far as its multirun.yaml can be read."""
    try:
        record = plain_text(read_yaml(folder / "multirun.yaml"))
    except (OSError, ValueError):
        return NO_SWEEP
    return Sweep(_command(record), _searched(record), _claim(record))


def _command(record: Any) -> str:
    try:
        overrides = record["hydra"]["overrides"]
        words = [str(word) for word in [*overrides["task"], *overrides["hydra"]]]
    except (KeyError, TypeError):
        return ""
    own = [word for word in words if word.startswith(FOLDER)][1:]
    kept = [word for word in words if not word.startswith((*HIDDEN, FOLDER))]
    kept = [shlex.quote(word) for word in [*_config_dir(record), *kept, *own]]
    return " ".join([TRAIN, "-m", *kept])


def _config_dir(record: Any) -> list[str]:
    """The option of the command that names the user's config folder."""
    try:
        sources = record["hydra"]["runtime"]["config_sources"]
        # an f-string would name the key, which is also the name of an encoding
        return ["--config-dir={path}".format_map(each) for each in sources if each["provider"] == "command-line"]
    except (KeyError, TypeError):
        return []


def _searched(record: Any) -> bool:
    try:
        return not str(record["hydra"]["sweeper"]["_target_"]).endswith("BasicSweeper")
    except (KeyError, TypeError):
        return False


def _claim(record: Any) -> str:
    try:
        return str(record["hydra"]["runtime"]["choices"]["claim"] or "")
    except (KeyError, TypeError):
        return _typed_claim(_command(record))


def _typed_claim(command: str) -> str:
    """The claim that a command names; tables that were written before `claim` was recorded have only the command."""
    try:
        words = shlex.split(command)
    except ValueError:  # not a shell command
        return ""
    return next((word.partition("=")[2] for word in words if word.startswith("claim=")), "")
