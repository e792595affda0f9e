"""The attribute `proof` of each encoding, a column of the catalogue, names exactly what tests compare it with."""

import importlib
from pathlib import Path

from posenc.catalog.encodings import EncodingEntry
from posenc.catalog.encodings import page as markdown
from tests.conftest import CONFIGS, ROOT
from tests.encodings.proofs import FORMULA, PROOFS

importlib.import_module("tests.test_attention")
for file in sorted(Path(__file__).parent.glob("test_*.py")):
    importlib.import_module(f"tests.encodings.{file.stem}")


def test_proofs_are_what_the_tests_prove(catalogue: dict[str, EncodingEntry]) -> None:
    ours = {file.stem for file in (CONFIGS / "encoding").glob("*.yaml")}
    assert {name: set(catalogue[name].proof) for name in ours} == PROOFS


def test_the_page_in_the_docs_is_the_catalogues(catalogue: dict[str, EncodingEntry]) -> None:
    """For the encodings on the page, `python -m posenc encodings --markdown` prints every line of the page."""
    page = (ROOT / "docs" / "encodings.md").read_text()
    held = [entry for entry in catalogue.values() if f"\n## {entry.name}\n" in page]
    assert markdown(held) == page, "run: python -m posenc encodings --markdown > docs/encodings.md"


def test_what_the_page_holds_is_proven(catalogue: dict[str, EncodingEntry]) -> None:
    page = (ROOT / "docs" / "encodings.md").read_text()
    names = {entry.name for entry in catalogue.values() if f"\n## {entry.name}\n" in page}
    assert len(names) >= 35
    assert names <= PROOFS.keys()
    compared = sum(bool(PROOFS[name] - {FORMULA}) for name in names)
    assert compared >= 18
    for page in (ROOT / "README.md", ROOT / "docs" / "choices.md"):
        assert f"reach and proof: {compared} are compared with another" in " ".join(page.read_text().split())
