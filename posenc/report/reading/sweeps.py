"""A sweep as its folder records it: its commands, and what has chosen its runs.

Hydra's multirun.yaml has the last command. Each command leaves a journal in the folder (posenc.runs.sweep_journal).
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from posenc.runs.folder import FINISHED
from posenc.runs.reading import plain_text, read_yaml
from posenc.runs.sweep_journal import Journal, read_closed
from posenc.terminal import TRAIN

HIDDEN = ("hydra.mode=", "hydra.run.dir=", "hydra.job.config.override_dirname.exclude_keys=")
"""Overrides that posenc adds to a command, so that they are not shown."""
FOLDER = "hydra.sweep.dir="
"""Posenc adds this override too, before the user's words. Only the user's own is shown."""

MAX_JOURNALS = 1000
"""Upper limit of journals that are read in one folder."""


@dataclass(frozen=True)
class Sweep:
    """A sweep of a report."""

    commands: tuple[str, ...] = ()
    """The commands that made its runs, the last one at the end; none if they are not known."""
    searched: bool = False
    """Whether a sweeper such as Optuna has chosen its runs. Then further seeds would be further trials."""
    claim: str = ""
    """The published claim that it tests, if any. Then docs/own_claim.md says when seeds may be added."""

    @classmethod
    def recorded(cls, found: Mapping[str, Any]) -> "Sweep":
        """The sweep that the record of a run in a table names."""
        said, claim = found.get("sweep_command"), found.get("claim")
        commands = tuple(each for each in _texts(said) if _is_command(each))
        claim = claim if isinstance(claim, str) else ""
        return cls(commands, found.get("searched") is True, claim or _typed_claim(commands))

    def record(self) -> dict[str, Any]:
        """The entries of such a record."""
        several = list(self.commands) if len(self.commands) > 1 else next(iter(self.commands), None)
        return {"sweep_command": several, "searched": self.searched or None, "claim": self.claim or None}


class Journaled(NamedTuple):
    """What the journal of one command says: when it began, its words, and the folders of the runs that it has."""

    began: float
    words: list[str]
    made: set[str]


NO_SWEEP = Sweep()
"""Nothing is known of the sweep, or there was none."""


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder, as far as its multirun.yaml can be read."""
    try:
        record = plain_text(read_yaml(folder / "multirun.yaml"))
    except (OSError, ValueError):
        return NO_SWEEP
    commands = _commands(record, _journals(folder))
    return Sweep(commands, _searched(record), _claim(record) or _typed_claim(commands))


def _commands(record: Any, journals: Sequence[Journaled]) -> tuple[str, ...]:
    """The last command, and before it each earlier one that made a run which no later one names."""
    try:
        task, hydra = ([str(word) for word in record["hydra"]["overrides"][key]] for key in ("task", "hydra"))
    except (KeyError, TypeError):
        return ()
    own = [word for word in hydra if word.startswith(FOLDER)][1:]
    hydra = [word for word in hydra if not word.startswith((*HIDDEN, FOLDER))]
    made = set[str]().union(*(each.made for each in journals if each.words == task))
    typed = [[*task, *hydra]]
    for each in sorted(journals, key=lambda each: each.began, reverse=True):
        if each.made - made:
            typed.insert(0, each.words)
            made |= each.made
    first = [TRAIN, "-m"]
    return tuple(" ".join([*first, *map(shlex.quote, [*_config_dir(record), *words, *own])]) for words in typed)


def _journals(folder: Path) -> list[Journaled]:
    """What the journals say that can be read."""
    found: list[Journaled] = []
    for path in islice((folder / ".sweeps").glob("*"), MAX_JOURNALS):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            plan, jobs = Journal(path).read() if path.is_dir() else read_closed(path)
            made = {str(job["folder"]) for job in jobs.values() if job["state"] in FINISHED}
            words = [str(word) for word in plan["overrides"]]
            found.append(Journaled(float(plan["began"]), plain_text(words), made))
    return found


def _texts(said: Any) -> list[str]:
    """The texts of a list, or a text by itself."""
    return [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]


def _is_command(text: str) -> bool:
    """Whether the text can be split into the words of a shell command."""
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False


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
        return ""


def _typed_claim(commands: Sequence[str]) -> str:
    """The claim that a command names; tables that were written before `claim` was recorded have only the command."""
    words = [word for command in commands for word in shlex.split(command)]
    return next((word.partition("=")[2] for word in words if word.startswith("claim=")), "")
