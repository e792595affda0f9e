"""Runs that are missing or incomplete, and why; and the commands of the sweeps."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posenc.report.reading.arms import Placed
from posenc.report.reading.read import UNFINISHED
from posenc.runs.reading import plain_text, read_yaml
from posenc.terminal import TRAIN

HIDDEN = ("hydra.mode=", "hydra.run.dir=", "hydra.job.config.override_dirname.exclude_keys=")
"""Overrides that posenc adds to a command, so that they are not shown."""
FOLDER = "hydra.sweep.dir="
"""Posenc adds this override too, before the user's words. Only the user's own is shown."""


@dataclass(frozen=True)
class Lost:
    """A run without a result."""

    dataset: str
    positions: str
    arm: str
    seed: int | None
    status: str
    why: str
    folder: str


def lost(placed: Sequence[Placed]) -> list[Lost]:
    """Failed, diverged, interrupted and unfinished runs, and runs that are missing in a sweep."""
    found = [
        Lost(
            item.dataset, item.positions, item.arm, None if item.run.seed < 0 else item.run.seed, item.run.status,
            item.why_not or item.run.error or "no reason was recorded", item.run.name,
        )
        for item in placed
        if item.run.status != "completed" or item.why_not.startswith("refused")
    ]  # fmt: skip
    return found + _missing(placed)


def _missing(placed: Sequence[Placed]) -> list[Lost]:
    """Seeds that one arm of a sweep has and another lacks."""
    sweeps: dict[Path, list[Placed]] = defaultdict(list)
    for item in placed:
        sweeps[item.run.sweep].append(item)
    found: list[Lost] = []
    for sweep, items in sweeps.items():
        seeds = {item.run.seed for item in items if item.run.seed >= 0}
        unfinished = [item.run for item in items if item.run.status == UNFINISHED]
        unplaced = {(run.dataset, run.encoding, run.seed) for run in unfinished}
        arms: dict[tuple[str, str, str, str, str], set[int]] = defaultdict(set)
        for item in items:
            if item.run.status != UNFINISHED:
                arms[item.dataset, item.positions, item.arm, item.run.dataset, item.run.encoding].add(item.run.seed)
        for (dataset, positions, arm, *option), there in sorted(arms.items()):
            for seed in sorted(seeds - there):
                if (*option, seed) not in unplaced:
                    why = "no folder, although the sweep has this seed for other arms"
                    found.append(Lost(dataset, positions, arm, seed, "missing", why, plain_text(str(sweep))))
    return found


def sweep_commands(placed: Sequence[Placed]) -> dict[str, str]:
    """The command of each sweep, from its multirun.yaml."""
    commands: dict[str, str] = {}
    for item in placed:
        if item.run.sweep_command:
            commands.setdefault(plain_text(str(item.run.sweep)), item.run.sweep_command)
    for sweep in sorted({item.run.sweep for item in placed if not item.run.saved}):
        try:
            record = plain_text(read_yaml(sweep / "multirun.yaml"))
            overrides = record["hydra"]["overrides"]
            words = [str(word) for word in [*overrides["task"], *overrides["hydra"]]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        own = [word for word in words if word.startswith(FOLDER)][1:]
        kept = [word for word in words if not word.startswith((*HIDDEN, FOLDER))]
        kept = [shlex.quote(word) for word in [*_config_dir(record), *kept, *own]]
        commands[plain_text(str(sweep))] = " ".join([TRAIN, "-m", *kept])
    return commands


def _config_dir(record: Any) -> list[str]:
    """The option of the command that names the user's config folder."""
    try:
        sources = record["hydra"]["runtime"]["config_sources"]
        # an f-string would name the key, which is also the name of an encoding
        return ["--config-dir={path}".format_map(each) for each in sources if each["provider"] == "command-line"]
    except (KeyError, TypeError):
        return []


def is_search(sweep: Path) -> bool:
    """Whether a sweeper such as Optuna has chosen the runs of a sweep."""
    try:
        sweeper = plain_text(read_yaml(sweep / "multirun.yaml"))["hydra"]["sweeper"]["_target_"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return not str(sweeper).endswith("BasicSweeper")


def versions(placed: Sequence[Placed]) -> list[tuple[str, str, int]]:
    """(what, version, runs) over all runs that recorded it."""
    recorded = [found for item in placed if isinstance(found := item.run.result.get("versions"), Mapping)]
    counts = Counter((str(what), " ".join(str(each).split())) for found in recorded for what, each in found.items())
    return [(what, version, number) for (what, version), number in sorted(counts.items())]
