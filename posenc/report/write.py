"""Writes the report: markdown, csv, figures and page. Each file is written completely or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from posenc import checks
from posenc.checks import ConfigError
from posenc.figures.style import look, pictures
from posenc.report.numbers.compare import compare
from posenc.report.numbers.facets import METRICS
from posenc.report.numbers.finding import Finding
from posenc.report.pages import markdown, page, tex
from posenc.report.pages.plots import Plot, plots
from posenc.runs.files import OVERVIEW
from posenc.runs.writing import clear_parts, write_bytes, write_text

SUMMARY, TABLE, LATEX = "comparison_summary.md", "comparison_summary.csv", "comparison_summary.tex"
PAGE, FIGURES = "index.html", "figures"
NUMBERS = ("panel", "encoding", "kind", "seed", "x", "y", "low", "high", "p_corrected")
"""Columns of a figure's table."""


class WrittenReport(NamedTuple):
    """The path of the page, and the first finding of the report."""

    page: Path
    finding: Finding


def write(
    roots: Sequence[Path | str],
    output: Path | str | None = None,
    baseline: str | None = None,
    delta: float = 0.01,
    metric: str | None = None,
    length: int | None = None,
    latex: bool = False,
    overview: bool = False,
) -> WrittenReport:
    """Compare all runs below `roots` and write the report into `output`.

    roots     folders of runs or of sweeps, or comparison_summary.csv of an earlier report instead of its runs
    output    None: the first folder of `roots`
    baseline  the encoding (or arm) with which every other is compared; None: `none`, or another if `none` has no run
    delta     a difference counts as zero if its interval is inside ±delta
    metric    the metric of the comparison; None: skill, otherwise bits, otherwise accuracy
    length    the length of the comparison; None: the longest trained length that was tested
    latex     whether to write comparison_summary.tex too, the tables for a paper
    overview  whether to write the folder `tensorboard` too

    Raises ConfigError if there is no run, if no run has the `baseline`, `metric` or `length`, or if the output cannot
    be written.
    """
    checks.number("report", low=0, open_low=True, **{"--delta": delta})
    if metric is not None:
        checks.one_of("report", METRICS, **{"--metric": metric})
    folders = [Path(root) for root in roots]
    if not folders:
        raise ConfigError("no folder given; give the folder of a run or of a sweep, such as runs/<name>.")
    wanted = [folder for folder in folders if not folder.is_file()]
    if output is None and not wanted:
        raise ConfigError(f"{folders[0]} is a table: give --output, the folder that the report is written to.")
    target = Path(output) if output is not None else wanted[0]
    if (target / FIGURES).is_symlink():
        raise ConfigError(f"{target / FIGURES} is a link to another folder; remove it, or choose another --output.")
    comparison = compare(folders, baseline, delta, metric, length)
    found = plots(comparison)
    try:
        (target / FIGURES).mkdir(parents=True, exist_ok=True)
        for folder in (target, target / FIGURES):
            clear_parts(folder)
        write_text(target / TABLE, comparison.long.to_csv(index=False))
        drawn = {plot.name: _draw(plot, target / FIGURES) for plot in found}
        write_text(target / SUMMARY, markdown.render(comparison, found))
        if latex:
            write_text(target / LATEX, tex.render(comparison))
        write_text(target / PAGE, page.render(comparison, found, drawn))
        if overview:
            from posenc.report.pages.overview import write_overview  # imports torch, which the rest does not need

            write_overview(comparison, target / OVERVIEW)
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written to {target} ({error.strerror}); choose another folder with --output."
        ) from error
    return WrittenReport(target / PAGE, comparison.first)


def _draw(plot: Plot, folder: Path) -> str:
    """Write a figure as PNG and SVG and its numbers as CSV. Returns the SVG."""
    with look(plot.name):
        png, svg = pictures(plot.draw(plot.finding))
    write_bytes(folder / f"{plot.name}.png", png)
    write_text(folder / f"{plot.name}.svg", svg)
    numbers = pd.DataFrame.from_records(list(plot.numbers()), columns=[*NUMBERS]).convert_dtypes()
    write_text(folder / f"{plot.name}.csv", numbers.to_csv(index=False))
    return svg


def show(runs: Sequence[Path], latex: bool = False, **options: Any) -> None:
    """`python -m posenc report`: write the report, and print its first finding and its path.

    options  as in `write`
    """
    page, finding = write(runs, latex=latex, **options)
    print(finding)
    print(f"report      {page}")
    if latex:
        print(f"LaTeX       {page.with_name(LATEX)}")
