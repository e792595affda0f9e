"""docs/answers/README.md and its figure, made from the ledger: the decision table, its evidence and its cost."""

from collections import Counter
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from posenc.answers.cells import Cell, of, seeds
from posenc.answers.recommend import ASKS, DELTA, FALLS, Answer, answer, named
from posenc.answers.standing import NOT_WORSE, UNDECIDED, WORSE, Place, Standing
from posenc.catalog.page import node_of
from posenc.config import CONFIGS
from posenc.figures.marks import End, dress, end_labels, length_axis, level, sheet
from posenc.figures.style import look, styles
from posenc.report.words import fixed, listing, span
from posenc.terminal import TRAIN, count

PAGE, FIGURE = "README.md", "skill_by_length.png"
MARKS = {NOT_WORSE: "**", WORSE: "", UNDECIDED: "*"}
SEEDS = 10
"""Seeds of each cell in the design. A data set is not judged before all its cells have so many."""
LONGER = 4
"""The decision table has two lengths: the trained length and so many times that length."""


def judged(found: Sequence[Cell]) -> list[Cell]:
    """The cells of complete data sets: all seeds, and as many encodings as any data set has."""
    whole = max(sum(1 for _ in of(found, dataset)) for dataset in datasets(found))
    ready = {
        dataset
        for dataset in datasets(found)
        if len(own := [*of(found, dataset)]) == whole and all(len(cell.runs) >= SEEDS for cell in own)
    }
    return [cell for cell in found if cell.dataset in ready]


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


def short(said: Answer) -> list[str]:
    """The answer in at most five lines, for README."""
    encodings, tasks = {cell.encoding for cell in said.cells}, datasets(said.cells)
    lines = [
        f"{count(len(encodings), 'encoding')} on {count(len(tasks), 'task')}, {seeds(said.cells)}, each at its best of "
        f"three learning rates. Good: not worse than the best by {DELTA:g} of skill, with 95 % confidence.",
        _at_the_trained_length(said, tasks),
    ]
    wanted = dict[str, list[str]]()
    for dataset in tasks:
        wanted.setdefault(_take(said, (dataset, LONGER)), []).append(asked(dataset))
    parts = [f"{taken} for {listing(own, len(own))}" for taken, own in wanted.items()]
    lines.append(f"At {LONGER} times that length these are good: {'; '.join(parts)}.")
    return lines


def _at_the_trained_length(said: Answer, tasks: Sequence[str]) -> str:
    """On how many of the tasks each encoding is good: most tasks have many good encodings there."""
    good = Counter(row.encoding for task in tasks for row in said.places.get((task, 1), []) if row.kind == NOT_WORSE)
    by_number = dict[int, list[str]]()
    for encoding in sorted({cell.encoding for cell in said.cells}):
        by_number.setdefault(good[encoding], []).append(encoding)
    parts = list[str]()
    for n, names in sorted(by_number.items(), reverse=True):
        mark = "**" if n == len(tasks) else "`"
        where = f"all {n} tasks" if n == len(tasks) else str(n or "no task")
        parts.append(f"{listing([mark + name + mark for name in names], len(names))} on {where}")
    return f"At the trained length these are good: {'; '.join(parts)}."


def _take(said: Answer, place: Place) -> str:
    """The good encodings of a task at a length, or why none is named."""
    if place not in said.places:
        return "none (nobody has learned it)" if place in said.unlearned else "none yet (a cell was not tested there)"
    rows = said.places[place]
    kept = [f"**{row.encoding}**" for row in rows if row.kind == NOT_WORSE]
    if len(kept) == len(rows):
        return f"all {len(rows)}"
    open_ = any(row.kind == UNDECIDED for row in rows)
    return listing(kept, len(kept)) if kept else "none yet (undecided)" if open_ else "none"


def page(found: Sequence[Cell], name: str) -> str:
    """The page as Markdown."""
    found, every = judged(found), found
    said = everything(found)
    lines = [
        "# Which encoding should I use?",
        "",
        "[Documentation](../README.md) · [the design](design.md), written before the runs · [a page to choose by]"
        "(index.html), to be opened in a browser",
        "",
        *(f"* {line}" for line in short(said)),
        "",
        f"![skill of each encoding against the test length, one panel a task]({FIGURE})",
        "",
        "## What to take",
        "",
        "| your task asks for | at the trained length take | undecided | avoid | at "
        f"{LONGER} times that length take | undecided | avoid |",
        "|---|---|---|---|---|---|---|",
        *(_decision(said, dataset) for dataset in datasets(found)),
        "",
        f"*Take*: not worse than the best by {DELTA:g} of skill, with 95 % confidence for each encoding alone.",
        f"*Avoid*: some encoding is better, on average by more than {DELTA:g}; the risk that this is false of any",
        "encoding on the page is below 5 %. `python -m posenc recommend` answers for several tasks at once, and for",
        "runs of your own (`--ledger`).",
        "",
        "## The evidence",
        "",
        "Mean skill over seeds at 1 to 8 times the longest trained length; bold: take, italic: undecided.",
        f"[{name}]({name}) has every seed. *Solved*: seeds that reached .95 of validation skill within the budget,",
        "with a 95 % interval; *steps*: until then, where a run that did not counts as the budget.",
    ]
    for dataset in datasets(found):
        lines += ["", f"### {_heading(dataset)}: `{dataset}`", "", *_table(said, dataset)]
        lines += ["", f"`{command(found, dataset)}` runs them again."]
    lines += ["", "## What it cost", "", *_cost(found)]
    lines += [
        "",
        "## What is not known",
        "",
        *unknown(said, every, found),
        "[The design](design.md) says what follows.",
    ]
    return "\n".join(lines) + "\n"


