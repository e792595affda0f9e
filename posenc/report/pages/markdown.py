"""comparison_summary.md: the answer for a terminal, a pull request or a paper's appendix."""

import re
from collections.abc import Sequence

from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.finding import Finding
from posenc.report.pages import layout
from posenc.report.pages.layout import PageTable
from posenc.report.pages.plots import Plot
from posenc.runs.reading import plain_text


def escape(text: str) -> str:
    """The text with markdown's special characters escaped, in one line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|~$]|(?<!\w)_|_(?!\w)|\](?=[(\[])|^\[|^[#+-](?=\s))", r"\\\1", text)


def render(comparison: Comparison, plots: Sequence[Plot]) -> str:
    """The whole document."""
    parts = ["# Comparison", escape(comparison.first.text) + _label(comparison.first) + _next(comparison.first)]
    if len(comparison.findings) > 1:
        parts.append("\n".join(f"* {escape(one.text)}{_label(one)}" for one in comparison.findings))
    parts += map(_table, layout.tables(comparison))
    if comparison.notes:
        notes = "\n".join(f"* {escape(note.folder)}: {escape(note.text)}" for note in comparison.notes)
        parts += ["## Notes", notes]
    for plot in plots:
        parts += [f"## {escape(plot.title)}", f"![{escape(plot.title)}](figures/{plot.name}.png)", escape(plot.about)]
    parts += ["## Commands", _commands(comparison), "## Versions", _versions(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _label(finding: Finding) -> str:
    return f" **{escape(finding.label)}**" if finding.label else ""


def _next(finding: Finding) -> str:
    if (advice := finding.advice) is None:
        return ""
    space = " " * advice.after.startswith(" ")  # escape leaves it out
    code = f" {_code(advice.command)}{space}{escape(advice.after)}" if advice.command else ""
    return f" {escape(advice.before)}{code}"


def _table(table: PageTable) -> str:
    lines = [f"## {escape(table.title)}", "", escape(table.about)]
    if table.rows:
        lines += ["", "| " + " | ".join(map(escape, table.columns)) + " |", "|" + "---|" * len(table.columns)]
        lines += ["| " + " | ".join(escape(text) for text, _ in row) + " |" for row in table.rows]
    return "\n".join(lines)


def _commands(comparison: Comparison) -> str:
    lines = [command for commands in comparison.commands.values() for command in commands]
    alone = [item.run for item in comparison.placed if plain_text(str(item.run.sweep)) not in comparison.commands]
    lines += list(dict.fromkeys(run.command for run in alone if run.status != "unfinished"))[:50]
    body = "\n".join(" ".join(line.split()) for line in lines)
    fence = _fence(body, 3)
    return f"{fence}bash\n{body}\n{fence}\n\nThe command of every single run is in comparison_summary.csv."


def _code(text: str) -> str:
    """The text as code inside a line."""
    fence = _fence(text, 1)
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))


def _versions(comparison: Comparison) -> str:
    return "\n".join(
        f"* {escape(what)} {escape(version)} ({runs:,} runs)" for what, version, runs in comparison.versions
    )
