"""docs/architecture.md is true of the tree."""

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_page_names_every_room_in_the_order_that_is_checked() -> None:
    layers = re.search(r"^layers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert layers is not None
    floors = [set(re.findall(r"\w+", line)) for line in layers.group(1).splitlines()]
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(len(floors), 0, -1))
    assert [set(re.findall(r"`(\w+)(?:/|\.py)`", rooms)) for _, rooms in rows] == floors
    found = {path.stem for path in (ROOT / "posenc").iterdir() if not path.stem.startswith(("__init", "__pycache"))}
    assert set.union(*floors) == found


def test_what_the_page_links_is_there_and_links_back() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(links) > 20
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
    assert "docs/architecture.md" in (ROOT / "README.md").read_text()