def _heading(dataset: str) -> str:
    words = asked(dataset)
    return words[0].upper() + words[1:]


def command(found: Sequence[Cell], dataset: str) -> str:
    """The command that runs the cells of a data set again, with all values that differ from the task's file."""
    own = [*of(found, dataset)]
    files = [CONFIGS / "dataset" / f"{dataset}.yaml", CONFIGS / "experiment" / "answers.yaml"]
    task, design = (OmegaConf.to_container(node_of(file)) if file.is_file() else {} for file in files)
    assert isinstance(task, dict)
    assert isinstance(design, dict)
    usual = {**task, **design["dataset"]}
    words = [
        f"{key}={value}".replace(" ", "")
        for key, value in own[0].settings.items()
        if key.startswith("dataset.")
        and not key.endswith("_target_")
        and str(usual.get(key.removeprefix("dataset."))) != str(value)
    ]
    encodings = ",".join(cell.encoding for cell in own)
    return " ".join([f"{TRAIN} -m experiment=answers force=true dataset={dataset}", *words, f"encoding={encodings}"])


def _decision(said: Answer, dataset: str) -> str:
    anchor = f"{asked(dataset)} {dataset}".lower().replace(" ", "-")
    columns = [f"[{asked(dataset)}](#{anchor})"]
    for n in (1, LONGER):
        rows = said.places.get((dataset, n), [])
        columns += [
            ", ".join(_because(row, said, dataset) for row in rows if row.kind == kind) or "–"
            for kind in (NOT_WORSE, UNDECIDED, WORSE)
        ]
    return f"| {' | '.join(columns)} |"


def _because(row: Standing, said: Answer, dataset: str) -> str:
    if row.kind == NOT_WORSE:
        solved = next(cell for cell in of(said.cells, dataset) if cell.encoding == row.encoding)
        failed = len(solved.runs) - sum(solved.solved.values())
        return row.encoding + (f" ({failed} of {len(solved.runs)} seeds not solved)" if failed else "")
    return f"{row.encoding} {fixed(row.mean, 2)}"


def _table(said: Answer, dataset: str) -> Iterator[str]:
    own = [*of(said.cells, dataset)]
    times = own[0].times
    heads = ["encoding", "learning rate", "solved", "steps", *(f"{n}×" for n in times)]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for cell in sorted(own, key=lambda cell: (-sum(cell.solved.values()), cell.mean_steps)):
        solved = f"{sum(cell.solved.values())}/{len(cell.runs)} {span(cell.success, 2)}"
        skills = [_skill(said, cell, n) for n in times]
        yield f"| {cell.encoding} | {cell.rate:g} | {solved} | {cell.mean_steps:,.0f} | {' | '.join(skills)} |"


def _skill(said: Answer, cell: Cell, n: int) -> str:
    values = cell.skill(n).values()
    if not values:
        return "–"
    mean = fixed(sum(values) / len(values), 2)
    rows = said.places.get((cell.dataset, n), [])
    mark = next((MARKS[row.kind] for row in rows if row.encoding == cell.encoding), "")
    return f"{mark}{mean}{mark}"


def _cost(found: Sequence[Cell]) -> Iterator[str]:
    runs = [run for cell in found for run in cell.runs.values()]
    hours = sum(run.measured("wall_seconds") or 0 for run in runs) / 3600
    versions = sorted({str((run.result.get("versions") or {}).get("torch")) for run in runs})
    yield (
        f"{count(len(runs), 'run')} of one thread each, {seeds(found)} a cell; {hours:.1f} hours in all of them, with "
        f"other work beside them, and without those that chose the rates; torch {listing(versions)}."
    )


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
    for dataset in datasets(every):
        if not any(of(found, dataset)):
            runs = sum(len(cell.runs) for cell in of(every, dataset))
            yield f"{dataset} is not judged yet: {count(runs, 'run')} of it are in the ledger."
    yield "The models have 100,000 parameters and the tasks are synthetic."


@look()
def draw(found: Sequence[Cell]) -> Figure:
    """Mean skill of each encoding against the test length. Each task is a panel, and each seed is a point."""
    found = judged(found)
    said, names = everything(found), datasets(found)
    look_of = styles({cell.encoding: cell.encoding for cell in found})
    figure, axes = sheet(len(names), 2, 2.9, finding(said))
    for axis, dataset in zip(axes, names, strict=True):
        ends = []
        for cell in of(found, dataset):
            style = look_of[cell.encoding]
            known = {n * cell.trained: values for n in cell.times if (values := list(cell.skill(n).values()))}
            if not known:
                continue
            xs, seeds_of = [*known], [*known.values()]
            means = [sum(values) / len(values) for values in seeds_of]
            axis.plot(xs, means, color=style.colour, marker=style.marker, linestyle=style.dash, ms=3.5)
            for x, values in zip(xs, seeds_of, strict=True):
                axis.scatter([x] * len(values), values, s=3, alpha=0.35, color=style.colour, linewidths=0)
            ends.append(End(xs[-1], means[-1], cell.encoding, style.colour))
        first = next(of(found, dataset))
        trained = first.runs[min(first.runs)].trained
        assert trained is not None
        length_axis(axis, [n * first.trained for n in first.times], trained, "test length (shaded: trained)")
        dress(axis, f"{asked(dataset)} ({dataset})", "test length (shaded: trained)", "skill")
        level(axis, (0, 1))
        axis.set_ylim(-0.3, 1.05)
        end_labels(axis, ends, 2.3)
    return figure


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
