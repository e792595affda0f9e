"""The tables and figures of the report, in their order, each with its words: for markdown and page alike."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.report.numbers import series
from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.facets import Facet, Row
from posenc.report.pages import figures as static
from posenc.report.pages.matrix import draw as draw_matrices
from posenc.report.pages.matrix import matrices
from posenc.report.words import NONE, estimate, fixed, listing, probability, ratio, share, signed, span, whole

Cell = tuple[str, float | str | None]
"""Text, and what it is sorted by."""


@dataclass(frozen=True)
class PageTable:
    """A heading, a line about it, and cells."""

    name: str
    title: str
    about: str
    columns: list[str]
    rows: list[list[Cell]]
    arm: int | None = None
    """The column that names an arm."""


def _text(value: object) -> Cell:
    return str(value), str(value)


def tables(comparison: Comparison) -> list[PageTable]:
    """The tables of the report that have something to say, in their order."""
    found = [summary_table, across_table, difference_table, length_table, lost_table]
    return [table for make in found if (table := make(comparison)) is not None]


def summary_table(comparison: Comparison) -> PageTable:
    """Encoding × dataset."""
    rows = comparison.rows
    several, speed = len({facet.positions for facet in comparison.facets}) > 1, f"× {comparison.reference}"
    columns = [
        "dataset",
        "positions",
        "encoding",
        "measure",
        "mean [95 % interval]",
        "seeds",
        "reading",
        "solved",
        "AULC",
    ]
    columns += ["k50", "parameters", "in encoding", "tokens/s", speed, "not completed"]
    cells = [
        [cell if several or name != "positions" else None for name, cell in _row(row, speed).items()] for row in rows
    ]
    kept = [name for name in columns if name != "positions" or several]
    body = [[cell for cell in row if cell is not None] for row in cells]
    drop = {
        index
        for index, name in enumerate(kept)
        if name in ("solved", "AULC", "k50", "not completed", "reading", speed, "in encoding")
        and all(row[index][0] in (NONE, "") for row in body)
    }
    body = [[cell for index, cell in enumerate(row) if index not in drop] for row in body]
    kept = [name for index, name in enumerate(kept) if index not in drop]
    about = (
        "Mean over seeds with the 95 % t-interval, cut at what is possible; solved: seeds with skill ≥ 0.9, with "
        "Wilson's interval, which also holds where runs either succeed or fail (there the t-interval covers too "
        "seldom: 57 % at eight seeds of which one in ten fails). A run that diverged or failed counts, as skill 0 (in "
        f"bits: as the worst run here) and as not solved. {speed}: tokens per second relative to "
        f"{comparison.reference}, paired by seed within a sweep (~: across sweeps)."
    )
    if any(row.label for row in rows):
        about += " Rows with under ten seeds are not for verdicts."
    return PageTable("summary", "Every encoding on every dataset", about, kept, body, kept.index("encoding"))


def _row(row: Row, speed: str) -> dict[str, Cell]:
    facet = row.facet
    lost = ", ".join(f"{count} {status}" for status, count in sorted(row.lost.items()))
    score = row.score.estimate if row.score else None
    return {
        "dataset": _text(facet.dataset),
        "positions": _text(facet.positions),
        "encoding": _text(row.arm),
        "measure": _text(f"{facet.measure}" + (" ↓" if facet.lower else "") if facet.length else NONE),
        "mean [95 % interval]": (estimate(row.score), score),
        "seeds": (str(row.seeds), row.seeds),
        "reading": _text(row.label.partition(" (")[0] if row.seeds else "no result"),
        "solved": (share(row.success), row.success.estimate if row.success else None),
        "AULC": (estimate(row.aulc), row.aulc.estimate if row.aulc else None),
        "k50": (ratio(row.k50), row.k50),
        "parameters": (whole(row.parameters), row.parameters),
        "in encoding": (whole(row.encoding_parameters), row.encoding_parameters),
        "tokens/s": (whole(row.tokens_per_second), row.tokens_per_second),
        speed: (ratio(row.speed, row.same_sweep), row.speed),
        "not completed": (lost, lost),
    }


def across_table(comparison: Comparison) -> PageTable | None:
    """Encodings over datasets."""
    if not comparison.across:
        return None
    rows = [
        [
            _text(row.arm), _text(row.positions), _text(", ".join(row.datasets)), (fixed(row.mean), row.mean),
            (f"{fixed(row.lowest)} on {row.hardest}", row.lowest),
            (f"{len(row.unsolved)}/{len(row.datasets)}", len(row.unsolved)),
            (estimate(row.skill), row.skill.estimate), (fixed(row.improvement, 2), row.improvement),
        ]
        for row in comparison.across
    ]  # fmt: skip
    about = (
        "Means over datasets of the mean skill over seeds, the best first; beside it the lowest of them and how many "
        "datasets have a mean skill below 0.9. The interquartile mean over all runs, with a stratified bootstrap "
        "interval, leaves out the best and the worst quarter: it hides a task that fails. The last column is the mean "
        f"over datasets of the share of seeds on which an encoding beats {comparison.baseline}."
    )
    missing = {arm: where for row in comparison.across for arm, where in row.missing.items()}
    if missing:
        lacking = [f"{arm} (no result on {where})" for arm, where in missing.items()]
        about += f" Not in this table: {listing(lacking, len(lacking))}."
    columns = ["encoding", "positions", "datasets", "mean skill", "lowest", "not solved", "interquartile mean skill"]
    columns += [f"better than {comparison.baseline}"]
    return PageTable("across", "Across datasets", about, columns, rows, 0)


def difference_table(comparison: Comparison) -> PageTable | None:
    """Paired differences."""
    if not comparison.contrasts:
        return None
    rows: list[list[Cell]] = []
    for one in comparison.contrasts:
        found, measure = one.difference, one.facet.measure if one.metric != "aulc" else "AULC"
        reading = "" if one.pair.kind == "none" else one.pair.kind
        if reading == "undecided" and one.pair.clear:
            reading = "interval leaves 0 out; not confirmed"
        raw = None if one.corrected is None else found.p
        rows.append(
            [
                _text(one.facet.title), _text(f"{one.arm} − {one.baseline}"), _text(measure),
                (f"{signed(found.estimate)} {span(found, sign=True)}".strip(), found.estimate), (str(found.n), found.n),
                (probability(raw), raw), (probability(one.corrected), one.corrected),
                (fixed(one.improvement, 2), one.improvement), (fixed(found.correlation, 2), found.correlation),
                (probability(one.solved), one.solved), _text(reading),
            ]
        )  # fmt: skip
    about = (
        "Seed by seed on common random numbers: mean difference with its t-interval, exact sign-flip p of the row by "
        "itself, p corrected for everything that this report compares (sign flips, largest statistic), share of seeds "
        "on which it is the better one, correlation over seeds (what pairing gains), McNemar's p of the row by itself "
        "for solved runs. Fewer than three seeds have no p. Better, worse: corrected p below 0.05 and the mean outside "
        f"±{comparison.delta:g}. Equal: the corrected interval lies inside, and a difference of more than ten times as "
        "much on one seed in ten is excluded; without any such seed that takes 36 seeds for one comparison, more for "
        f"several. Tie: inside ±{comparison.delta:g} as far as these seeds show. Undecided: none of these."
    )
    columns = [
        "dataset",
        "difference",
        "measure",
        "mean [95 % interval]",
        "seeds",
        "p",
        "p (corrected)",
        "better on",
        "r",
    ]
    columns += ["p (McNemar)", "reading"]
    return PageTable("differences", f"Paired differences against {comparison.baseline}", about, columns, rows)


def length_table(comparison: Comparison) -> PageTable | None:
    """Every test length."""
    rows: list[list[Cell]] = []
    lengths = sorted({n for facet in comparison.facets for n in facet.lengths()})
    if len(lengths) < 2:
        return None
    for facet in comparison.facets:
        for arm in facet.arms:
            reasons: dict[int, str] = {}
            for item in facet.of(arm):
                reasons |= item.run.undefined
            cells: list[Cell] = [_text(facet.title), _text(arm), _text(facet.metric)]
            for n in lengths:
                one = facet.interval(arm, None, n)
                if one is not None:
                    cells.append((estimate(one), one.estimate))
                else:
                    cells.append((f"undefined: {reasons[n]}" if n in reasons else NONE, None))
            rows.append(cells)
    columns = ["dataset", "encoding", "metric", *(str(n) for n in lengths)]
    return PageTable(
        "lengths", "At every length", "Mean over seeds [95 % interval], cut at what is possible.", columns, rows, 1
    )


def lost_table(comparison: Comparison) -> PageTable:
    """What is not there, and why."""
    rows = [
        [
            _text(one.dataset), _text(one.positions), _text(one.arm), ("?", None) if one.seed is None else
            (str(one.seed), one.seed), _text(one.status), _text(one.why), _text(one.folder),
        ]
        for one in comparison.lost
    ]  # fmt: skip
    about = "Runs that failed, diverged, were interrupted, refused or are missing." if rows else "Every run completed."
    return PageTable(
        "lost",
        "What is missing",
        about,
        ["dataset", "positions", "encoding", "seed", "status", "why", "folder"],
        rows,
        2,
    )


def run_table(comparison: Comparison) -> PageTable:
    """Every run, with its own score and command."""
    measured = {facet_of: facet for facet in comparison.facets for facet_of in [(facet.dataset, facet.positions)]}
    rows: list[list[Cell]] = []
    for item in comparison.placed:
        run, facet = item.run, measured.get(item.facet)
        value = run.test.get(facet.length, {}).get(facet.metric) if facet else None
        counted = "yes" if item.completed else item.why_not or "no"
        rows.append(
            [
                _text(facet.title if facet else item.dataset), _text(item.arm),
                (str(run.seed) if run.seed >= 0 else "?", run.seed), _text(run.status), _text(counted),
                _text(facet.measure if facet and facet.length else NONE), (fixed(value, 4), value),
                (fixed(run.measured("seconds"), 1), run.measured("seconds")), _text(run.name),
                _text(run.command if run.status != "unfinished" else NONE),
            ]
        )  # fmt: skip
    columns = ["dataset", "encoding", "seed", "status", "counted", "measure", "score", "train s", "folder", "command"]
    return PageTable(
        "runs", "Every run", "The table of every run and length is comparison_summary.csv.", columns, rows, 1
    )


@dataclass(frozen=True)
class Plot:
    """A figure: its name, words, and how it is drawn."""

    name: str
    title: str
    about: str
    draw: Callable[[], Figure]


def plots(comparison: Comparison) -> list[Plot]:
    """The figures for which there are data."""
    found: list[Plot] = []
    scored, styles = comparison.scored, comparison.styles
    if not scored:
        return found
    if glance := matrices(scored):
        about = (
            "Mean skill over seeds, at the length behind the name of the dataset; the highest mean first. An arm that "
            "lacks a dataset stands below those that have them all."
        )
        found.append(Plot("matrix", "At a glance", about, lambda: draw_matrices(glance)))
    found.append(
        Plot("seeds", "Every seed", "A dot is a seed; the mark its mean, the bar its 95 % interval.",
             lambda: static.strip(scored, comparison.rows, styles))
    )  # fmt: skip
    main = [one for one in comparison.contrasts if one.metric != "aulc"]
    if main:
        about = (
            "Arm minus baseline, seed by seed; a diamond is the mean, a bar its 95 % interval, the shade ±"
            f"{comparison.delta:g}; at the right p, corrected for all that this report compares."
        )
        title = f"Paired differences against {comparison.baseline}"
        found.append(Plot("differences", title, about, lambda: static.forest(scored, main, styles, comparison.delta)))
    for metric in ("accuracy", "skill", "bits"):
        facets = [facet for facet in scored if series.has_lengths(facet, metric)]
        if facets:
            about = (
                "Mean and 95 % interval over seeds, a dot is a seed; the trained range is shaded, ceilings are dotted."
            )
            found.append(
                Plot(
                    f"{metric}_by_length",
                    f"{metric.capitalize()} against length",
                    about,
                    _by_length(facets, metric, styles),
                )
            )
    for what, title in (("validation", "Learning curves: validation"), ("training", "Learning curves: training loss")):
        curves = [one for one in comparison.learning if one[0] == what]
        if curves:
            about = "A thin line is a seed, a thick one the mean of the seeds."
            found.append(Plot(f"learning_{what}", title, about, _learning(curves, styles)))
    if comparison.positions:
        about = "Loss in bits at each position of the context, mean of windows and seeds; lower is better."
        found.append(
            Plot("bits_by_position", "Loss against the position in the context", about, _positions(comparison))
        )
    return found


def _by_length(facets: list[Facet], metric: str, styles: static.Styles) -> Callable[[], Figure]:
    groups = [series.by_length(facet, metric) for facet in facets]
    return lambda: static.lines(facets, groups, styles, lambda axis, facet: static.length_axis(axis, facet, metric))


def _learning(curves: list, styles: static.Styles) -> Callable[[], Figure]:
    def decorate(axis: Axes, facet: Facet) -> None:
        axis.set_xlabel("step")
        axis.set_ylabel(next(column for _, column, other, _ in curves if other is facet).replace("/", " "))

    return lambda: static.lines([one[2] for one in curves], [one[3] for one in curves], styles, decorate, dots=False)


def _positions(comparison: Comparison) -> Callable[[], Figure]:
    def decorate(axis: Axes, facet: Facet) -> None:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("position in the context (the first is 1)")
        axis.set_ylabel("bits (lower is better)")

    found = comparison.positions
    titles = [f"{facet.title}, length {length}" for facet, length, _ in found]
    groups = [lines for _, _, lines in found]
    return lambda: static.lines([one[0] for one in found], groups, comparison.styles, decorate, titles, dots=False)
