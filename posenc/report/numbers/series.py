"""The numbers for the figures: by length, by step and by position, with intervals."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from posenc.report.numbers.facets import Facet, clipped
from posenc.report.reading.read import Note
from posenc.report.words import bounds
from posenc.runs.reading import plain_text, read_table
from posenc.statistics import mean_interval

CURVE_POINTS = 120
"""Upper limit of points in a learning curve."""
WINDOWS = 32
"""The number of windows in which a curve by position is averaged."""
Curve = dict[str, dict[float, float]]
"""Logged columns of a run: {column: {step: value}}."""


@dataclass
class Line:
    """One arm's curve: the mean over seeds, its interval, and every seed by itself."""

    arm: str
    x: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    seeds: dict[int, tuple[list[float], list[float]]] = field(default_factory=dict)

    def add(
        self, x: float, values: Mapping[int, float], limits: tuple[float | None, float | None] = (None, None)
    ) -> None:
        """Add a point: the values of all seeds at x, and their interval, cut at the possible values."""
        if not values:
            return
        found = clipped(mean_interval(list(values.values())), limits)
        low, high = bounds(found) or (None, None)
        self.x.append(x)
        self.mean.append(found.estimate)
        self.low.append(low)
        self.high.append(high)
        for seed, value in sorted(values.items()):
            xs, ys = self.seeds.setdefault(seed, ([], []))
            xs.append(x)
            ys.append(value)


def by_length(facet: Facet, metric: str) -> list[Line]:
    """A metric at every test length."""
    lines = [Line(arm) for arm in facet.arms]
    for line in lines:
        for n in facet.lengths():
            line.add(n, facet.values(line.arm, metric, n), facet.limits(metric, n))
    return [line for line in lines if line.x]


def has_lengths(facet: Facet, metric: str) -> bool:
    """Whether a metric is drawn against length. Bits are drawn only if arms are compared by them."""
    return len(facet.lengths()) > 1 and bool(by_length(facet, metric)) and (metric != "bits" or facet.lower)


def by_step(facet: Facet, curves: Mapping[Path, Curve], column: str) -> list[Line]:
    """A logged column: every seed, and the mean at steps that all seeds of an arm have."""
    lines: list[Line] = []
    for arm in facet.arms:
        known = {item.run.seed: curves.get(item.run.folder, {}).get(column) for item in facet.of(arm)}
        seeds = {seed: values for seed, values in sorted(known.items()) if values}
        if seeds:
            line = Line(arm, _thin(sorted(set.intersection(*(set(values) for values in seeds.values())))))
            line.mean = [fmean(values[step] for values in seeds.values()) for step in line.x]
            for seed, values in seeds.items():
                steps = _thin(sorted(values))
                line.seeds[seed] = (steps, [values[step] for step in steps])
            lines.append(line)
    return lines


def _thin(steps: list[float]) -> list[float]:
    if len(steps) <= CURVE_POINTS:
        return steps
    return [steps[round(k * (len(steps) - 1) / (CURVE_POINTS - 1))] for k in range(CURVE_POINTS)]


def read_curves(folders: Iterable[Path], columns: Sequence[str], notes: list[Note]) -> dict[Path, Curve]:
    """Some columns of metrics.csv of each folder. A damaged file is left out, with a note."""
    found: dict[Path, Curve] = {}
    for folder in folders:
        table = _read_csv(folder / "metrics.csv", ("step", *columns), notes)
        if table is not None and "step" in table:
            rows = table.dropna(subset="step").set_index("step")
            found[folder] = {str(name): rows[name].dropna().to_dict() for name in rows}
    return found


def _read_csv(path: Path, columns: Sequence[str], notes: list[Note]) -> pd.DataFrame | None:
    """The columns as numbers, NaN for missing values; None if the file is missing or damaged."""
    name = plain_text(str(path.parent))
    try:
        raw = read_table(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        notes.append(Note(name, f"{path.name} cannot be read ({why})."))
        return None
    if raw and not raw.endswith(b"\n"):
        raw = raw[: raw.rfind(b"\n") + 1]
        notes.append(Note(name, f"{path.name} ends within a line: its last row is left out."))
    try:
        if len({line.count(b",") for line in BytesIO(raw)}) > 1:  # pandas would shift or drop the fields of a row
            raise ValueError
        table = pd.read_csv(BytesIO(raw), usecols=lambda column: column in columns)
    except pd.errors.EmptyDataError:
        notes.append(Note(name, f"{path.name} is empty: this run has no curve."))
        return None
    except (ValueError, pd.errors.ParserError):
        notes.append(Note(name, f"{path.name} is damaged: this run has no curve."))
        return None
    numbers = pd.DataFrame({name: pd.to_numeric(table[name], errors="coerce") for name in table.columns}, dtype=float)
    return numbers.where(np.isfinite(numbers))


def by_position(facet: Facet, notes: list[Note]) -> dict[int, list[Line]]:
    """Bits against the position in the context, by length, from by_position.csv."""
    found: dict[int, dict[str, dict[int, dict[float, float]]]] = defaultdict(lambda: defaultdict(dict))
    columns = ("length", "position", "bits")
    for arm in facet.arms:
        for item in facet.of(arm):
            there = item.completed and not item.run.saved
            table = _read_csv(item.run.folder / "by_position.csv", columns, notes) if there else None
            if table is None or any(column not in table for column in columns):
                continue
            for length, rows in table.dropna(subset=[*columns]).groupby("length"):
                found[int(float(str(length)))][arm][item.run.seed] = _windows(rows)
    lines: dict[int, list[Line]] = {}
    for length, arms in sorted(found.items()):
        for arm, seeds in arms.items():
            line = Line(arm)
            for place in sorted(set.intersection(*(set(values) for values in seeds.values()))):
                line.add(place, {seed: values[place] for seed, values in seeds.items()}, facet.limits("bits"))
            if line.x:
                lines.setdefault(length, []).append(line)
    return lines


def _windows(rows: pd.DataFrame) -> dict[float, float]:
    """{place: bits}, means over windows; places count from 1. Windows grow, because the axis is logarithmic."""
    places, bits = rows["position"].to_numpy() + 1, rows["bits"].to_numpy()
    group = np.digitize(places, np.unique(np.round(np.geomspace(1, places.max() + 1, WINDOWS + 1))))
    return {float(places[group == g].mean()): float(bits[group == g].mean()) for g in np.unique(group)}
