"""What the runs say, in a sentence for each dataset, computed; also where that is: nothing yet.

The best arm is compared with every other arm on common seeds, with Holm's correction over these comparisons. It is the
winner if every corrected p is below .05. Those that it does not beat share the top: they are equal if every difference
has its interval inside ±δ, else the order is undecided. No p above .05 is ever read as equality.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from posenc import statistics
from posenc.report.differences import Across, Contrast, contrast, corrected
from posenc.report.tables import Facet, interval
from posenc.report.words import bounds, count, estimate, fixed, listing, probability

LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """A sentence or two, and the kind of answer that they give."""

    kind: str
    """nothing, alone, winner, equal, undecided."""
    text: str
    label: str = ""
    """What the number of seeds forbids."""

    def __str__(self) -> str:
        return f"{self.text} ({self.label})" if self.label else self.text


def of_facet(facet: Facet, delta: float) -> list[Finding]:
    """What one dataset under one position scheme says: one finding for each setting in which encodings meet."""
    scored = [arm for arm in facet.arms if facet.values(arm)]
    if not scored:
        return [Finding("nothing", f"On {facet.phrase} nothing can be said yet, because {_no_scores(facet)}.")]
    settings = {facet.setting(arm): [] for arm in scored}
    for arm in scored:
        settings[facet.setting(arm)].append(arm)
    meetings = [arms for arms in settings.values() if len(arms) > 1]
    return [_of_arms(facet, arms, delta) for arms in meetings or [scored]]


def _of_arms(facet: Facet, scored: Sequence[str], delta: float) -> Finding:
    best, score = scored[0], interval(facet.values(scored[0]))
    assert score is not None
    word = "lowest" if facet.lower else "highest"
    top = f"{best} has the {word} {facet.measure}, {estimate(score)}"
    if len(scored) == 1:
        text = f"On {facet.phrase} nothing can be compared yet, because {best} is the only encoding with a result: "
        text += f"{facet.measure} {estimate(score)} ({count(score.n, 'seed')})."
        return Finding("alone", text, statistics.label(score.n))
    rivals = [contrast(facet, best, other, delta) for other in scored[1:]]
    compared = corrected([one for one in rivals if one is not None])
    if not compared:
        text = f"On {facet.phrase} nothing can be said yet, because {best} and {listing(scored[1:])} have no seed in "
        return Finding("nothing", text + "common: run them with the same seeds.", statistics.label(0))
    label = statistics.label(compared[0].difference.n)
    if all(bounds(one.difference) is None for one in compared):
        most = max(one.difference.n for one in compared)
        why = "there is one seed" if most == 1 else f"there are only {most} seeds"
        text = f"On {facet.phrase} nothing can be said yet, because {why} and differences have no interval "
        text += f"({top}, which is no evidence): three seeds give an interval, ten a verdict."
        return Finding("nothing", text, label)
    return _verdict(facet, compared, top, score.n, delta, label)


def _no_scores(facet: Facet) -> str:
    items = [item for item in facet.members if item.counted]
    if not items:
        return "its runs cannot be told apart and are refused"
    states = Counter(item.run.status for item in items)
    if set(states) == {"completed"}:
        return "no result holds a score"
    found = listing([f"{number} {status}" for status, number in sorted(states.items())])
    return f"none of its {count(len(items), 'run')} completed ({found})"


def _verdict(facet: Facet, compared: Sequence[Contrast], top: str, seeds: int, delta: float, label: str) -> Finding:
    level = [one for one in compared if not (one.holm is not None and one.holm < LEVEL)]
    head = f"On {facet.phrase}, {top} ({count(seeds, 'seed')})"
    best = compared[0].arm
    base = facet.baseline.get(best)
    nearest = compared[0]
    against = next((one for one in compared if one.baseline == base and one is not nearest), None)
    lead = f"{nearest.baseline} by {_gain(nearest)}"
    beside = f", and {base} by {_gain(against)}" if against is not None and against not in level else ""
    if not level:
        label = statistics.label(min(one.difference.n for one in compared))
        return Finding("winner", f"{head}: it beats every other encoding, the next, {lead}{beside}.", label)
    names = [best, *(one.baseline for one in level)]
    if all(one.equivalent for one in level):
        text = f"{head}, equal within ±{delta:g} to {listing(names[1:])}: every interval of a difference lies inside"
        rest = [one for one in compared if one not in level]
        text += f"; it beats {'the other' if len(rest) == 1 else 'all others'}" if rest else ""
        return Finding("equal", text + f"{beside}.", label)
    clear = [one for one in level if one.clear]
    if len(clear) == len(level):
        fewest = min(one.difference.n for one in level)
        text = f"{head}, ahead of the next, {lead}: the intervals leave 0 out, but {count(fewest, 'seed')} cannot "
        text += f"confirm it in {count(len(compared), 'comparison')} (exact test, Holm)."
        return Finding("undecided", text, label)
    open_ = [one for one in level if not one.clear]
    text = f"{head}, but it is undecided whether it is better than {listing([one.baseline for one in open_])}: "
    text += f"ahead of {open_[0].baseline} by {_gain(open_[0])}"
    return Finding(
        "undecided", text + (f"; it beats {base} by {_gain(against)}." if beside and against else "."), label
    )


def _gain(one: Contrast) -> str:
    """The lead with its interval, whichever way is better."""
    found = bounds(one.difference)
    if found is None:
        return fixed(one.gain)
    low, high = (-found[1], -found[0]) if one.lower else found
    p = f", p = {probability(one.holm)} after Holm".replace("= <", "<") if one.holm is not None else ""
    return f"{fixed(one.gain)} [{fixed(low)}, {fixed(high)}]{p}"


def overall(found: Sequence[Finding], rows: Sequence[Across]) -> Finding:
    """The first sentence of the report."""
    if len(found) == 1:
        return found[0]
    said = [one for one in found if one.kind not in ("nothing", "alone")]
    if not said:
        alike = {one.text.partition("because ")[2] for one in found}
        why = (
            f"because {alike.pop()}" if len(alike) == 1 else f"on any of {count(len(found), 'comparison')}, see below."
        )
        return Finding("nothing", f"Nothing can be said yet, {why}", found[0].label if found else "")
    label = next((one.label for one in found if one.label), "")
    kinds = Counter(one.kind for one in found)
    tally = listing(
        [
            f"{kinds[kind]} {said}"
            for kind, said in (
                ("winner", "with a winner"),
                ("equal", "with equals at the top"),
                ("undecided", "undecided"),
                ("nothing", "without an answer"),
                ("alone", "with one encoding only"),
            )
            if kinds[kind]
        ]
    )
    counts = f"of {count(len(found), 'comparison')}, {tally}"
    if len(rows) < 2:
        return Finding("several", f"There is no common ranking: {counts}, each stated below.", label)
    first, second = rows[0], rows[1]
    several = len({row.positions for row in rows}) > 1
    names = [row.arm + (f" ({row.positions} positions)" if several else "") for row in (first, second)]
    text = f"Across {len(first.datasets)} datasets {names[0]} has the highest interquartile mean skill, "
    text += f"{estimate(first.skill)}, before {names[1]}, {estimate(second.skill)}"
    lead = first.lead_over(second)
    if lead is not None and bounds(lead) is not None:
        low, _ = bounds(lead) or (0.0, 0.0)
        text += f"; on common seeds it leads by {estimate(lead)}, " + (
            "which leaves 0 out" if low > 0 else "which includes 0: their order is undecided"
        )
    return Finding("several", f"{text}; {counts}.", label)
