"""Computes everything that the report says, once. Markdown, page and figures only show it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from posenc.checks import ConfigError
from posenc.figures.style import Style, styles
from posenc.report.numbers import differences, facets, finding, next_runs, series
from posenc.report.numbers.differences import Across, Contrast
from posenc.report.numbers.facets import Facet
from posenc.report.numbers.finding import Finding
from posenc.report.numbers.judge import Judgement
from posenc.report.numbers.meetings import meetings
from posenc.report.numbers.overall import overall
from posenc.report.numbers.rows import Row, summary
from posenc.report.numbers.series import Line
from posenc.report.reading import arms, lost, saved
from posenc.report.reading.arms import Placed
from posenc.report.reading.lost import Lost
from posenc.report.reading.read import Note

Curves = tuple[str, str, Facet, list[Line]]
"""Learning curves of a facet: (subject, logged column, facet, a line for each arm)."""


@dataclass(frozen=True)
class Conclusions:
    """All statements about facets, judged as one family."""

    first: Finding
    findings: list[Finding]
    contrasts: list[Contrast]
    across: list[Across]
    notes: list[Note]


@dataclass(frozen=True)
class Comparison(Conclusions):
    """The conclusions, and all numbers that the report shows."""

    placed: list[Placed]
    facets: list[Facet]
    baseline: str
    delta: float
    reference: str
    """The encoding whose speed is 1."""
    rows: list[Row]
    lost: list[Lost]
    long: pd.DataFrame
    styles: dict[str, Style]
    learning: list[Curves]
    positions: list[tuple[Facet, int, list[Line]]]
    commands: dict[str, tuple[str, ...]]
    """{folder of a sweep: its commands}."""
    versions: list[tuple[str, str, int]]

    @property
    def scored(self) -> list[Facet]:
        """The facets with at least one score."""
        return [facet for facet in self.facets if any(facet.values(arm) for arm in facet.arms)]


def compare(
    roots: Sequence[Path], baseline: str | None, delta: float, metric: str | None = None, length: int | None = None
) -> Comparison:
    """Read the runs, group them, test differences and draw conclusions.

    baseline  None: `none` if it has runs, otherwise another encoding

    Raises ConfigError if there is no run, or no run with this baseline, metric or length.
    """
    runs, notes = saved.read_all(roots)
    if not runs:
        places = ", ".join(map(str, roots))
        raise ConfigError(f"no run in {places}: the table is empty; give the table of a report, or folders of runs.")
    placed, refusals = arms.place(runs)
    found = facets.facets(placed, metric, length)
    chosen, other = facets.choose_baseline(found, baseline)
    conclusions = conclude(found, chosen, delta)
    notes = [Note("baseline", other)] * bool(other) + notes + refusals + conclusions.notes
    sweeps = lost.sweeps(placed)
    advice = next_runs.advice(conclusions.first.open, placed, sweeps)
    first = replace(conclusions.first, advice=advice)
    colour_of = next((facet.encoding(arm) for facet in found for arm in facet.arms if arm == chosen), chosen)
    reference = "none" if any(item.completed and item.run.encoding == "none" for item in placed) else colour_of
    positions = [
        (facet, length, lines) for facet in found for length, lines in series.by_position(facet, notes).items() if lines
    ]
    said: dict[str, Any] = vars(conclusions) | {"notes": notes, "first": first}
    return Comparison(
        **said,
        placed=placed,
        facets=found,
        baseline=chosen,
        delta=delta,
        reference=reference,
        rows=summary(found, reference),
        lost=lost.lost(placed),
        learning=_learning(found, placed, notes),
        positions=positions,
        long=saved.long_table(placed, sweeps),
        styles=styles(facets.in_front(found, colour_of)),
        commands={folder: sweep.commands for folder, sweep in sweeps.items() if sweep.commands},
        versions=lost.versions(placed),
    )


def conclude(found: Sequence[Facet], baseline: str, delta: float) -> Conclusions:
    """The findings, the differences against the baseline, and the means across datasets."""
    against, notes = differences.baseline_tests(found)
    rows = differences.across(found, against)
    groups = meetings(found)
    tests = against | differences.across_tests(rows)
    for group in groups.values():
        for one in group:
            tests |= one.tests()
    judged = Judgement(tests, delta)
    findings = [one for place, facet in enumerate(found) for one in finding.of_facet(facet, groups[place], judged)]
    findings = findings or [Finding("nothing", "Nothing can be said yet, because no run has finished.")]
    return Conclusions(
        first=overall(findings, rows, judged),
        findings=findings,
        contrasts=differences.contrasts(found, against, judged),
        across=rows,
        notes=notes + differences.without_baseline(found, baseline),
    )


def _learning(found: Sequence[Facet], placed: Sequence[Placed], notes: list[Note]) -> list[Curves]:
    wanted = ("train/loss", "validation/accuracy", "validation/bits")
    folders = [
        item.run.folder for item in placed if item.counted and not item.run.saved and item.run.status != "unfinished"
    ]
    curves = series.read_curves(folders, wanted, notes)
    result: list[Curves] = []
    for what in ("validation", "training"):
        for facet in found:
            column = "train/loss" if what == "training" else f"validation/{'bits' if facet.lower else 'accuracy'}"
            lines = series.by_step(facet, curves, column)
            if lines:
                result.append((what, column, facet, lines))
    return result
