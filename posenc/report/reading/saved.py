"""comparison_summary.csv: a row for each run and length. A report writes it and can read it instead of the runs.

Its last column, `record`, is in the first row of each run. As JSON it has everything without a column: the chosen names
of dataset and positions, the config, references, versions, the command of the sweep. Tables of older versions do not
have this column; then only their columns are used, and arms have the names in the table.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from posenc.checks import ConfigError
from posenc.report.reading.arms import Placed
from posenc.report.reading.read import UNFINISHED, Note, Run, read
from posenc.report.reading.sweeps import NO_SWEEP, Sweep
from posenc.runs import reading
from posenc.runs.identity import settings
from posenc.runs.reading import plain_text, short
from posenc.runs.result import STATUSES
from posenc.terminal import count

TABLE_COLUMNS = [
    "folder", "sweep", "dataset", "positions", "encoding", "arm", "seed", "status", "counted", "config_hash",
    "trained_shortest", "trained_longest", "length", "accuracy", "accuracy_standard_error", "loss", "bits",
    "exact_match", "skill", "sequences", "order_blind", "order_aware", "undefined", "aulc", "k50", "tested_to",
    "parameters", "encoding_parameters", "steps", "seconds", "tokens_per_second", "wall_seconds", "error", "command",
    "record",
]  # fmt: skip
"""The columns of comparison_summary.csv."""
NEEDED = ("folder", "dataset", "encoding", "seed", "status", "length")
"""A table without these columns is no table of posenc."""
SCORES = ("accuracy", "accuracy_standard_error", "loss", "bits", "exact_match", "skill", "sequences")
COSTS = ("parameters", "encoding_parameters", "steps", "seconds", "tokens_per_second", "wall_seconds")
BEYOND = ("aulc", "k50", "tested_to")
WHOLE = (
    "seed", "trained_shortest", "trained_longest", "length", "sequences", "parameters", "encoding_parameters", "steps",
    "tokens_per_second",
)  # fmt: skip
MAX_ROWS = 500_000
"""Upper limit of rows in a table; posenc's largest tables have some thousand."""


def long_table(placed: Iterable[Placed], sweeps: Mapping[str, Sweep]) -> pd.DataFrame:
    """One row for each run and length; a run without a score has one row. `sweeps` is {folder: sweep}."""
    rows: list[dict[str, object]] = []
    told: set[str] = set()
    for item in placed:
        run = item.run
        sweep = plain_text(str(run.sweep))
        base: dict[str, object] = {
            "folder": run.name, "sweep": sweep, "dataset": item.dataset, "positions": item.positions,
            "encoding": run.encoding, "arm": item.arm, "seed": run.seed, "status": run.status,
            "counted": "yes" if item.completed else item.why_not or "no", "config_hash": run.config_hash,
            "error": run.error, "command": run.command,
        }  # fmt: skip
        base |= dict(zip(("trained_shortest", "trained_longest"), run.trained or (None, None), strict=True))
        base |= {key: run.generalization(key) for key in BEYOND}
        base |= {key: run.measured(key) for key in COSTS}
        record = _record(run, sweeps.get(sweep, NO_SWEEP) if sweep not in told else NO_SWEEP)
        told.add(sweep)
        for n in sorted({*run.test, *run.undefined}) or [None]:
            row = dict(base, length=n, record=record)
            record = None
            if n is not None:
                blind, aware = run.ceilings.get(n, (None, None))
                row |= run.test.get(n, {}) | {"order_blind": blind, "order_aware": aware}
                row["undefined"] = run.undefined.get(n)
            rows.append(row)
    table = pd.DataFrame([{key: _cell(value) for key, value in row.items()} for row in rows]).reindex(
        columns=TABLE_COLUMNS
    )
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def _record(run: Run, sweep: Sweep) -> str:
    config = None if run.config is None else settings(run.config)
    found = {"dataset": run.dataset, "positions": run.positions, "config": config, **sweep.record()}
    found |= {key: run.result[key] for key in KEPT if run.result.get(key) not in (None, {})}
    return written({key: value for key, value in found.items() if value is not None})


def written(record: Mapping[str, Any]) -> str:
    """A record as text, without blanks, because a ledger has thousands of them."""
    return json.dumps(record, default=str, separators=(",", ":"))


KEPT = (
    "references", "versions", "schema", "data_digest", "start_digest", "precision", "validation", "skill_steps",
    "stopped", "censored", "trained_tokens", "evaluated", "recipe",
)  # fmt: skip
"""Entries of a result that have no column."""
SHARED = "shared"
"""A key in the record of the first row: settings that all runs of the table share. Other records leave them out."""


