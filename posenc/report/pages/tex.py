"""comparison_summary.tex: the tables of a report for a paper, in the style of booktabs."""

from collections.abc import Sequence

from posenc.report.numbers.compare import Comparison
from posenc.report.pages import layout
from posenc.report.pages.layout import PageTable

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "–": "--",
    "↓": r"$\downarrow$", "δ": r"$\delta$",
}  # fmt: skip
"""Characters that are commands in LaTeX, or that its fonts may lack."""


def escape(text: str) -> str:
    """The text with LaTeX's special characters escaped."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def render(comparison: Comparison) -> str:
    """A table environment for each table. They need only \\usepackage{booktabs}."""
    lines = ["% \\usepackage{booktabs}", f"% {escape(comparison.first.text)}"]
    for table in layout.tables(comparison):
        if table.rows:
            lines += ["", *_table(table)]
    return "\n".join(lines) + "\n"


def _table(table: PageTable) -> list[str]:
    numbers = [isinstance(value, int | float) or value is None for _, value in table.rows[0]]
    form = "".join("r" if number else "l" for number in numbers)
    return [
        r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}. {escape(table.about)}}}",
        rf"\begin{{tabular}}{{{form}}}", r"\toprule",
        _line(table.columns), r"\midrule", *(_line([text for text, _ in row]) for row in table.rows),
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    """A row. LaTeX would read a [ or * at its beginning as an option of the line break before it."""
    text = " & ".join(map(escape, cells))
    return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"
