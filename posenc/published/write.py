"""The files of a judged claim: the number of each seed, the verdict, a figure with the published numbers, a page."""

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from posenc.figures.marks import entitle, name_lines
from posenc.figures.style import CEILING, INK, SMALL, WIDTH, look, styles
from posenc.published.claim import PublishedClaim
from posenc.report.reading.ledger import key
from posenc.report.reading.read import Run
from posenc.report.reading.saved import read_all
from posenc.report.words import fixed
from posenc.runs.folder import FINISHED
from posenc.runs.writing import write_picture, write_text
from posenc.statistics.claims import INCONCLUSIVE, INVALID, Side, Verdict
from posenc.statistics.measurements import Measurements
from posenc.terminal import count

TABLE, VERDICT, PAGE, FIGURE = "claim.csv", "verdict.json", "claim.md", "claim.png"
HEIGHT = 2.6
"""Height of the figure without its title, in inches."""


def judge(
    claim: PublishedClaim, name: str, roots: Sequence[Path], folder: Path, command: str
) -> tuple[Verdict, list[str]]:
    """Judge the claim by the runs in `roots` (folders or tables) and write its files into `folder`."""
    runs = _once(read_all(roots)[0])
    found, notes = claim.measured(runs)
    verdict = claim.verdict(found)
    seconds = sum(run.measured("wall_seconds") or 0 for run in runs)
    record = {
        "claim": name,
        "command": command,
        "date": date.today().isoformat(),
        "commit": _commits(runs),
        "hours": round(seconds / 3600, 2),
    }
    write_text(folder / TABLE, _read_by(claim, found).csv())
    write_text(folder / VERDICT, json.dumps(record | asdict(verdict) | {"notes": notes}, indent=2) + "\n")
    write_picture(folder / FIGURE, draw(claim, verdict, found), dpi=150)
    write_text(folder / PAGE, page(claim, verdict, found, notes, record))
    return verdict, notes


def _commits(runs: Sequence[Run]) -> str:
    """The commits of the code that made the runs. If only some runs name theirs, the others' is "unknown"."""
    found = {(run.result.get("versions") or {}).get("commit") for run in runs}
    named = sorted(each for each in found if each)
    return " ".join([*named, *["unknown"] * (None in found)]) if named else "–"


def _once(runs: Iterable[Run]) -> list[Run]:
    """Each run once, as it may lie in a folder and stand in a table too: the first that has come to its end."""
    found: dict[Hashable, Run] = {}
    for run in sorted(runs, key=lambda run: run.status not in FINISHED):
        found.setdefault((run.dataset, run.encoding, run.seed, *key(run)), run)
    return [*found.values()]


def _read_by(claim: PublishedClaim, found: Measurements) -> Measurements:
    """The rows that the verdict and the figure need: the claim's quantity and the quantity of its gate."""
    kept, gate = Measurements(), claim.judged.gate
    quantities = {claim.judged.quantity, *([gate.quantity] if gate is not None else [])}
    kept.extend(row for row in found.rows() if row[0] in quantities)
    return kept


@look()
def draw(claim: PublishedClaim, verdict: Verdict, found: Measurements) -> Figure:
    """Draw the quantity of each arm against the test length, each seed as a point, and the published numbers."""
    figure = Figure(figsize=(WIDTH, 1), layout="constrained")
    here, there = figure.subplots(1, 2, width_ratios=(3, 1)) if claim.numbers else (figure.subplots(), None)
    quantity, arms = claim.judged.quantity, found.arms(claim.judged.quantity)
    look_of = styles({arm: str(claim.arms[arm].get("encoding", arm)) for arm in arms})
    for arm in arms:
        along, style = found.along(quantity, arm), look_of[arm]
        places = [*along]
        means = [sum(sample.values()) / len(sample) for sample in along.values()]
        here.plot(places, means, color=style.colour, marker=style.marker, linestyle=style.dash, label=arm)
        for place, sample in along.items():
            here.scatter([place] * len(sample), [*sample.values()], s=8, alpha=0.5, color=style.colour)
    for side in (claim.judged.of, claim.judged.against):
        if isinstance(side, Side):
            here.axvline(side.at, color=CEILING, lw=0.6, linestyle=":")
    here.set_xscale("log", base=2)
    places = sorted({at for arm in arms for at in found.along(quantity, arm)})
    here.set_xticks(places, [f"{at:g}" for at in places])
    here.set_xlabel("length (dotted: judged there)")
    here.set_title(f"Here: {quantity}" + ("" if claim.numbers else " (no published number of these arms is at hand)"))
    name_lines(here, HEIGHT - 1)
    if there is not None:
        names, numbers = [*claim.numbers], [*claim.numbers.values()]
        colours = [look_of[name].colour if name in look_of else INK for name in names]
        bars = there.barh(names, numbers, height=0.5, color=colours)
        there.bar_label(bars, fontsize=SMALL, padding=2)
        there.set_ylim(len(names) + 0.5, -1.5)
        there.set_xlim(0, 1.3 * (max(numbers) or 1))  # all numbers may be 0
        there.set_title("Published")
        there.set_xlabel(claim.unit)
    title = f"{verdict.outcome}: {claim.judged.statement.rstrip('.')} ({told(claim, verdict)})"
    figure.set_figheight(HEIGHT + entitle(figure, title))
    return figure


def told(claim: PublishedClaim, verdict: Verdict) -> str:
    """The difference with its interval, the number if it is from one, the seeds, and why it decides nothing."""
    if verdict.estimate is None:
        return verdict.note or "not measured"
    ends = "" if verdict.low is None or verdict.high is None else f" [{fixed(verdict.low)}, {fixed(verdict.high)}]"
    note = f"; {verdict.note}" if verdict.note and verdict.outcome in (INVALID, INCONCLUSIVE) else ""
    against = claim.judged.against
    level = "" if isinstance(against, Side) else f" from the level {against:g}"
    return f"difference {fixed(verdict.estimate)}{ends}{level}, {count(verdict.seeds, 'seed')}{note}"


def page(
    claim: PublishedClaim, verdict: Verdict, found: Measurements, notes: Sequence[str], record: dict[str, Any]
) -> str:
    """The page: the claim, the published result, our result, and reasons for a difference."""
    lines = [
        f"# {claim.judged.statement}",
        "",
        "[All claims](../README.md) · [documentation](../../README.md)",
        "",
        f"**{verdict.outcome}**: {told(claim, verdict)}; "
        f"the smallest effect of interest is {verdict.smallest_effect:g}.",
        "",
        f"> {claim.says}",
        f"> {claim.source}",
        "",
        f"![{claim.judged.quantity} of each arm, and what was published]({FIGURE})",
        "",
        "| | published | here |",
        "|---|---|---|",
        f"| setting | {claim.setting} | {claim.differs} |",
    ]
    for arm, number in claim.numbers.items():
        lines.append(f"| {arm} | {number:g} {claim.unit} | {_here(claim, arm, found)} |")
    lines += ["", f"Judged: {verdict.contrast}" + (f"; gate: {verdict.gate}" if verdict.gate else "") + "."]
    lines += [f"Of the runs: {'; '.join(notes)}."] if notes else []
    lines += ["", f"Written after the runs: {claim.afterwards}"] if claim.afterwards else []
    code = f", commit {record['commit']}" if record.get("commit", "–") != "–" else ""
    lines += ["", f"`{record['command']}`, {record['hours']:g} hours in all runs, {record['date']}{code}."]
    if claim.reasons:
        lines += ["", "Why it may come out otherwise, and what to change:", ""]
        lines += [f"{k}. {one['why']}: `{one['setting']}`" for k, one in enumerate(claim.reasons, 1)]
    return "\n".join(lines) + "\n"


def _here(claim: PublishedClaim, arm: str, found: Measurements) -> str:
    """The mean of an arm at the place at which the claim reads it."""
    judged = claim.judged
    for side in (judged.of, judged.against):
        if isinstance(side, Side) and side.arm == arm and side.at in found.along(judged.quantity, arm):
            mean = fixed(found.mean(judged.quantity, arm, side.at))
            return f"{mean} {judged.quantity} at length {side.at:g}"
    return "–"
