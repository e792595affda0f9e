"""The files of a run. Training writes them, and everything else reads them.

<run folder>/.hydra/config.yaml    the resolved config
             metrics.csv           every logged row
             result.json           written last, atomically
             by_position.csv       test scores for each place in the sequence, if a sequence has several targets
             checkpoints/          last.ckpt, previous.ckpt before it, best.ckpt by validation loss
             events.out.tfevents.* files for TensorBoard; ceilings/ has its constant curves
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posenc.runs.writing import write_text

RESULT, CONFIG_FILE = "result.json", Path(".hydra", "config.yaml")
STUDY = "study.json"
"""The file of a study without training, in place of result.json (posenc.studies)."""
SCHEMA = 2
"""The layout of result.json. Layout 2 has several test lengths, `undefined`, `length_generalization`,
`trained_lengths` and `command`."""
MAX_SCORE = 1e30
"""Upper limit of a number in a result; the mean of larger numbers may overflow."""
STATUSES = ("completed", "diverged", "failed", "interrupted")


def other_layout(record: Mapping[str, Any]) -> str | None:
    """A sentence that says why a record of another layout is not read; None if it has this layout."""
    found = record.get("schema")
    if found == SCHEMA and not isinstance(found, bool):
        return None
    said = "does not say its layout" if found is None else f"has layout (schema) {found!r:.20}"
    return f"it {said}, and this posenc reads and writes layout {SCHEMA}; use the posenc that wrote it"


def write_positions(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write by_position.csv, atomically, if there is anything to write."""
    if rows:
        lines = [",".join(rows[0]), *(",".join(f"{value:.6g}" for value in row.values()) for row in rows)]
        write_text(folder / "by_position.csv", "\n".join(lines) + "\n")


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, atomically."""
    assert result["status"] in STATUSES
    write_text(folder / RESULT, json.dumps(_finite(result), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """The same value with None in place of numbers that JSON cannot write."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chosen(result: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a run's arm: ("recipe", name) if it has a recipe, otherwise ("encoding", name)."""
    recipe = result.get("recipe")
    return ("recipe", str(recipe)) if recipe else ("encoding", str(result["encoding"]))


def title(result: Mapping[str, Any]) -> str:
    """The words that name a run in the terminal and above its figures."""
    return f"{result['dataset']} · {'='.join(chosen(result))} · seed {result['seed']}"


def is_result(found: Any) -> bool:
    """Whether a value is a result that jobs/summary.py can print: names are strings, and numbers are numbers."""
    names = {"status": str, "error": str | None, "encoding": str, "dataset": str, "seed": int}
    if not isinstance(found, dict) or not names.keys() <= found.keys():
        return False
    if not all(isinstance(found[key], kind) for key, kind in names.items()):
        return False
    tables = [found.get(key, {}) for key in ("test", "ceilings")]
    groups = [found.get(key, {}) for key in ("undefined", "references", "validation", "length_generalization")]
    if found["status"] not in STATUSES or not all(isinstance(each, dict) for each in (*tables, *groups)):
        return False
    rows = [row for table in tables for row in table.values()]
    if not all(isinstance(row, dict) for row in rows):
        return False
    test, ceilings = tables
    needed = [row.get(key) for row in test.values() for key in ("accuracy", "accuracy_standard_error")]
    if "parameters" in found:
        if "tokens_per_second" not in found:
            return False
        needed += [found.get(key) for key in ("parameters", "encoding_parameters", "steps", "seconds")]
    values = [*needed, found.get("tokens_per_second"), *(v for part in (*rows, *groups[1:]) for v in part.values())]
    if not all(isinstance(value, int | float | None) and abs(value or 0) < MAX_SCORE for value in values):
        return False
    if not all(isinstance(why, str) for why in groups[0].values()) or any(
        r.get("skill", 0) is None for r in test.values()
    ):
        return False
    told = {"undefined", "references", "length_generalization", "ceilings"} <= set(found)
    told = told and all({"order_blind", "order_aware"} <= set(ceilings.get(length, ())) for length in test)
    return None not in needed and (told or not test) and _reaches(found.get("length_generalization"))


def _reaches(summary: Mapping[str, Any] | None) -> bool:
    return not summary or ({"aulc", "k50", "tested_to"} <= set(summary) and summary["tested_to"] is not None)
