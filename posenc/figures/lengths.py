"""Figures of test scores against length, and against position in the sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.marks import End, ceiling, dress, end_labels, length_axis, level, sheet
from posenc.figures.style import ACCENT, CEILING, SHADE, SMALL, look, shades


@look()
def length_curves(result: Mapping[str, Any]) -> Figure:
    """Left: accuracy and its ceilings against the test length. Right: skill, or bits per target if no ceiling is known.

    `result` is the content of result.json. The trained range is shaded. Bars are 95 % intervals over test sequences,
    cut at the possible values.
    """
    rows = {int(length): row for length, row in result["test"].items()}
    figure, (left, right) = sheet(2, 2, 3.0, _finding(result, rows))
    ends = [_bars(left, {n: (row["accuracy"], row["accuracy_standard_error"]) for n, row in rows.items()}, "accuracy")]
    for key, name in (("order_blind", "order-blind ceiling"), ("order_aware", "order-aware ceiling")):
        known = [(int(n), row[key]) for n, row in result["ceilings"].items() if row[key] is not None]
        ends += [ceiling(left, known, name)] if known else []
    left.set_ylabel("test accuracy")
    left.set_ylim(top=min(1.04, left.get_ylim()[1]))
    skill = {n: (row["skill"], row["skill_standard_error"]) for n, row in rows.items() if "skill" in row}
    if skill:
        beside = [_bars(right, skill, "skill")]
        level(right, (0, 1))
        beside += [End(max(skill), y, name, CEILING) for y, name in ((0, "order-blind"), (1, "best possible"))]
    else:
        bits = {n: (row["bits"], row.get("bits_standard_error") or 0.0) for n, row in rows.items()}
        beside = [_bars(right, bits, "bits")]
        level(right, result["references"].values())
        beside += [End(max(rows), y, name.replace("_", " "), CEILING) for name, y in result["references"].items()]
    right.set_ylabel("skill" if skill else "bits a target (lower is better)")
    for axis, names in ((left, ends), (right, beside)):
        _length_axis(axis, result, list(rows))
        end_labels(axis, names, 2.2)
    return figure


def _bars(axis: Axes, points: Mapping[int, tuple[float, float]], name: str) -> End:
    """Draw values with intervals of ±1.96 standard errors, cut at 1 (bits: at 0). Returns the end of the line."""
    xs, ys = list(points), np.array([value for value, _ in points.values()])
    errors = 1.96 * np.array([error for _, error in points.values()])
    low, high = ys - errors, ys + errors
    low, high = (np.maximum(low, 0), high) if name == "bits" else (low, np.minimum(high, np.maximum(ys, 1)))
    axis.vlines(xs, low, high, color=ACCENT, lw=1)
    axis.plot(xs, ys, color=ACCENT, marker="o")
    return End(xs[-1], float(ys[-1]), name, ACCENT)


def _finding(result: Mapping[str, Any], rows: Mapping[int, Mapping[str, float]]) -> str:
    """The score at the trained length and at the longest, with the run's encoding, task, positions and seed."""
    metric = "skill" if any("skill" in row for row in rows.values()) else "bits"
    known = {n: row[metric] for n, row in rows.items() if metric in row}
    inside = [n for n in known if n <= result["trained_lengths"][1]] or [min(known)]
    near, far = max(inside), max(known)
    text = f"{result['encoding']} on {result['dataset']}: {metric} {known[near]:.2f} at length {near}"
    text += f", {known[far]:.2f} at {far}" if far > near else ""
    return f"{text} (positions={result['positions']}, seed {result['seed']})"


def _length_axis(axis: Axes, result: Mapping[str, Any], lengths: Sequence[int]) -> None:
    """Set up the length axis. A dashed line marks each length at which the encoding is undefined."""
    lost = [int(length) for length in result["undefined"]]
    length_axis(axis, sorted({*lengths, *lost}), tuple(result["trained_lengths"]), "test length")
    for length in lost:
        axis.axvline(length, color=CEILING, lw=0.8, ls=(0, (2, 3)))
        axis.annotate(
            "undefined", (length, 0.5), xycoords=("data", "axes fraction"), rotation=90, fontsize=SMALL, ha="right"
        )


@look()
def position_curves(rows: Sequence[Mapping[str, float]], trained: int, title: str) -> Figure:
    """Bits per target against position, one line for each test length, averaged over eighths of octaves.

    rows     the rows of by_position.csv
    trained  tokens in the longest training sequence, which may be more than the task's length

    If a line falls beyond `trained`, the model uses the longer context; if it rises, the model does not extrapolate. A
    band is a 95 % interval over test sequences, or wider, because the errors of averaged positions count as fully
    correlated.
    """
    lengths = sorted({int(row["length"]) for row in rows})
    drawn = []
    for length in lengths:
        chosen = [row for row in rows if row["length"] == length]
        place, bits, asked = (np.array([row[key] for row in chosen]) for key in ("position", "bits", "asked"))
        error = np.array([row.get("bits_standard_error", np.nan) for row in chosen])
        drawn.append((*pooled(place + 1, bits, asked), 1.96 * pooled(place + 1, error, asked)[1]))
    last = drawn[-1][1]
    figure, (axis,) = sheet(1, 1, 3.4, f"{title}: {last[-1]:.2f} bits at the last places of length {lengths[-1]}")
    ends = []
    for length, colour, (x, y, error) in zip(lengths, shades(len(lengths))[::-1], drawn, strict=True):
        axis.fill_between(x, np.maximum(y - error, 0), y + error, color=colour, alpha=0.2, lw=0)
        axis.plot(x, y, color=colour, lw=1.4)
        ends.append(End(x[-1], y[-1], f"length {length}", colour))
    axis.axvspan(1, trained, color=SHADE, lw=0, zorder=0)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    dress(axis, "", "place in the sequence, from 1 (shaded: trained)", "bits a target (lower is better)")
    end_labels(axis, ends, 2.6)
    return figure


def pooled(place: np.ndarray, value: np.ndarray, weight: np.ndarray, octave: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of place and of value over logarithmic bins, with `octave` bins in each octave."""
    bins = np.floor(np.log2(place) * octave).astype(int)
    kept = np.unique(bins)
    mean = [[np.average(each[bins == b], weights=weight[bins == b]) for b in kept] for each in (place, value)]
    return np.array(mean[0]), np.array(mean[1])
