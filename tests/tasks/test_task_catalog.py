"""The page docs/tasks.md is what the catalogue prints."""

import pytest

from posenc.__main__ import main
from posenc.catalog.tasks import entries
from posenc.catalog.tasks import page as markdown
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_page_in_the_docs_is_the_catalogues() -> None:
    """For the tasks on the page, `python -m posenc tasks --markdown` prints every line of the page."""
    page = (ROOT / "docs" / "tasks.md").read_text()
    held = [entry for entry in entries() if f"\n## {entry.name}\n" in page]
    assert len(held) >= 30
    assert markdown(held) == page, "run: python -m posenc tasks --markdown > docs/tasks.md"


def test_a_misspelt_task_is_answered_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["tasks", "rel_patern"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert "Did you mean rel_pattern?" in said
    assert said.count("\n") == 1
