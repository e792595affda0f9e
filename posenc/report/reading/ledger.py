"""A ledger: a committed table of runs from many days and machines.

It has the columns of comparison_summary.csv, without values that belong to one machine, and is read in the same way.
Its first row has the settings that all runs share, and each run has the others, so that thousands of runs need only a
few megabytes. A run is identified by its identity and by the digests of its data and of its first weights. The identity
is computed again from the config whenever the ledger is read, so a row that was changed by hand is noticed.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from posenc.checks import ConfigError
from posenc.report.reading import saved
from posenc.report.reading.arms import Placed
from posenc.report.reading.read import Note, Run
from posenc.report.reading.sweeps import NO_SWEEP
from posenc.report.words import listing
from posenc.runs.folder import FINISHED
from posenc.runs.identity import HOW, config_hash, settings
from posenc.runs.lock import locked
from posenc.runs.result import SCHEMA
from posenc.runs.writing import write_text
from posenc.terminal import count

Key = tuple[str, str | None, str | None]
ONCE = ("error", "command", *saved.COSTS, *saved.BEYOND, "learning_rate", "step_90")
"""Columns that only the first row of a run has."""
AGREE = 1e-4
"""Two measurements of one run may differ by less than this, because machines round sums in different order."""
DIGITS = 7
STEP_SKILL = ".9"
"""The level of validation skill for the column step_90: the step of the first validation that reached it."""


@dataclass(frozen=True)
class Change:
    """The result of adding runs."""

    added: list[Run]
    known: int
    """How many of the runs the ledger already had, with the same scores."""
    total: int
    notes: list[Note]
    """Runs that were refused, each with its reason."""


def key(run: Run) -> Key:
    """Two runs with the same key are one run: identity, data, first weights."""
    return run.identity, run.result.get("data_digest"), run.result.get("start_digest")


def runs_of(path: Path) -> dict[Key, Run]:
    """The runs of a ledger. Raises ConfigError if the file is no ledger, or if a row does not fit its identity."""
    found, notes = saved.read_table(path)
    lines = [note.text for note in notes]
    lines += [f"{run.name}: {why}" for run in found if (why := _unfit(run))]
    if lines:
        raise ConfigError(f"{path} is not used: {lines[0]} ({count(len(lines), 'such row')}); put the file back.")
    return {key(run): run for run in found}


def _unfit(run: Run) -> str:
    """Why a run cannot be in a ledger; empty if it can."""
    if run.status not in FINISHED:
        return f"its status is {run.status}, and only what has come to its end counts"
    if run.evaluated is not None:
        return "it is an evaluation of a trained run, and a ledger holds runs that were trained"
    if run.config is None:
        return "its config is not known"
    if run.config_hash != (found := config_hash(run.config)) and run.identity != found:
        return f"its config has the identity {found}, and it says {run.config_hash or 'none'}"
    if settings(run.config).get("trainer.precision") == "auto":
        return "trainer.precision=auto is another precision on another machine; run it with trainer.precision=32-true"
    return ""


def add(path: Path, roots: Sequence[Path]) -> Change:
    """Add the runs below `roots` (folders or tables) to the ledger at `path`, which is made if it does not exist.

    A run that the ledger already has is not changed. A run that contradicts the ledger is refused, and so is a run
    whose identity does not fit its config. Raises ConfigError if the files cannot be read or written.
    """
    runs, notes = saved.read_all(roots, layout=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock"), wait=True):
            there = runs_of(path) if path.exists() else {}
            change = _merge(there, runs, notes)
            if change.added:
                write_text(path, text([*there.values(), *change.added]))
    except OSError as error:
        raise ConfigError(
            f"the ledger {path} cannot be written ({error.strerror}); choose another --ledger."
        ) from error
    return change


def _merge(there: Mapping[Key, Run], runs: Sequence[Run], notes: list[Note]) -> Change:
    added: dict[Key, Run] = {}
    known = 0
    for run in runs:
        if why := _unfit(run):
            notes.append(Note(run.name, f"not added: {why}."))
            continue
        former = there.get(key(run)) or added.get(key(run))
        if former is None:
            added[key(run)] = run
            continue
        if (worst := _disagreement(former, run)) <= AGREE:
            known += 1
        else:
            notes.append(
                Note(run.name, f"not added: the ledger has this run with scores that differ by up to {worst:.4f}.")
            )
    return Change([*added.values()], known, len(there) + len(added), notes)


def _disagreement(first: Run, second: Run) -> float:
    if first.status != second.status or first.test.keys() != second.test.keys():
        return float("inf")
    pairs = [
        (row[name], second.test[n][name]) for n, row in first.test.items() for name in row if name in second.test[n]
    ]
    return max((abs(one - other) for one, other in pairs), default=0.0)


def text(runs: Sequence[Run]) -> str:
    """The ledger as CSV, by data set, encoding, seed and identity."""
    runs = sorted(runs, key=lambda run: (run.dataset, run.encoding, run.seed, key(run)[0]))
    configs = [settings(run.config or {}) for run in runs]
    shared = _shared(configs)
    placed = []
    for run, config in zip(runs, configs, strict=True):
        name = f"{run.dataset}/{run.encoding}/seed{run.seed}/{run.identity}"
        result = run.result | {"config_hash": run.identity, "command": without_how(run.command)}
        own = {setting: value for setting, value in config.items() if setting not in shared}
        plain = replace(run, folder=Path(name), sweep=Path(), name=name, result=result, config=saved.nested(own))
        plain.made_by = NO_SWEEP
        placed.append(Placed(plain, run.dataset, run.positions, run.encoding, "", counted=True))
    table = saved.long_table(placed, {})
    record = json.loads(str(table["record"].iloc[0]))
    table.loc[0, "record"] = saved.written(record | {saved.SHARED: shared})
    steps = [(run.result.get("skill_steps") or {}).get(STEP_SKILL) for run in runs]
    extra = {"learning_rate": [config.get("optimizer.lr") for config in configs], "step_90": steps}
    names = [item.run.name for item in placed]
    for column, values in extra.items():
        known = dict(zip(names, values, strict=True))
        table[column] = [known[str(name)] for name in table["folder"]]
    table = table.astype({"step_90": "Int64"}).reindex(
        columns=[*saved.TABLE_COLUMNS[:-1], *extra, saved.TABLE_COLUMNS[-1]]
    )
    again = table["record"].isna()
    for column in ONCE:
        table[column] = table[column].mask(again)
    return table.drop(columns=["sweep", "arm", "counted"]).to_csv(index=False, float_format=f"%.{DIGITS}g")


def without_how(command: str) -> str:
    """A command without the words that only say how its runs are made (`HOW`), because others have other paths."""
    try:
        words = shlex.split(command)
    except ValueError:  # not a shell command
        return ""
    kept = [word for word in words if re.split("[./=]", word.lstrip("+"))[0] not in HOW]
    return command if kept == words else shlex.join(kept)


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that have the same value in all configs."""
    first, *others = configs
    return {name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)}


