"""Which cells of a ledger are judged, in which order, and the commands that run them again."""

from collections.abc import Iterator, Sequence

from posenc.answers.cells import Cell, of
from posenc.answers.recommend import ASKS, DELTA, Answer, answer
from posenc.terminal import TRAIN

SEEDS = 10
"""The seeds of each cell in the design. A cell with fewer seeds is not judged."""


def judged(found: Sequence[Cell]) -> list[Cell]:
    """The cells with all their seeds, of data sets with at least two such cells."""
    ready = [cell for cell in found if len(cell.runs) >= SEEDS]
    return [cell for cell in ready if sum(1 for _ in of(ready, cell.dataset)) > 1]


def everything(found: Sequence[Cell]) -> Answer:
    """The answer for every judged data set at every length, as one family of comparisons."""
    found = judged(found)
    times = sorted(set.intersection(*({*cell.times} for cell in found)))
    return answer(found, datasets(found), times, DELTA)


def datasets(found: Sequence[Cell]) -> list[str]:
    """The data sets in the order of the design; others come after them."""
    there = {cell.dataset for cell in found}
    known = [ask["dataset"] for ask in ASKS.values() if ask["dataset"] in there]
    return [*known, *sorted(there - {*known})]


def asked(dataset: str) -> str:
    """A description of what a data set tests."""
    return next((ask["says"] for ask in ASKS.values() if ask["dataset"] == dataset), dataset)


def causal(found: Sequence[Cell], dataset: str) -> bool:
    """Whether the models of a data set are causal."""
    return any(cell.settings["model.causal"] for cell in of(found, dataset))


def commands(found: Sequence[Cell], dataset: str) -> Iterator[str]:
    """The commands that run the cells of a data set again: one for all encodings that were run with the same words."""
    groups = dict[tuple[str, ...], list[str]]()
    for cell in of(found, dataset):
        groups.setdefault(cell.words, []).append(cell.encoding)
    for words, encodings in groups.items():
        start = f"{TRAIN} -m experiment=answers force=true dataset={dataset}"
        yield " ".join([start, *words, f"encoding={','.join(encodings)}"])
