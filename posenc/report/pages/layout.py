"""The tables of the report in their order, with their texts, for markdown and for the page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from posenc.report.numbers.compare import Comparison
from posenc.report.words import NONE, estimate, fixed, listing, probability, ratio, share, signed, span, whole
from posenc.statistics import SOLVED, Interval

Cell = tuple[str, float | str | None]
"""(text, the value by which it is sorted)."""
Row = Mapping[str, object]
"""{column: cell}. A cell that is only a text is sorted by this text."""


@dataclass(frozen=True)
class PageTable:
    """A heading, a line of explanation, and cells."""

    name: str
    title: str
    about: str
    columns: list[str]
    rows: list[list[Cell]]
    arm: int | None = None
    """The column that names an arm."""


COMMON = ("dataset", "positions", "measure", "metric", "status", "counted")
"""Columns that say nothing if all rows have the same value."""


def _table(name: str, title: str, about: str, rows: Sequence[Row], spare: Collection[str] = ()) -> PageTable:
    """A table of rows. A column in `spare` is left out if it is empty in all rows.

    A column in `COMMON` is left out if all rows have one value, which the text above the table then states.
    """
    cells = [
        {key: each if isinstance(each, tuple) else (str(each), str(each)) for key, each in row.items()} for row in rows
    ]
    columns = [
        key for key in (cells or [{}])[0] if key not in spare or any(row[key][0] not in (NONE, "") for row in cells)
    ]
    same = [key for key in columns if key in COMMON and len(cells) > 1 and len({row[key][0] for row in cells}) == 1]
    if same:
        about += f" In all rows: {', '.join(f'{key} {cells[0][key][0]}' for key in same)}."
    columns = [key for key in columns if key not in same]
    arm = columns.index("encoding") if "encoding" in columns else None
    return PageTable(name, title, about, columns, [[row[key] for key in columns] for row in cells], arm)


def _interval(found: Interval | None) -> Cell:
    return estimate(found), found.estimate if found else None


def _whole(value: float | None) -> Cell:
    return whole(value), value


def tables(comparison: Comparison) -> list[PageTable]:
    """The tables of the report that are not empty, in their order."""
    found = [summary_table, across_table, difference_table, length_table, lost_table]
    return [table for make in found if (table := make(comparison)) is not None]


def summary_table(comparison: Comparison) -> PageTable:
    """Encoding × dataset."""
    several, speed = len({facet.positions for facet in comparison.facets}) > 1, f"× {comparison.reference}"
    rows: list[Row] = []
    for row in comparison.rows:
        facet = row.facet
        lost = ", ".join(f"{count} {status}" for status, count in sorted(row.lost.items()))
        rows.append(
            {
                "dataset": facet.dataset,
                "positions": facet.positions if several else "",
                "encoding": row.arm,
                "measure": f"{facet.measure}" + (" ↓" if facet.lower else "") if facet.length else NONE,
                "mean [95 % interval]": _interval(row.score),
                "seeds": (str(row.seeds), row.seeds),
                "reading": row.label.partition(" (")[0] if row.seeds else "no result",
                "solved": (share(row.success), row.success.estimate if row.success else None),
                "AULC": _interval(row.aulc),
                "k50": (ratio(row.k50), row.k50),
                "parameters": _whole(row.parameters),
                "in encoding": _whole(row.encoding_parameters),
                "tokens/s": _whole(row.tokens_per_second),
                speed: (ratio(row.speed, row.same_sweep), row.speed),
                "not completed": lost,
            }
        )
    about = (
        "Mean over seeds with the 95 % t-interval, cut at what is possible; solved: seeds with skill ≥ "
        f"{SOLVED:g}, with Wilson's interval, which also holds where runs either succeed or fail (there the t-interval "
        "covers too seldom: 57 % at eight seeds of which one in ten fails). A run that diverged or failed counts, as "
        f"skill 0 (in bits: as the worst run here) and as not solved. {speed}: tokens per second relative to "
        f"{comparison.reference}, paired by seed within a sweep (~: across sweeps)."
    )
    if any(row.label for row in comparison.rows):
        about += " Rows with under ten seeds are not for verdicts."
    spare = ("positions", "solved", "AULC", "k50", "not completed", "reading", speed, "in encoding")
    return _table("summary", "Every encoding on every dataset", about, rows, spare)


def across_table(comparison: Comparison) -> PageTable | None:
    """Encodings over datasets."""
    if not comparison.across:
        return None
    rows = [
        {
            "encoding": row.arm,
            "positions": row.positions,
            "datasets": ", ".join(row.datasets),
            "mean skill": (fixed(row.mean), row.mean),
            "lowest": (f"{fixed(row.lowest)} on {row.hardest}", row.lowest),
            "not solved": (f"{len(row.unsolved)}/{len(row.datasets)}", len(row.unsolved)),
            "interquartile mean skill": _interval(row.skill),
            f"better than {comparison.baseline}": (fixed(row.improvement, 2), row.improvement),
        }
        for row in comparison.across
    ]
    about = (
        "Means over datasets of the mean skill over seeds, the best first; beside it the lowest of them and how many "
        f"datasets have a mean skill below {SOLVED:g}. The interquartile mean over all runs, with a stratified "
        "bootstrap interval, leaves out the best and the worst quarter: it hides a task that fails. The last column is "
        f"the mean over datasets of the share of seeds on which an encoding beats {comparison.baseline}."
    )
    missing = {arm: where for row in comparison.across for arm, where in row.missing.items()}
    if missing:
        lacking = [f"{arm} (no result on {where})" for arm, where in missing.items()]
        about += f" Not in this table: {listing(lacking, len(lacking))}."
    return _table("across", "Across datasets", about, rows)


def difference_table(comparison: Comparison) -> PageTable | None:
    """Paired differences."""
    if not comparison.contrasts:
        return None
    rows: list[Row] = []
    for one in comparison.contrasts:
        found = one.difference
        reading = "" if one.pair.kind == "none" else one.pair.kind
        if reading == "undecided" and one.pair.clear:
            reading = "interval leaves 0 out; not confirmed"
        raw = None if one.corrected is None else found.p
        rows.append(
            {
                "dataset": one.facet.title,
                "difference": f"{one.arm} − {one.baseline}",
                "measure": one.facet.measure if one.metric != "aulc" else "AULC",
                "mean [95 % interval]": (f"{signed(found.estimate)} {span(found, sign=True)}".strip(), found.estimate),
                "seeds": (str(found.n), found.n),
                "p": (probability(raw), raw),
                "p (corrected)": (probability(one.corrected), one.corrected),
                "better on": (fixed(one.improvement, 2), one.improvement),
                "r": (fixed(found.correlation, 2), found.correlation),
                "p (McNemar)": (probability(one.solved), one.solved),
                "reading": reading,
            }
        )
    about = (
        "Seed by seed on common random numbers: mean difference with its t-interval, exact sign-flip p of the row by "
        "itself, p corrected for everything that this report compares (sign flips, largest statistic), share of seeds "
        "on which it is the better one, correlation over seeds (what pairing gains), McNemar's p of the row by itself "
        "for solved runs. Fewer than three seeds have no p. Better, worse: corrected p below 0.05 and the mean outside "
        f"±{comparison.delta:g}. Equal: the corrected interval lies inside, and a difference of more than ten times as "
        "much on one seed in ten is excluded; without any such seed that takes 36 seeds for one comparison, more for "
        f"several. Tie: inside ±{comparison.delta:g} as far as these seeds show. Undecided: none of these."
    )
    return _table("differences", f"Paired differences against {comparison.baseline}", about, rows)


def length_table(comparison: Comparison) -> PageTable | None:
    """Every test length."""
    lengths = sorted({n for facet in comparison.facets for n in facet.lengths()})
    if len(lengths) < 2:
        return None
    rows: list[Row] = []
    for facet in comparison.facets:
        for arm in facet.arms:
            why = {n: reason for item in facet.of(arm) for n, reason in item.run.undefined.items()}
            row: dict[str, object] = {"dataset": facet.title, "encoding": arm, "metric": facet.metric}
            for n in lengths:
                found = facet.interval(arm, None, n)
                undefined = found is None and n in why
                row[str(n)] = (f"undefined: {why[n]}", None) if undefined else _interval(found)
            rows.append(row)
    return _table("lengths", "At every length", "Mean over seeds [95 % interval], cut at what is possible.", rows)


def lost_table(comparison: Comparison) -> PageTable:
    """Runs without a result, and why."""
    rows = [
        {
            "dataset": one.dataset, "positions": one.positions, "encoding": one.arm, "seed": _seed(one.seed),
            "status": one.status, "why": one.why, "folder": one.folder,
        }
        for one in comparison.lost
    ]  # fmt: skip
    about = "Runs that failed, diverged, were interrupted, refused or are missing." if rows else "Every run completed."
    return _table("lost", "What is missing", about, rows)


def run_table(comparison: Comparison) -> PageTable:
    """Every run, with its own score and command."""
    facets = {(facet.dataset, facet.positions): facet for facet in comparison.facets}
    rows: list[Row] = []
    for item in comparison.placed:
        run, facet = item.run, facets.get(item.facet)
        value = run.test.get(facet.length, {}).get(facet.metric) if facet else None
        rows.append(
            {
                "dataset": facet.title if facet else item.dataset,
                "encoding": item.arm,
                "seed": _seed(run.seed),
                "status": run.status,
                "counted": "yes" if item.completed else item.why_not or "no",
                "measure": facet.measure if facet and facet.length else NONE,
                "score": (fixed(value, 4), value),
                "train s": (fixed(run.measured("seconds"), 1), run.measured("seconds")),
                "folder": run.name,
                "command": run.command if run.status != "unfinished" else NONE,
            }
        )
    return _table("runs", "Every run", "The table of every run and length is comparison_summary.csv.", rows)


def _seed(seed: int | None) -> Cell:
    return ("?", None) if seed is None or seed < 0 else (str(seed), seed)
