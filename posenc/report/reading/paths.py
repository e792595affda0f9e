"""What is known about a run from the path of its folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posenc.runs.reading import plain_text
from posenc.runs.result import RESULT


def from_path(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a run without a result, from its path <dataset>/<encoding>/seed<k>, which the sweep has made."""
    seed = config.get("seed")
    known = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63
    result = {"seed": seed if known else -1, "encoding": "?", "dataset": "?"}
    parts = folder.parts
    for place, part in enumerate(parts):
        if re.fullmatch(r"seed-?\d+", part) and place >= 2:
            result |= {"dataset": plain_text(parts[place - 2]), "encoding": plain_text(parts[place - 1])}
    result["error"] = f"no {RESULT}: it was killed, or is still running"
    return result


def sweep_of(folder: Path, root: Path) -> Path:
    """The folder of a run's sweep."""
    for parent in folder.parents:
        if (parent / "multirun.yaml").is_file():
            return parent
        if parent == root or root not in parent.parents:
            break
    for parent in folder.parents:
        if re.fullmatch(r"seed-?\d+", parent.name) and len(parent.parents) > 2:
            return parent.parents[2]
    if re.fullmatch(r"seed-?\d+", folder.name) and len(folder.parents) > 2:
        return folder.parents[2]
    return root
