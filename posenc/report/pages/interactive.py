"""The figures of the page: for each a list of panels with plotly traces, as plain values that json can hold.

A trace's `meta` says what it shows (arm, kind, seeds) and holds no markup: the page makes the figure's CSV from it.
What plotly itself shows as text is escaped, because it reads some tags.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posenc.report.numbers import series
from posenc.report.numbers.compare import Comparison, Curves
from posenc.report.numbers.differences import Contrast
from posenc.report.numbers.facets import Facet
from posenc.report.numbers.palette import FAINT, GRID, SHADE, Style, shown
from posenc.report.numbers.series import Line
from posenc.report.pages import matrix
from posenc.report.pages.figures import FEW, label
from posenc.report.words import bounds, estimate, probability, signed, span

Json = dict[str, Any]


def panels(comparison: Comparison, name: str) -> list[Json]:
    """The panels of the figure `name`, as posenc.report.pages.plots names them."""
    styles, scored = comparison.styles, comparison.scored
    if name == "matrix":
        return [matrix.panel(each) for each in matrix.matrices(scored)]
    if name == "seeds":
        return [_strip(comparison, facet) for facet in scored]
    if name == "differences":
        main = [one for one in comparison.contrasts if one.metric != "aulc"]
        groups = [(facet, [one for one in main if one.facet is facet]) for facet in scored]
        return [_forest(facet, group, styles, comparison.delta) for facet, group in groups if group]
    if name.endswith("_by_length"):
        metric = name.removesuffix("_by_length")
        groups = [(facet, series.by_length(facet, metric)) for facet in scored if series.has_lengths(facet, metric)]
        return [_by_length(facet, group, metric, styles) for facet, group in groups]
    if name.startswith("learning_"):
        return [_learning(one, styles) for one in comparison.learning if one[0] == name.removeprefix("learning_")]
    return [_by_position(facet, n, group, styles) for facet, n, group in comparison.positions]


def _panel(title: str, traces: list[Json], x: Json, y: Json, **layout: Any) -> Json:
    return {"title": title, "traces": traces, "layout": {"xaxis": x, "yaxis": y} | layout}


def _title(text: str) -> Json:
    return {"title": {"text": shown(text)}}


def _rgba(colour: str, alpha: float) -> str:
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{alpha})"


def _curves(lines: Sequence[Line], styles: dict[str, Style], dots: bool) -> list[Json]:
    """Band, seeds and mean of each arm; a click in the legend hides all three."""
    traces: list[Json] = []
    for line in lines:
        style, name = styles[line.arm], shown(line.arm)
        group = {"legendgroup": line.arm, "name": name}
        ends = [(x, a, b) for x, a, b in zip(line.x, line.low, line.high, strict=False) if a is not None]
        if ends and len(lines) <= FEW:
            xs, lows, highs = (list(part) for part in zip(*ends, strict=True))
            traces.append(
                group
                | {
                    "x": xs + xs[::-1], "y": highs + lows[::-1], "fill": "toself", "mode": "none", "hoverinfo": "skip",
                    "fillcolor": _rgba(style.colour, 0.12), "showlegend": False, "meta": {"kind": "band"},
                }
            )  # fmt: skip
        traces.append(group | _seeds(line, style, dots))
        mean = group | {
            "x": line.x, "y": line.mean, "mode": "lines+markers" if dots else "lines",
            "line": {"color": style.colour, "dash": style.dash, "width": 2.2},
            "marker": {"symbol": style.marker, "size": 7}, "meta": {"kind": "mean", "arm": line.arm},
        }  # fmt: skip
        if line.low:
            mean["customdata"] = [list(pair) for pair in zip(line.low, line.high, strict=True)]
        traces.append(mean)
    return traces


def _seeds(line: Line, style: Style, dots: bool) -> Json:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for x, y in line.seeds.values():
        xs += [*x, None]  # a gap between two seeds
        ys += [*y, None]
    look = {"mode": "markers", "marker": {"color": _rgba(style.colour, 0.45), "size": 5, "symbol": style.marker}}
    if not dots:
        look = {"mode": "lines", "line": {"color": _rgba(style.colour, 0.3), "width": 1}, "hoverinfo": "skip"}
    return look | {
        "x": xs, "y": ys, "showlegend": False, "meta": {"kind": "seed", "arm": line.arm, "seeds": [*line.seeds]},
    }  # fmt: skip


def _by_length(facet: Facet, lines: list[Line], metric: str, styles: dict[str, Style]) -> Json:
    lengths = facet.lengths()
    traces = _curves(lines, styles, dots=True)
    if metric == "accuracy":
        for which, name in enumerate(("order-blind ceiling", "order-aware ceiling")):
            known = [(n, pair[which]) for n, pair in sorted(facet.ceilings.items()) if pair[which] is not None]
            if known:
                xs, ys = (list(part) for part in zip(*known, strict=True))
                traces.append(
                    {
                        "x": xs, "y": ys, "mode": "lines", "name": name, "meta": {"kind": "ceiling", "arm": name},
                        "line": {"color": FAINT if which else "#52606d", "dash": "dot", "width": 1.5},
                    }
                )  # fmt: skip
    shapes = [_level(y) for y in (0, 1)] if metric == "skill" else []
    if facet.trained:
        first, last = facet.trained
        margin = 1.1 if first == last else 1.0
        shapes.append(_shade(first / margin, last * margin))
    ends = [float(np.log10(min(lengths) / 1.2)), float(np.log10(max(lengths) * 1.2))]
    x = _title("test length (shaded: trained)") | {
        "type": "log",
        "tickvals": lengths,
        "ticktext": lengths,
        "range": ends,
    }
    return _panel(facet.title, traces, x, _title(label(metric)), shapes=shapes)


def _level(y: float) -> Json:
    line = {"color": FAINT, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line, "layer": "below"}


def _shade(low: float, high: float) -> Json:
    box = {"type": "rect", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1, "layer": "below"}
    return box | {"fillcolor": SHADE, "line": {"width": 0}}


def _learning(curves: Curves, styles: dict[str, Style]) -> Json:
    _, column, facet, lines = curves
    return _panel(facet.title, _curves(lines, styles, dots=False), _title("step"), _title(column.replace("/", " ")))


def _by_position(facet: Facet, length: int, lines: list[Line], styles: dict[str, Style]) -> Json:
    x = _title("position in the context (the first is 1)") | {"type": "log"}
    title = f"{facet.title}, length {length}"
    return _panel(title, _curves(lines, styles, dots=False), x, _title("bits (lower is better)"))


def _rows(arms: Sequence[str]) -> Json:
    ticks = {"tickvals": [*range(len(arms))], "ticktext": [shown(arm) for arm in arms], "automargin": True}
    return ticks | {"range": [len(arms) - 0.4, -0.6], "showgrid": True, "gridcolor": GRID, "fixedrange": True}


def _strip(comparison: Comparison, facet: Facet) -> Json:
    traces: list[Json] = []
    generator = np.random.default_rng(0)
    rows = [row for row in comparison.rows if row.facet is facet and row.score is not None]
    for y, row in enumerate(rows):
        colour = comparison.styles[row.arm].colour
        values = facet.values(row.arm)
        jitter = generator.uniform(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        ends = bounds(row.score)
        said = shown(f"{row.arm}: {estimate(row.score)}")
        if ends:
            interval = {"x": list(ends), "y": [y, y], "mode": "lines", "line": {"color": colour, "width": 3}}
            traces.append(interval | {"hoverinfo": "skip", "meta": {"kind": "band"}, "showlegend": False})
        traces.append(
            {
                "x": list(values.values()), "y": [y + float(shift) for shift in jitter], "mode": "markers",
                "marker": {"color": _rgba(colour, 0.55), "size": 7}, "hoverinfo": "text", "showlegend": False,
                "text": [shown(f"{row.arm}, seed {seed}: {value:.4f}") for seed, value in values.items()],
                "meta": {"kind": "seed", "arm": row.arm, "each": [*values]},
            }
        )  # fmt: skip
        assert row.score is not None
        traces.append(
            {
                "x": [row.score.estimate], "y": [y], "mode": "markers", "text": [said], "hoverinfo": "text",
                "marker": {"symbol": "line-ns", "size": 13, "line": {"color": "#1f2933", "width": 2.5}},
                "customdata": [[row.score.low, row.score.high]], "meta": {"kind": "mean", "arm": row.arm},
                "showlegend": False,
            }
        )  # fmt: skip
    words = facet.measure + (" (lower is better)" if facet.lower else "")
    arms = [row.arm for row in rows]
    return _panel(facet.title, traces, _title(words), _rows(arms), height=130 + 26 * len(arms), kind="rows")


def _forest(facet: Facet, found: Sequence[Contrast], styles: dict[str, Style], delta: float) -> Json:
    traces: list[Json] = []
    notes: list[Json] = []
    for y, one in enumerate(found):
        colour, ends = styles[one.arm].colour, bounds(one.difference)
        ours, theirs = facet.values(one.arm, one.metric), facet.values(one.baseline, one.metric)
        gaps = {seed: ours[seed] - theirs[seed] for seed in one.difference.seeds}
        if ends:
            interval = {"x": list(ends), "y": [y, y], "mode": "lines", "line": {"color": colour, "width": 2.5}}
            traces.append(interval | {"hoverinfo": "skip", "meta": {"kind": "band"}, "showlegend": False})
        traces.append(
            {
                "x": list(gaps.values()), "y": [y + 0.27] * len(gaps), "mode": "markers", "showlegend": False,
                "marker": {"color": _rgba(colour, 0.55), "size": 5}, "hoverinfo": "text",
                "text": [shown(f"{one.arm}, seed {seed}: {signed(gap, 4)}") for seed, gap in gaps.items()],
                "meta": {"kind": "seed", "arm": one.arm, "each": [*gaps]},
            }
        )  # fmt: skip
        difference = one.difference
        said = f"{one.arm} − {one.baseline}: {signed(difference.estimate)} {span(difference, sign=True)}"
        traces.append(
            {
                "x": [difference.estimate], "y": [y], "mode": "markers", "hoverinfo": "text", "showlegend": False,
                "marker": {"symbol": "diamond", "size": 9, "color": colour}, "text": [shown(said)],
                "customdata": [[difference.low, difference.high]],
                "meta": {"kind": "mean", "arm": one.arm, "p_corrected": one.corrected},
            }
        )  # fmt: skip
        notes.append(_note(probability(one.corrected), y, (one.corrected or 1) < 0.05))
    notes.append(_note("p (corrected)", -0.75, False))
    against = sorted({one.baseline for one in found})
    named = against[0] if len(against) == 1 else "the baseline in the same setting"
    words = f"{found[0].metric} minus that of {named}" + (" (left is better)" if facet.lower else "")
    zero = {"type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": {"color": FAINT, "width": 1.2}}
    arms = [one.arm for one in found]
    return _panel(
        facet.title, traces, _title(words), _rows(arms), height=140 + 26 * len(arms), kind="rows",
        shapes=[_shade(-delta, delta), zero], annotations=notes,
    )  # fmt: skip


def _note(text: str, y: float, strong: bool) -> Json:
    colour = "#1f2933" if strong else FAINT
    font = {"size": 11, "color": colour}
    place = {"xref": "paper", "x": 1.0, "xanchor": "left", "xshift": 8, "y": y, "showarrow": False}
    return place | {"text": shown(text), "font": font}
