"""docs/answers and README agree with docs/answers/runs.csv."""

import json
import re
from pathlib import Path
from statistics import fmean

import pandas
import pytest

from posenc.answers import web
from posenc.answers.cells import Cell, cells, choosing
from posenc.answers.judged import everything, judged
from posenc.answers.page import PAGE, page
from posenc.answers.standing import NOT_WORSE, UNDECIDED, WORSE
from posenc.answers.summary import short
from posenc.report.words import fixed

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "docs" / "answers" / "runs.csv"


@pytest.fixture(scope="module")
def found() -> list[Cell]:
    return cells(LEDGER)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_is_made_from_the_ledger(found: list[Cell]) -> None:
    assert (ROOT / "docs" / "answers" / PAGE).read_text() == page(found, LEDGER.name, choosing(LEDGER))


@pytest.mark.slow
def test_the_page_for_a_browser_has_the_standings_of_the_ledger(found: list[Cell]) -> None:
    text = (ROOT / "docs" / "answers" / web.PAGE).read_text()
    assert text == web.render(found, LEDGER.name)
    data = json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', text)[0])
    said = everything(found)
    assert {*data["places"]} == {f"{dataset} {n}" for dataset, n in said.rows}
    for (dataset, n), rows in said.rows.items():
        place = data["places"][f"{dataset} {n}"]
        assert {name: row["mean"] for name, row in place.items()} == {row.encoding: round(row.mean, 4) for row in rows}
        kinds = {
            name: WORSE if row["better"] else UNDECIDED if row["doubtful"] else NOT_WORSE for name, row in place.items()
        }
        assert kinds == {row.encoding: row.kind for row in rows}
    assert not re.search(r"https?://(?!www\.w3\.org)", text)  # nothing is fetched


def test_readme_has_the_answer_in_at_most_five_lines(found: list[Cell]) -> None:
    lines = short(everything(found))
    assert len(lines) <= 5
    readme = words((ROOT / "README.md").read_text())
    assert all(words(line) in readme for line in lines)


def test_every_cell_has_the_seeds_of_the_design(found: list[Cell]) -> None:
    assert {tuple(sorted(cell.runs)) for cell in judged(found)} == {tuple(range(10))}
    assert LEDGER.stat().st_size <= 5 * 2**20


def test_the_history_compares_what_both_tables_have(found: list[Cell]) -> None:
    text = (ROOT / "docs" / "history.md").read_text().partition("## The same mistake")[2]
    first = pandas.read_csv(ROOT / "docs" / "results" / "benchmark" / "comparison_summary.csv")
    before = first[first.length == first.trained_longest].set_index(["dataset", "encoding"]).skill
    after = {(cell.dataset, cell.encoding): fmean(cell.skill(1).values()) for cell in found}
    tasks, *rows = re.findall(r"^[|] (\w+) [|] (.+) [|]$", text, re.MULTILINE)
    names = re.findall(r"`(\w+)`", tasks[1])
    shown = {(task, name): pair for name, row in rows for task, pair in zip(names, row.split(" | "), strict=True)}
    assert len(shown) == 32
    for key, pair in shown.items():
        assert pair == " → ".join(fixed(value, 2).replace("0.", ".") for value in (before[key], after[key])), key
    rise = sum(bool(after[key] - before[key] > 0.5) for key in shown)
    assert f"{rise} of these {len(shown)} cells rise by more than .5" in text