def _cell(value: object) -> object:
    """The text, changed so that no spreadsheet reads it as a formula. posenc's own names are never changed."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _uncell(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def read_all(roots: Sequence[Path], layout: bool = True) -> tuple[list[Run], list[Note]]:
    """The runs of all folders, then of all tables in `roots`, and notes about missing information.

    layout  whether a note says what runs of a table lack

    Raises ConfigError if a folder has no run, or if a file is no such table.
    """
    folders = [root for root in roots if not root.is_file()]
    runs, notes = read(folders) if folders else ([], [])
    for path in (root for root in roots if root.is_file()):
        more, remarks = read_table(path)
        lack = [Note(plain_text(str(path)), _about(more))] if more and layout else []
        runs, notes = runs + more, notes + lack + remarks
    return runs, notes


def read_table(path: Path) -> tuple[list[Run], list[Note]]:
    """The runs of a saved table, and notes about runs that are left out. Raises ConfigError if it is no such table.

    The run folders are not read, so there are no learning curves and no curves by position.
    """
    name = plain_text(str(path))
    try:
        reader = csv.DictReader(io.StringIO(reading.read_table(path).decode("utf-8")), strict=True)
        lacking = [column for column in NEEDED if column not in (reader.fieldnames or ())]
        if lacking:
            raise ConfigError(
                f"{name} is no table of a report: it has no column {lacking[0]}; give a comparison_summary.csv."
            )
        groups: dict[str, list[dict[str, str]]] = {}
        for place, row in enumerate(reader):
            if None in row or None in row.values():
                raise ConfigError(f"{name} is damaged: row {place + 2} has more or fewer fields than the heading.")
            if place >= MAX_ROWS:
                raise ConfigError(f"{name} has more than {MAX_ROWS:,} rows, too many for a table of runs.")
            plain = {key: _uncell(plain_text(value)) for key, value in row.items()}
            groups.setdefault(plain["folder"], []).append(plain)
    except ConfigError:  # it is a ValueError too
        raise
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{name} cannot be read as a table of runs ({why}).") from error
    notes: list[Note] = []
    shared = _read_record(next(iter(groups.values()))[0].get("record", "")).get(SHARED) if groups else None
    shared = shared if isinstance(shared, dict) else {}
    runs = [run for folder, rows in groups.items() if (run := _run(folder, rows, shared, name, notes)) is not None]
    return runs, notes


def _about(runs: list[Run]) -> str:
    text = f"{count(len(runs), 'run')} read from this table, without their folders: without learning curves and curves "
    text += "by position."
    unknown = sum(run.config is None for run in runs)
    if unknown:
        text += f" It is of an older layout, without the configs{'' if unknown == len(runs) else f' of {unknown:,}'}: "
        text += "batch size and training data are unknown, and arms are told apart as the table names them."
    return text


def _run(
    folder: str, rows: list[dict[str, str]], shared: Mapping[str, Any], name: str, notes: list[Note]
) -> Run | None:
    first = rows[0]
    said = f"{name}: {folder}"
    status = first["status"]
    if status not in (*STATUSES, UNFINISHED):
        notes.append(Note(said, f"the unknown status {short(status)}: left out."))
        return None
    if re.fullmatch(r"\d{1,18}", first["seed"]) is None and not (status == UNFINISHED and first["seed"] == "-1"):
        notes.append(Note(said, f"the seed {short(first['seed'])!r}, which is not a whole number: left out."))
        return None
    record = _read_record(first.get("record", ""))
    config = record.get("config")
    config = nested({**shared, **config}) if isinstance(config, dict) else None
    result: dict[str, Any] = {key: record[key] for key in KEPT if key in record}
    result |= {
        "encoding": first["encoding"], "seed": int(first["seed"]), "status": status,
        "dataset": (config is not None and record.get("dataset")) or first["dataset"],
        "positions": (config is not None and record.get("positions")) or first.get("positions"),
        "error": first.get("error"), "config_hash": first.get("config_hash"), "command": first.get("command"),
        "length_generalization": {key: _float(first.get(key)) for key in BEYOND},
        "test": {}, "ceilings": {}, "undefined": {},
    }  # fmt: skip
    result |= {key: _float(first.get(key)) for key in COSTS}
    trained = [_whole(first.get(key)) for key in ("trained_shortest", "trained_longest")]
    if None not in trained:
        result["trained_lengths"] = trained
    for row in rows:
        n = _whole(row["length"])
        if n is None:
            continue
        scores = {key: value for key in SCORES if (value := _float(row.get(key))) is not None}
        if row.get("undefined"):
            result["undefined"][n] = row["undefined"]
        if scores:
            result["test"][n] = scores
        ceilings = {key: _float(row.get(key)) for key in ("order_blind", "order_aware")}
        if scores or any(value is not None for value in ceilings.values()):
            result["ceilings"][n] = ceilings
    result = {key: value for key, value in result.items() if value is not None}
    return Run(
        folder=Path(folder),
        sweep=Path(first.get("sweep") or "."),
        result=result,
        config=config,
        name=folder,
        saved=True,
        words=[] if config is not None else _words(first.get("arm") or "", first["encoding"]),
        made_by=Sweep.recorded(record),
    )


def _read_record(text: str) -> dict[str, Any]:
    try:
        found = plain_text(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: value} as nested groups. If a key would be both a value and a group, it stays a value."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        node: Any = nested
        *groups, last = key.split(".")
        for group in groups:
            child = node.setdefault(group, {})
            node = child if isinstance(child, dict) else {}
        node[last] = value
    return nested


def _words(arm: str, encoding: str) -> list[str]:
    """The words of an arm's name after its encoding: `rope (model.num_layers=4, seed_offset=1)` has two words."""
    inside = arm.removeprefix(encoding).strip()
    if not (inside.startswith("(") and inside.endswith(")")):
        return [inside] if inside else []
    return re.split(r", (?=[\w.]+=)", inside[1:-1])


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    return int(float(text)) if text and re.fullmatch(r"[0-9]{1,9}(\.0)?", text) else None
