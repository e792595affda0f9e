"""The answer in sentences: the short form of README, the title of the figure, and what is not known."""

from collections import Counter
from collections.abc import Iterator, Sequence

from posenc.answers.cells import Cell, of, seeds
from posenc.answers.judged import SEEDS, asked, causal, datasets
from posenc.answers.recommend import DELTA, FALLS, Answer, named
from posenc.answers.standing import NOT_WORSE, UNDECIDED, Place
from posenc.report.words import fixed, listing
from posenc.terminal import count

LONGER = 4
"""The short form has two lengths: the trained length and LONGER times that length."""


def short(said: Answer) -> list[str]:
    """The answer in at most five lines, for README."""
    encodings, tasks = {cell.encoding for cell in said.cells}, datasets(said.cells)
    masked = sum(causal(said.cells, task) for task in tasks)
    lines = [
        f"{count(len(encodings), 'encoding')} on {count(len(tasks), 'task')} ({masked} causal), "
        f"{seeds(said.cells)}, each at its best of three learning rates. Good: not worse than the best by {DELTA:g} of "
        "skill, with 95 % confidence.",
        _at_the_trained_length(said, tasks),
    ]
    wanted = dict[str, list[str]]()
    for dataset in tasks:
        wanted.setdefault(_take(said, (dataset, LONGER)), []).append(asked(dataset))
    parts = [f"{taken} for {listing(own, len(own))}" for taken, own in wanted.items()]
    lines.append(f"At {LONGER} times that length these are good: {'; '.join(parts)}.")
    return lines


def _at_the_trained_length(said: Answer, tasks: Sequence[str]) -> str:
    """On how many of the tasks each encoding is good; those that are good on fewer than half are only counted."""
    rows = [row for task in tasks for row in said.places.get((task, 1), [])]
    runs, good = (Counter(row.encoding for row in own) for own in (rows, [r for r in rows if r.kind == NOT_WORSE]))
    alike = dict[tuple[int, int], list[str]]()
    for encoding in sorted(runs):
        if 2 * good[encoding] >= runs[encoding]:
            alike.setdefault((good[encoding], runs[encoding]), []).append(encoding)
    parts = list[str]()
    for (n, of_all), names in sorted(alike.items(), key=lambda item: (-item[0][0], item[0][1])):
        mark = "**" if n == of_all else "`"
        where = f"all {n} tasks" if n == len(tasks) else f"{n}{'' if of_all == len(tasks) else f' of {of_all}'}"
        parts.append(f"{listing([mark + name + mark for name in names], len(names))} on {where}")
    if others := len(runs) - sum(map(len, alike.values())):
        parts.append(f"{count(others, 'other')} on fewer than half" if parts else "no encoding on half of the tasks")
    return f"At the trained length these are good: {'; '.join(parts)}."


def _take(said: Answer, place: Place) -> str:
    """The good encodings of a task at a length, or why none is named."""
    if place not in said.places:
        return "none (not learned)" if place in said.unlearned else "none yet (a cell was not tested there)"
    rows = said.places[place]
    kept, others = (
        [f"**{row.encoding}**" for row in rows if (row.kind == NOT_WORSE) == good] for good in (True, False)
    )
    if not others:
        return f"all {len(rows)}"
    if len(kept) > len(rows) / 2:
        return f"all but {listing([name.replace('**', '`') for name in others], len(others))}"
    open_ = any(row.kind == UNDECIDED for row in rows)
    return listing(kept, len(kept)) if kept else "none yet" if open_ else "none"


def unknown(said: Answer, every: Sequence[Cell], found: Sequence[Cell]) -> Iterator[str]:
    """Sentences about undecided comparisons, tasks that no encoding learns, and data sets not judged yet."""
    kinds = [row.kind for rows in said.places.values() for row in rows]
    decided = sum(kind != UNDECIDED for kind in kinds)
    yield (
        f"{decided} of {len(kinds)} cells (encoding × task × length) are decided; undecided ones are italic above."
        if kinds
        else "No task was learned."
    )
    if said.unlearned:
        yield f"No encoding reaches skill {FALLS:g} on {listing([named(place) for place in said.unlearned], 20)}."
    yield from _not_judged(every, found)
    yield "The models have 100,000 parameters and the tasks are synthetic."


def _not_judged(every: Sequence[Cell], found: Sequence[Cell]) -> Iterator[str]:
    """Cells that have too few seeds, and encodings that have no runs on some of the tasks."""
    there = {(cell.dataset, cell.encoding) for cell in found}
    few = [cell for cell in every if (cell.dataset, cell.encoding) not in there]
    for dataset in datasets(few):
        names = [f"{cell.encoding} ({count(len(cell.runs), 'run')})" for cell in of(few, dataset)]
        lack = f"fewer than {SEEDS} seeds or no other encoding"
        yield f"Not judged on {dataset}, with {lack}: {listing(names, len(names))}."
    absent = dict[tuple[str, ...], list[str]]()
    for encoding in sorted({cell.encoding for cell in found}):
        missing = tuple(
            name for name in datasets(found) if not any(cell.encoding == encoding for cell in of(every, name))
        )
        if missing:
            absent.setdefault(missing, []).append(encoding)
    for missing, names in absent.items():
        yield f"Without runs on {listing(missing, len(missing))}: {listing(names, len(names))}."


def finding(said: Answer) -> str:
    """A sentence: the skill of the best encoding on each task at the longest length that is judged."""
    last = max((n for _, n in (*said.places, *said.unlearned)), default=1)
    best = [
        f"{rows[0].encoding} keeps {fixed(rows[0].mean, 2)} of {place[0]}"
        for place, rows in said.places.items()
        if place[1] == last
    ]
    lost = [place[0] for place in said.unlearned if place[1] == last]
    parts = [*best, *([f"nobody keeps {FALLS:g} of {listing(lost, 9)}"] if lost else [])]
    return f"At {last} times the trained length {listing(parts, 9)} ({seeds(said.cells)})"
