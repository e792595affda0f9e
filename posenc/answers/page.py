"""docs/answers/README.md and its figure, made from the ledger: the decision table, its evidence and its cost."""

from collections import Counter
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from posenc.answers.cells import Cell, of, seeds
from posenc.answers.judged import asked, causal, commands, datasets, everything, judged
from posenc.answers.recommend import DELTA, Answer
from posenc.answers.standing import NOT_WORSE, UNDECIDED, WORSE, Standing
from posenc.answers.summary import LONGER, finding, short, unknown
from posenc.figures.marks import End, dress, end_labels, length_axis, level, sheet
from posenc.figures.style import look, styles
from posenc.report.reading.read import Run
from posenc.report.words import fixed, listing, span
from posenc.terminal import count

PAGE, FIGURE = "README.md", "skill_by_length.png"
MOST_NAMES = 14
"""The names that a panel of the figure has room for."""
MARKS = {NOT_WORSE: "**", WORSE: "", UNDECIDED: "*"}


def page(found: Sequence[Cell], name: str, rates: Sequence[Run] = ()) -> str:
    """The page as Markdown, for the ledger `name`. `rates` are the runs that chose the learning rates."""
    found, every = judged(found), found
    said = everything(found)
    lines = [
        "# Which encoding should I use?",
        "",
        "[Documentation](../README.md) · [what the answer means](discussion.md) · [the design](design.md), written "
        "before the runs · [a page to choose by](index.html), to be opened in a browser",
        "",
        *(f"* {line}" for line in short(said)),
        "",
        f"![skill of each encoding against the test length, one panel a task]({FIGURE})",
        "",
        "## What to take",
        "",
        "| your task asks for | length | take | undecided | avoid |",
        "|---|---|---|---|---|",
        *(line for dataset in datasets(found) for line in _decision(said, dataset)),
        "",
        "*Length*: in times the longest trained length.",
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
        lines += ["", *_commands(found, dataset)]
    lines += ["", "## What it cost", "", *_cost(said, rates)]
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


def _commands(found: Sequence[Cell], dataset: str) -> Iterator[str]:
    own = [*commands(found, dataset)]
    if causal(found, dataset):
        yield "The model is causal: a token sees itself and the tokens before it."
        yield ""
    if len(own) == 1:
        yield f"`{own[0]}` runs them again."
    else:
        yield from ["These commands run them again:", "", "```bash", *own, "```"]


def _decision(said: Answer, dataset: str) -> Iterator[str]:
    anchor = f"{asked(dataset)} {dataset}".lower().replace(" ", "-")
    name = f"[{asked(dataset)}](#{anchor}){', causal' if causal(said.cells, dataset) else ''}"
    for n in (1, LONGER):
        rows = said.places.get((dataset, n), [])
        if (dataset, n) in said.unlearned:
            yield f"| {name} | {n}× | no encoding has learned it | – | – |"
            continue
        kinds = (
            ", ".join(_because(row, said, dataset) for row in rows if row.kind == kind) or "–"
            for kind in (NOT_WORSE, UNDECIDED, WORSE)
        )
        yield f"| {name} | {n}× | {' | '.join(kinds)} |"


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


def _cost(said: Answer, rates: Sequence[Run]) -> Iterator[str]:
    runs = [run for cell in said.cells for run in cell.runs.values()]
    there = {(cell.dataset, cell.encoding) for cell in said.cells}
    rates = [run for run in rates if (run.dataset, run.encoding) in there]
    hours, choosing = (sum(run.measured("wall_seconds") or 0 for run in own) / 3600 for own in (runs, rates))
    versions = sorted({str((run.result.get("versions") or {}).get("torch")) for run in runs})
    yield (
        f"{count(len(runs), 'run')} of one thread each, {seeds(said.cells)} a cell, took {hours:.1f} hours with other "
        f"work beside them; torch {listing(versions)}."
    )
    if rates:
        yield f"{count(len(rates), 'run')} that chose the learning rates took {choosing:.1f} hours."
    yield (
        f"So one cell, an encoding on a task with its verdicts at all lengths, costs "
        f"{60 * (hours + choosing) / len(said.cells):.0f} minutes of one core."
    )


@look()
def draw(found: Sequence[Cell]) -> Figure:
    """Mean skill of each encoding against the test length. Each task is a panel, and each seed is a point."""
    found = judged(found)
    said, names = everything(found), datasets(found)
    look_of = styles({cell.encoding: cell.encoding for cell in found})
    tasks_of = Counter(cell.encoding for cell in found)
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
        # first the best one, then encodings with runs on all tasks, so that a reader finds them in every panel
        best = max(end.y for end in ends)
        ends.sort(key=lambda end: (end.y < best, -tasks_of[end.text], -end.y))
        few = f"; {MOST_NAMES} of {len(ends)} named" if len(ends) > MOST_NAMES else ""
        dress(axis, f"{asked(dataset)} ({dataset})", f"test length (shaded: trained{few})", "skill")
        level(axis, (0, 1))
        axis.set_ylim(-0.3, 1.05)
        end_labels(axis, ends[:MOST_NAMES], 2.3)
    return figure
