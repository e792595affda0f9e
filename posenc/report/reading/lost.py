"""Runs that are missing or incomplete, and why; and the sweeps that made the runs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posenc.report.reading.arms import Placed
from posenc.report.reading.read import UNFINISHED
from posenc.report.reading.sweeps import NO_SWEEP, Sweep, read_sweep
from posenc.runs.reading import plain_text


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


def sweeps(placed: Sequence[Placed]) -> dict[str, Sweep]:
    """{folder: sweep} of the sweeps that are recorded, in a table or in their folders."""
    found: dict[str, Sweep] = {}
    for item in placed:
        if item.run.made_by != NO_SWEEP:
            found.setdefault(plain_text(str(item.run.sweep)), item.run.made_by)
    for folder in sorted({item.run.sweep for item in placed if not item.run.saved}):
        if (sweep := read_sweep(folder)) != NO_SWEEP:
            found[plain_text(str(folder))] = sweep
    return found


def versions(placed: Sequence[Placed]) -> list[tuple[str, str, int]]:
    """(what, version, runs) over all runs that recorded it."""
    recorded = [found for item in placed if isinstance(found := item.run.result.get("versions"), Mapping)]
    counts = Counter((str(what), " ".join(str(each).split())) for found in recorded for what, each in found.items())
    return [(what, version, number) for (what, version), number in sorted(counts.items())]
