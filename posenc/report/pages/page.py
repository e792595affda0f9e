"""index.html: one page that needs nothing else, neither network nor other files.

jinja2 escapes all text of `page.html`, `script_json` all data; the page's policy allows no request to anywhere.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.palette import FAINT
from posenc.report.pages import interactive, layout
from posenc.report.pages.plots import Plot
from posenc.report.words import count

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
WIDE = 44
"""Cells of so many characters wrap."""
ROUNDED = 6
"""Significant digits of what the figures show."""
SECTIONS = {
    "matrix": "At a glance", "summary": "Summary", "seeds": "Seeds", "across": "Across datasets",
    "differences": "Differences", "accuracy_by_length": "Accuracy by length", "skill_by_length": "Skill by length",
    "bits_by_length": "Bits by length", "lengths": "Lengths", "learning_validation": "Learning curves",
    "learning_training": "", "bits_by_position": "By position", "lost": "Missing",
}  # fmt: skip
"""Tables and figures in the order of the page, each with the text of its link."""


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(_rounded(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return text.translate(str.maketrans(escapes))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{ROUNDED}g}")
    if isinstance(value, dict):
        return {key: _rounded(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(child) for child in value]
    return value


def render(comparison: Comparison, plots: Sequence[Plot]) -> str:
    """The page."""
    placed = comparison.placed
    figures = {plot.name: interactive.panels(comparison, plot.name) for plot in plots}
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        comparison=comparison,
        sections=SECTIONS,
        tables={table.name: table for table in layout.tables(comparison)},
        runs=layout.run_table(comparison),
        plots={plot.name: plot for plot in plots},
        figures=figures,
        facts=[
            count(len(placed), "run"),
            f"{sum(item.completed for item in placed):,} counted",
            count(len({item.run.encoding for item in placed} - {"?"}), "encoding"),
            count(len({facet.dataset for facet in comparison.facets}), "dataset"),
        ],
        styles=comparison.styles,
        faint=FAINT,
        wide=WIDE,
        policy=POLICY,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        data=script_json(figures),
        library=get_plotlyjs() if figures else "",
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )
