"""index.html: one page that needs nothing else, neither network nor other files.

All text goes through html.escape, all data through `script_json`; the page's policy allows no request to anywhere.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.palette import FAINT
from posenc.report.pages import interactive, layout
from posenc.report.pages.layout import PageTable, Plot
from posenc.report.words import count

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
WIDE = 44
"""Cells of so many characters wrap."""
ROUNDED = 6
"""Significant digits of what the figures show."""


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
    figures = {plot.name: interactive.panels(comparison, plot.name) for plot in plots}
    tables = [layout.summary_table(comparison), layout.across_table(comparison), layout.difference_table(comparison)]
    tables += [layout.length_table(comparison), layout.lost_table(comparison)]
    shown = {table.name: _table(table, comparison) for table in tables if table is not None}
    pictures = {plot.name: _figure(plot, figures[plot.name]) for plot in plots}
    order = ["matrix", "summary", "seeds", "across", "differences", "accuracy_by_length", "skill_by_length"]
    order += ["bits_by_length", "lengths"]
    body = [_finding(comparison)]
    for name in dict.fromkeys([*order, *pictures, *shown]):
        if name == "lost":
            continue
        body += [shown.get(name, ""), pictures.get(name, "")]
    body += [shown["lost"], _notes(comparison), _runs(comparison), _commands(comparison)]
    links = "".join(f'<a href="#{name}">{html.escape(title)}</a>' for name, title in _contents(tables, plots))
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            policy,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            "<title>Comparison of positional encodings</title>",
            f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style>",
            f"</head>\n<body>\n<main>\n<nav>{links}</nav>",
            *filter(None, body),
            "</main>",
            f'<script type="application/json" id="figures">{script_json(figures)}</script>',
            f"<script>{get_plotlyjs() if figures else ''}</script>",
            f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
            "</body>\n</html>\n",
        ]
    )


def _contents(tables: Sequence[PageTable | None], plots: Sequence[Plot]) -> list[tuple[str, str]]:
    short = {
        "matrix": "At a glance", "summary": "Summary", "seeds": "Seeds", "across": "Across datasets",
        "differences": "Differences",
        "accuracy_by_length": "Accuracy by length", "skill_by_length": "Skill by length",
        "bits_by_length": "Bits by length", "lengths": "Lengths",
        "learning_validation": "Learning curves", "bits_by_position": "By position", "lost": "Missing",
    }  # fmt: skip
    there = {table.name for table in tables if table} | {plot.name for plot in plots}
    return [(name, title) for name, title in short.items() if name in there] + [("runs", "Runs")]


def _finding(comparison: Comparison) -> str:
    first = comparison.first
    label = f'<span class="label">{html.escape(first.label)}</span>' if first.label else ""
    runs, done = len(comparison.placed), sum(item.completed for item in comparison.placed)
    encodings = {item.run.encoding for item in comparison.placed if item.run.encoding != "?"}
    datasets = {facet.dataset for facet in comparison.facets}
    facts = [
        count(runs, "run"),
        f"{done:,} counted",
        count(len(encodings), "encoding"),
        count(len(datasets), "dataset"),
    ]
    parts = ['<header id="finding">', "<h1>Comparison of positional encodings</h1>"]
    parts += [f'<p class="finding">{html.escape(first.text)} {label}</p>', f'<p class="facts">{" · ".join(facts)}</p>']
    if len(comparison.findings) > 1:
        rows = "".join(
            f'<li class="{one.kind}">{html.escape(one.text)} '
            + (f'<span class="label">{html.escape(one.label)}</span>' if one.label else "")
            + "</li>"
            for one in comparison.findings
        )
        opened = " open" if len(comparison.findings) <= 8 else ""
        parts.append(f"<details{opened}><summary>Each comparison</summary><ul>{rows}</ul></details>")
    return "".join([*parts, "</header>"])


def _table(table: PageTable, comparison: Comparison | None = None) -> str:
    """A table that sorts by a click on a heading and shows the rows that hold what is typed."""
    head = "".join(f'<th><button type="button">{html.escape(name)}</button></th>' for name in table.columns)
    body = "".join(f"<tr>{''.join(_cells(table, row, comparison))}</tr>" for row in table.rows)
    tools = (
        f'<div class="tools"><input type="search" placeholder="filter {len(table.rows):,} rows" '
        f'aria-label="filter {html.escape(table.title)}"><button type="button" class="csv">CSV</button></div>'
    )
    whole = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    about = f'<p class="about">{html.escape(table.about)}</p>'
    inner = f"<h2>{html.escape(table.title)}</h2>{about}" + (tools + whole if table.rows else "")
    return f'<section class="table" id="{table.name}">{inner}</section>'


def _cells(table: PageTable, row: Sequence[layout.Cell], comparison: Comparison | None) -> list[str]:
    cells: list[str] = []
    for index, (text, value) in enumerate(row):
        numeric = isinstance(value, int | float) or (value is None)
        key = html.escape("" if value is None else str(value))
        chip = ""
        if index == table.arm and comparison is not None:
            style = comparison.styles.get(text)
            chip = f'<i style="background:{style.colour if style else FAINT}"></i>'
        kind = ' class="n"' if numeric and len(text) < WIDE else ' class="w"' if len(text) >= WIDE else ""
        cells.append(f'<td{kind} data-v="{key}">{chip}{html.escape(text)}</td>')
    return cells


def _figure(plot: Plot, panels: Sequence[dict[str, Any]]) -> str:
    options = "".join(f'<option value="{k}">{html.escape(panel["title"])}</option>' for k, panel in enumerate(panels))
    pick = f'<select aria-label="dataset">{options}</select>' if len(panels) > 1 else ""
    links = f'<a href="figures/{plot.name}.svg">SVG</a><a href="figures/{plot.name}.png">PNG</a>'
    tools = f'<div class="tools">{pick}<button type="button" class="csv">CSV</button>{links}</div>'
    heading = "" if plot.name == "differences" else f"<h2>{html.escape(plot.title)}</h2>"
    identity = f'id="{plot.name}"' if plot.name != "differences" else ""
    about = f'<p class="about">{html.escape(plot.about)}</p>'
    inner = f'{heading}{about}{tools}<div class="plot"></div>'
    return f'<section class="figure" {identity} data-figure="{plot.name}">{inner}</section>'


def _notes(comparison: Comparison) -> str:
    if not comparison.notes:
        return ""
    rows = "".join(
        f"<li><code>{html.escape(note.folder)}</code> {html.escape(note.text)}</li>" for note in comparison.notes
    )
    return f'<section id="notes"><h2>Notes</h2><ul>{rows}</ul></section>'


def _runs(comparison: Comparison) -> str:
    table = _table(layout.run_table(comparison), comparison)
    return f"<details><summary>Every run and its command</summary>{table}</details>"


def _commands(comparison: Comparison) -> str:
    lines = "".join(f"<pre>{html.escape(command)}</pre>" for command in comparison.commands.values())
    versions = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(which)}</td><td class='n'>{runs:,}</td></tr>"
        for what, which, runs in comparison.versions
    )
    head = "<tr><th>what</th><th>version</th><th>runs</th></tr>"
    text = f'<section id="commands"><h2>Commands and versions</h2>{lines}'
    text += f'<div class="scroll small"><table><thead>{head}</thead><tbody>{versions}</tbody></table></div>'
    return text + "</section>"
