"""The first sentences of a report, which summarise all its findings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from posenc.report.numbers.differences import Across
from posenc.report.numbers.finding import MANY, Finding, lead
from posenc.report.numbers.judge import Judgement
from posenc.report.numbers.meetings import Key
from posenc.report.numbers.next_runs import Open, still_open
from posenc.report.words import fixed, listing
from posenc.terminal import count


def overall(found: Sequence[Finding], rows: Sequence[Across], judged: Judgement[Key]) -> Finding:
    """The first sentences of the report."""
    if len(found) == 1:
        return found[0]
    beside = _all_beside(found)
    open_ = tuple(replace(each, where=f"{each.where} on {one.phrase}") for one in found for each in one.open)
    said = [one for one in found if one.kind not in ("nothing", "alone")]
    fewest = min((one for one in (said or found) if one.label), key=lambda one: one.seeds, default=None)
    label, seeds = (fewest.label, fewest.seeds) if fewest else ("", min((one.seeds for one in said), default=0))
    if not said:
        several = [one for one in found if one.kind == "nothing"]
        if len(several) == 1:  # the other facets have one arm each
            more = f"{count(len(found) - 1, 'other encoding')} cannot be compared; see the report."
            return Finding("nothing", f"{several[0].text} {more}", label, seeds, open=open_)
        alike = {one.text.partition("because ")[2].partition(" (")[0].partition(".")[0] for one in found}
        why = f"because {alike.pop()}" if len(alike) == 1 else f"on any of {count(len(found), 'comparison')}"
        text = f"Nothing can be said yet, {why}; the report has each.{beside}"
        return Finding("nothing", text, label, seeds, open=open_)
    kinds = Counter(one.kind for one in found)
    words = {
        "winner": "with a winner", "equal": "with equals at the top", "tie": "with a tie at the top",
        "undecided": "undecided", "nothing": "without an answer", "alone": "with one encoding only",
    }  # fmt: skip
    tally = listing([f"{kinds[kind]} {said}" for kind, said in words.items() if kinds[kind]], MANY)
    counts = f"of {count(len(found), 'comparison')}, {tally}"
    if len(rows) < 2:
        text = f"There is no common ranking: {counts}; the report has each.{beside}"
        return Finding("several", text, label, seeds, open=open_)
    text = f"{_ranking(rows, judged)}; {counts}.{beside}"
    return Finding("several", text, label, seeds, open=tuple(_open(rows, judged)) or open_)


def _two(rows: Sequence[Across]) -> tuple[Across, Across]:
    """The best arm across datasets, and the next with the same positions."""
    first = rows[0]
    return first, next((row for row in rows[1:] if row.positions == first.positions), rows[1])


def _open(rows: Sequence[Across], judged: Judgement[Key]) -> list[Open]:
    first, second = _two(rows)
    pair = judged.get(("across", first.positions, first.arm, second.arm))
    facets = [(dataset, first.positions) for dataset in first.datasets]
    return still_open(facets, f"across {len(facets)} datasets", first.arm, {second.arm: pair} if pair else {})


def _ranking(rows: Sequence[Across], judged: Judgement[Key]) -> str:
    first, second = _two(rows)
    several = len({row.positions for row in rows}) > 1
    names = [row.arm + (f" ({row.positions} positions)" if several else "") for row in (first, second)]
    key = ("across", first.positions, first.arm, second.arm)
    pair = judged.get(key)
    if pair is not None and pair.kind in ("tie", "equal"):
        text = f"Across {len(first.datasets)} datasets {names[0]}, {_task_mean(first)}, and {names[1]}, "
        text += f"{_task_mean(second)}, tie: their mean skills differ by less than {judged.delta:g}"
    else:
        text = f"Across {len(first.datasets)} datasets {names[0]} has the highest mean skill, {_task_mean(first)}, "
        text += f"before {names[1]}, {_task_mean(second)}"
        sure = pair is not None and pair.kind == "better"
        text += f"; on common seeds it leads by {lead(pair)}" if pair and sure else "; their order is undecided"
        text += f": on common seeds {lead(pair)}" if pair and not sure and pair.corrected is not None else ""
    if first.missing:
        lacking = [f"{arm} (no result on {where})" for arm, where in first.missing.items()]
        text += f"; not ranked: {listing(lacking, MANY)}"
    return text


def _task_mean(row: Across) -> str:
    unsolved = f"solves all {len(row.datasets)}"
    if row.unsolved:
        unsolved = f"does not solve {len(row.unsolved)} of {len(row.datasets)}"
    return f"{fixed(row.mean)} (lowest {fixed(row.lowest)} on {row.hardest}; {unsolved})"


def _all_beside(found: Sequence[Finding]) -> str:
    """Sentences about all lost runs and all arms that are left out."""
    lost = [f"{words} on {one.phrase}" for one in found for words in one.lost]
    apart = [f"{words} on {one.phrase}" for one in found for words in one.left_out]
    text = f" Runs that were lost count as failures: {'; '.join(lost)}." if lost else ""
    return text + (f" Not compared, or not on every seed: {'; '.join(apart)}." if apart else "")
