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
MOST_LEFT_OUT = 3
"""If a task excludes few encodings, the short form names up to this number of them, otherwise none."""


def short(said: Answer) -> list[str]:
    """The answer in at most five lines, for README."""
    encodings, tasks = {cell.encoding for cell in said.cells}, datasets(said.cells)
    masked = sum(causal(said.cells, task) for task in tasks)
    tasks_of = Counter(cell.encoding for cell in said.cells)
    everywhere = sum(n == len(tasks) for n in tasks_of.values())
    share = "" if everywhere == len(encodings) else f", {everywhere} of them on all"
    lines = [
        f"{count(len(encodings), 'encoding')}{share or ' on'} {count(len(tasks), 'task')} ({masked} causal), "
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
    """On how many tasks each encoding is good. Only those with runs on all tasks and good on most are named."""
    rows = [row for task in tasks for row in said.places.get((task, 1), [])]
    runs, good = (Counter(row.encoding for row in own) for own in (rows, [r for r in rows if r.kind == NOT_WORSE]))
    everywhere = [name for name in sorted(runs) if runs[name] == max(runs.values())]
    parts = list[str]()
    for n in sorted({good[name] for name in everywhere if 2 * good[name] > runs[name]}, reverse=True):
        mark = "**" if n == len(tasks) else "`"
        names = [f"{mark}{name}{mark}" for name in everywhere if good[name] == n]
        parts.append(f"{listing(names, len(names))} on {f'all {n} tasks' if n == len(tasks) else n}")
    if few := sum(2 * good[name] <= runs[name] for name in everywhere):
        parts.append(f"{count(few, 'other')} on half of them or fewer")
    if others := len(runs) - len(everywhere):
        whole = sum(good[name] == runs[name] for name in runs if name not in everywhere)
        parts.append(f"of the {others} with runs on fewer tasks {whole} are good on all of these")
    return f"At the trained length these are good: {'; '.join(parts)}."


def _take(said: Answer, place: Place) -> str:
    """The good encodings of a task at a length, or why none is named."""
    if place not in said.places:
        return "none (not learned)" if place in said.unlearned else "none yet (a cell was not tested there)"
    rows = said.places[place]
    kept = [f"**{row.encoding}**" for row in rows if row.kind == NOT_WORSE]
    others = [f"`{row.encoding}`" for row in rows if row.kind != NOT_WORSE]
    if not others:
        return f"all {len(rows)}"
    if len(kept) > len(rows) / 2 and len(others) > MOST_LEFT_OUT:
        return f"{len(kept)} of {len(rows)}"
    if len(kept) > len(rows) / 2:
        return f"all but {listing(others, len(others))}"
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
