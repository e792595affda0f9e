"""index.html: one page that needs no network and no other files.

jinja2 escapes all text of `page.html`, and matplotlib all text of a figure. The page's policy allows no requests. The
page contains the figures as SVG, in colours that follow the page's background.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from posenc.figures.style import DARK, FAINT
from posenc.figures.vectors import inline
from posenc.report.numbers.compare import Comparison
from posenc.report.pages import layout
from posenc.report.pages.plots import Plot
from posenc.report.pages.tex import SPECIAL
from posenc.terminal import count

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
WIDE = 44
"""A cell with more characters than this wraps."""
SECTIONS = {
    "matrix": "At a glance", "summary": "Summary", "seeds": "Seeds", "across": "Across datasets",
    "differences": "Differences", "accuracy_by_length": "Accuracy by length", "skill_by_length": "Skill by length",
    "bits_by_length": "Bits by length", "lengths": "Lengths", "learning_validation": "Learning curves",
    "learning_training": "", "bits_by_position": "By position", "lost": "Missing",
}  # fmt: skip
"""Tables and figures in the order of the page, with the texts of their links."""


def colours() -> str:
    """CSS with the value of each colour of posenc.figures.style on a light and on a dark background."""
    light = "".join(f"--c{name[1:]}:{name};" for name in DARK)
    dark = "".join(f"--c{name[1:]}:{other};" for name, other in DARK.items())
    return f":root{{color-scheme:light dark;{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def style() -> str:
    """The style of every page of posenc: its colours and page.css."""
    return colours() + (HERE / "page.css").read_text(encoding="utf-8")


def script() -> str:
    """The script of every page: tables that are sorted, filtered and saved, and figures that follow the pointer."""
    code = (HERE / "page.js").read_text(encoding="utf-8")
    return f'"use strict";\nconst SPECIAL = {json.dumps(SPECIAL)};\n{code}'


def render(comparison: Comparison, plots: Sequence[Plot], drawn: Mapping[str, str]) -> str:
    """The page. `drawn` has the SVG of each figure."""
    placed = comparison.placed
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        comparison=comparison,
        sections=SECTIONS,
        tables={table.name: table for table in layout.tables(comparison)},
        runs=layout.run_table(comparison),
        plots={plot.name: plot for plot in plots},
        figures={plot.name: inline(drawn[plot.name], html.escape(plot.finding), DARK) for plot in plots},
        facts=[
            count(len(placed), "run"),
            f"{sum(item.completed for item in placed):,} counted",
            count(len({item.run.encoding for item in placed} - {"?"}), "encoding"),
            count(len({facet.dataset for facet in comparison.facets}), "dataset"),
        ],
        colours={arm: f"var(--c{style.colour[1:]})" for arm, style in comparison.styles.items()},
        faint=f"var(--c{FAINT[1:]})",
        wide=WIDE,
        policy=POLICY,
        style=style(),
        script=script(),
    )
