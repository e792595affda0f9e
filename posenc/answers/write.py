"""docs/answers, made from the ledger: the answer as text, as a page for a browser, and as a figure."""

from pathlib import Path

from posenc.answers import judged, page, web
from posenc.answers.cells import cells, choosing
from posenc.checks import ConfigError
from posenc.runs.writing import write_picture, write_text
from posenc.terminal import count


def write(ledger: Path, folder: Path) -> None:
    """Write README.md, index.html and their figure into the folder.

    Raises ConfigError if no data set has two encodings with all their seeds.
    """
    found = cells(ledger)
    if not judged.judged(found):
        raise ConfigError(
            f"{ledger} has no data set on which two encodings have {judged.SEEDS} seeds; run the others first."
        )
    write_text(folder / page.PAGE, page.page(found, ledger.name, choosing(ledger)))
    write_text(folder / web.PAGE, web.render(found, ledger.name))
    write_picture(folder / page.FIGURE, page.draw(found), dpi=150)
    runs = count(sum(len(cell.runs) for cell in found), "run")
    print(f"{folder / page.PAGE}, {folder / web.PAGE} and {folder / page.FIGURE}: {runs}")
