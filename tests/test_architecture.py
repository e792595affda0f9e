"""docs/architecture.md is true of the tree."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_page_names_every_room_in_the_order_that_is_checked() -> None:
    layers = re.search(r"^layers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert layers is not None
    floors = [set(re.findall(r"\w+", line)) for line in layers.group(1).splitlines()]
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(len(floors), 0, -1))
    assert [set(re.findall(r"`(\w+)(?:/|\.py)`", rooms)) for _, rooms in rows] == floors
    rooms = (path for path in (ROOT / "posenc").iterdir() if path.suffix in ("", ".py"))
    found = {path.stem for path in rooms if not path.stem.startswith(("__init", "__pycache"))}
    assert set.union(*floors) == found


PAGES = sorted((ROOT / "docs").rglob("*.md"))


def links(page: Path) -> set[tuple[Path, str]]:
    """(file, heading) that a page links or shows; code, such as bias[h](t), links nothing."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text)
    return {((page.parent / link).resolve() if link else page, part) for link, part in found if "://" not in link}


def headings(page: Path) -> set[str]:
    """The names of a page's headings in links, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_is_there(page: Path) -> None:
    lost = [
        (link, part)
        for link, part in links(page)
        if not link.exists() or (part and link.suffix == ".md" and part not in headings(link))
    ]
    assert lost == []


def test_every_page_is_linked_from_its_index_and_links_it() -> None:
    """The index of a page is the README.md of its folder; that of a README.md is the one above it."""
    for page in PAGES:
        if page.parents[1].name in ("claims", "results"):  # the pages of one claim and of one sweep
            continue
        folder = page.parent.parent if page.name == "README.md" else page.parent
        assert folder / "README.md" in {link for link, _ in links(page)}, page
        assert page in {link for link, _ in links(folder / "README.md")}, page


def test_a_newcomer_reads_one_run_in_1700_lines() -> None:
    section = PAGE.partition("## Reading order")[2].partition("\n## ")[0]
    files = re.findall(r"\]\(\.\./([\w/]+\.py)\)", section)
    assert len(files) == len(set(files)) >= 12
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) <= 1700


def test_a_class_has_one_home() -> None:
    homes: dict[str, list[Path]] = {}
    for path in (ROOT / "posenc").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


ROOMS = ("encodings", "tasks", "diagnostics")
"""Rooms that hold one file for each encoding, task and diagnostic."""


def test_no_room_holds_more_than_a_dozen_modules() -> None:
    assert len([*(ROOT / "posenc").glob("*.py")]) <= 6
    folders = {path.parent for path in (ROOT / "posenc").rglob("*.py")}
    for folder in folders - {ROOT / "posenc" / name for name in ROOMS}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 12, folder
