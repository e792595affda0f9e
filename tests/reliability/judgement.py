"""What may become of a command: it trains, or one message says why not and nothing is left behind."""

import json
from dataclasses import dataclass
from pathlib import Path

TRAINED, REFUSED = "trained", "refused"
TRACEBACK, HANG, LEFT, UNCLEAR, DIED = "traceback", "hang", "left behind", "no single message", "died"
GOOD = (TRAINED, REFUSED)


@dataclass(frozen=True)
class Outcome:
    """What a command did in a folder of its own: exit status, words, the status in result.json, the files it left."""

    status: int
    printed: str = ""
    errors: str = ""
    record: str | None = None
    files: tuple[str, ...] = ()


def observe(status: int, printed: str, errors: str, folder: Path) -> Outcome:
    """The outcome of a command that was given in `folder`, which was empty."""
    files = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    records = [path for path in files if Path(path).name == "result.json"]
    record = json.loads((folder / records[0]).read_text())["status"] if records else None
    if not files and (folder / "run").exists():
        files = ("run/",)
    return Outcome(status, printed, errors, record, files)


def judge(outcome: Outcome) -> str:
    """One of the words above; only `GOOD` ones are as they should be."""
    if "Traceback" in outcome.errors or any(path.endswith("traceback.txt") for path in outcome.files):
        return TRACEBACK
    if (outcome.status, outcome.record) in ((0, "completed"), (1, "diverged")):
        return TRAINED
    if outcome.files:  # a mistake that was found only after work had begun
        return LEFT
    lines = outcome.errors.strip().splitlines()
    if outcome.status == 0 or not 1 <= len(lines) <= 2 or not lines[0].startswith("error: "):
        return UNCLEAR
    return REFUSED