@lru_cache(maxsize=1)
def _known(path: Path, size: int, changed: int) -> dict[Key, Run]:
    return runs_of(path)


def cached(path: Path) -> dict[Key, Run]:
    """`runs_of`, read once for all jobs of a sweep. Raises ConfigError if the ledger cannot be read."""
    try:
        at = path.stat()
    except OSError as error:
        raise ConfigError(
            f"the ledger {path} cannot be read ({error.strerror}); `python -m posenc ledger add RUNS --ledger {path}` "
            "makes one."
        ) from error
    return _known(path, at.st_size, at.st_mtime_ns)


def find(path: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of the run with this `record`; None if the ledger does not have it.

    Raises ConfigError if the ledger cannot be read.
    """
    runs = cached(path)
    found = runs.get((record["config_hash"], record["data_digest"], record["start_digest"]))
    return None if found is None else as_result(found)


def as_result(run: Run) -> dict[str, Any]:
    """The result of a run from a table, in the form of result.json, as far as the table contains it."""
    kept: dict[str, Any] = dict(run.result)
    kept |= {name: int(kept[name]) for name in saved.WHOLE if kept.get(name) is not None}
    filled = {"schema": SCHEMA, "error": None, "references": {}, "validation": {"best_loss": None}}
    tables = {name: {str(n): row for n, row in kept[name].items()} for name in ("test", "ceilings", "undefined")}
    return filled | kept | tables


def extract(path: Path, hashes: Sequence[str], target: Path) -> None:
    """Write the runs of the ledger with these identities into a new ledger."""
    write_text(target, text([run for run in runs_of(path).values() if run.identity in hashes]))


def show(action: str, runs: Sequence[Path], ledger: Path) -> None:
    """`python -m posenc ledger add RUNS...`: add the runs and print what changed.

    Raises ConfigError with the reasons if no run fits the ledger.
    """
    assert action == "add"
    change = add(ledger, runs)
    if not change.added and not change.known:
        reasons: dict[str, list[str]] = {}
        for note in change.notes:
            reasons.setdefault(note.text.removeprefix("not added: ").removesuffix("."), []).append(note.folder)
        told = [f"{listing(folders, 2)}: {why}" for why, folders in reasons.items()]
        raise ConfigError(f"nothing can be added to {ledger}: {'; '.join(told) or 'no run is there'}.")
    for line in _told(change, ledger):
        print(line)


def _told(change: Change, ledger: Path) -> Iterator[str]:
    for note in change.notes:
        yield f"note: {note.folder}: {note.text}"
    if not change.added and not change.notes:
        yield f"nothing to add: the ledger has {'this run' if change.known == 1 else f'all {change.known} runs'}"
    else:
        yield f"{count(len(change.added), 'run')} added, {change.known} known before"
    for name in sorted({f"{run.dataset} {run.encoding}" for run in change.added}):
        seeds = sorted(run.seed for run in change.added if f"{run.dataset} {run.encoding}" == name)
        yield f"  {name}: {count(len(seeds), 'run')}, seeds {', '.join(map(str, sorted(set(seeds))))}"
    yield f"{ledger}: {count(change.total, 'run')}"
