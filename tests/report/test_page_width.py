"""On a screen of 1,280 px the report's page shows every column of its tables; a table scrolls only in its own box."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from posenc.report import write
from posenc.report.pages import layout
from tests.report.conftest import Make

LETTER, PADDING, DOT = 7.0, 12, 16
"""Widths in pixels: a letter (the mean of DejaVu Sans at 12 px), the padding on both sides of a cell, an arm's dot."""
ROOM = 1280 - 2 * 28 - 2
"""The greatest width of a table in pixels: the page without its margins and the border of the box."""


class Cells(HTMLParser):
    """{id of a table: rows of cells}; a cell is pieces of text, each with whether it is kept in one line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[tuple[str, bool]]]]] = {}
        self.rows: list[list[list[tuple[str, bool]]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "section":
            self.rows = self.tables.setdefault(dict(attrs).get("id") or "", [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append([])

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1].append((data, self.open[-1] == "span"))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


def least(rows: list[list[list[tuple[str, bool]]]]) -> float:
    """The width in pixels of a table whose cells are broken at every possible place."""
    columns = zip(*rows, strict=True)
    return sum(max(map(_piece, column)) + PADDING for column in columns) + DOT


def _piece(cell: list[tuple[str, bool]]) -> float:
    words = [word for text, kept in cell for word in ([text] if kept else text.split())]
    return LETTER * max(map(len, words), default=0)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_last_column_of_the_widest_summary_fits(run: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs have two position schemes, arms named by a value, AULC and a lost run, so the table has all columns."""
    monkeypatch.setattr(layout, "COMMON", ())
    for positions in ("contiguous", "randomized"):
        for encoding in ("none", "learned_relative"):
            for rate in (0.001, 0.0003):
                for seed in range(3):
                    told = {"config": {"optimizer.lr": rate}, "name": f"{positions}{rate}"}
                    area = {"length_generalization": {"aulc": 0.3 + seed / 10, "k50": 2.5, "tested_to": 8.0}}
                    skill = None if encoding == "none" and seed == 2 else 0.3 + 0.2 * seed
                    run(encoding, seed, skill, positions=positions, dataset="rel_pattern", **told, **area)
    summary = Cells(write([root]).page.read_text()).tables["summary"]
    assert len(summary[0]) == 15
    assert least(summary) <= ROOM


def test_only_a_narrow_screen_keeps_cells_in_one_line() -> None:
    """On a narrow screen a table scrolls in its own box."""
    style = Path(__file__).parents[2].joinpath("posenc/report/pages/page.css").read_text()
    rules = re.findall(r"([^{}]*)\{([^{}]*)\}", style)
    kept = [name.strip() for name, body in rules if "white-space: nowrap" in body]
    assert kept == [".label", "td.n span", "td:not(.w), th button"]
    assert "max-width: 900px) { td:not(.w), th button { white-space: nowrap" in style
    assert ".scroll { overflow: auto" in style
