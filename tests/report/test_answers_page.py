"""docs/answers and README say what docs/answers/runs.csv holds."""

from pathlib import Path

import pytest

from posenc.answers.cells import Cell, cells
from posenc.answers.page import PAGE, everything, page, short

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "docs" / "answers" / "runs.csv"


@pytest.fixture(scope="module")
def found() -> list[Cell]:
    return cells(LEDGER)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_is_made_from_the_ledger(found: list[Cell]) -> None:
    assert (ROOT / "docs" / "answers" / PAGE).read_text() == page(found, LEDGER.name)


def test_readme_has_the_answer_in_at_most_five_lines(found: list[Cell]) -> None:
    lines = short(everything(found))
    assert len(lines) <= 5
    readme = words((ROOT / "README.md").read_text())
    assert all(words(line) in readme for line in lines)


def test_every_cell_has_the_seeds_of_the_design(found: list[Cell]) -> None:
    assert {tuple(sorted(cell.runs)) for cell in found} == {tuple(range(10))}
    assert LEDGER.stat().st_size <= 5 * 2**20
