"""One sentence for each figure: its finding with the uncertainty, computed from the drawn numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from posenc.report.numbers.differences import Contrast
from posenc.report.numbers.facets import LOWER, Facet, Values, clipped
from posenc.report.numbers.finding import Finding
from posenc.report.numbers.series import Line
from posenc.report.words import estimate, fixed, listing
from posenc.statistics import mean_interval
from posenc.terminal import count

MAX_NAMED = 3
Lines = Sequence[tuple[Facet, Sequence[Line]]]


def short(values: Values, limits: tuple[float | None, float | None] = (None, None)) -> str:
    """Mean and interval over seeds as .91 [.90, .92], cut at the possible values."""
    return estimate(clipped(mean_interval([*values.values()]), limits), 2)


def seeds_said(numbers: Sequence[int]) -> str:
    """one seed, 3 seeds, 1 to 5 seeds."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return ("one seed" if high == 1 else count(high, "seed")) if low == high else f"{low} to {high} seeds"


def of_seeds(facets: Sequence[Facet], findings: Sequence[Finding]) -> str:
    """The best arm at the trained length, or the number of datasets on which it is known."""
    if len(facets) == 1:
        (facet,) = facets
        scored = [arm for arm in facet.arms if facet.values(arm)]
        best, kind = scored[0], findings[0].kind
        top = f"{best}: {facet.measure} {short(facet.values(best), facet.limits())}"
        seeds = seeds_said([len(facet.values(arm)) for arm in scored])
        verdict = {
            "winner": "ahead of all others", "equal": "equal to the next", "tie": "in a tie with the next",
            "undecided": "but its lead is not certain", "nothing": "too few seeds to compare", "alone": "alone",
        }  # fmt: skip
        return f"{top}, {verdict.get(kind, 'the highest')} ({seeds})"
    kinds = Counter(finding.kind for finding in findings)
    seeds = seeds_said([len(values) for facet in facets for arm in facet.arms if (values := facet.values(arm))])
    if set(kinds) == {"nothing"}:
        return f"At the trained length nobody can be called best on any of {len(facets)} datasets yet: {seeds}"
    words = {
        "winner": "a clear best", "equal": "equals at the top", "tie": "a tie", "undecided": "no certain order",
        "nothing": "too few seeds to say", "alone": "one encoding only",
    }  # fmt: skip
    said = listing([f"{kinds[kind]} with {text}" for kind, text in words.items() if kinds[kind]], 6)
    return f"Of {count(len(findings), 'comparison')} at the trained length, {said} ({seeds})"


def of_differences(found: Sequence[Contrast], baseline: str, delta: float) -> str:
    """How many arms are certainly better and certainly worse than the baseline."""
    kinds = Counter(one.pair.kind for one in found)
    seeds = seeds_said([one.difference.n for one in found])
    if set(kinds) == {"none"}:
        return f"No difference from {baseline} is certain yet: {seeds}, so there are no intervals"
    words = {
        "better": "certainly better", "worse": "certainly worse", "equal": f"equal within ±{delta:g}", "tie": "a tie",
        "undecided": "undecided", "none": "of too few seeds for an interval",
    }  # fmt: skip
    said = listing([f"{kinds[kind]} {text}" for kind, text in words.items() if kinds[kind]], 6)
    return f"Of {count(len(found), 'difference')} from {baseline}, {said} ({seeds})"


def of_lengths(groups: Lines, metric: str) -> str:
    """The best arm's score at the longest length and at the trained length."""
    facet, found = groups[0]
    longest = facet.lengths()[-1]
    sign = 1 if metric in LOWER else -1
    ends = {id(facet): _last(found, sign) for facet, found in groups}
    if len(groups) == 1:
        best, *rest = ends[id(facet)]
        near = facet.values(best.arm, metric, facet.length)
        text = f"At length {longest}{_times(facet)}, {best.arm} {_verb(metric)} {_end(best)}"
        text += f" ({fixed(mean_interval([*near.values()]).estimate, 2)} at {facet.length})" if near else ""
        if rest:
            text += f"; the next, {rest[0].arm}, {_end(rest[0])}"
        return f"{text}: {seeds_said([len(line.seeds) for line in found])}"
    best = [ends[id(facet)][0] for facet, _ in groups if ends[id(facet)]]
    who = Counter(line.arm for line in best).most_common()
    leaders = listing([f"{arm} in {number}" for arm, number in who], MAX_NAMED)
    ratios = {facet.lengths()[-1] / facet.trained[1] for facet, _ in groups if facet.trained}
    where = f"{ratios.pop():g}× the trained length" if len(ratios) == 1 else "the longest length"
    low, high = fixed(min(line.mean[-1] for line in best), 2), fixed(max(line.mean[-1] for line in best), 2)
    what = f"needs {low} to {high} {metric}" if metric in LOWER else f"keeps {low} to {high} {metric}"
    seeds = seeds_said([len(line.seeds) for _, group in groups for line in group])
    return f"At {where} the best of each of {len(groups)} panels {what}: {leaders} ({seeds})"


def _last(found: Sequence[Line], sign: int) -> list[Line]:
    """The lines that reach the longest length, the best there first."""
    far = max((line.x[-1] for line in found), default=0)
    return sorted((line for line in found if line.x[-1] == far), key=lambda line: (sign * line.mean[-1], line.arm))


def _times(facet: Facet) -> str:
    longest = facet.lengths()[-1]
    return f", {longest / facet.trained[1]:g}× the trained" if facet.trained and longest > facet.trained[1] else ""


def _verb(metric: str) -> str:
    return "needs" if metric in LOWER else "keeps"


def _end(line: Line) -> str:
    low, high = (ends[-1] if ends else None for ends in (line.low, line.high))
    return fixed(line.mean[-1], 2) + (f" [{fixed(low, 2)}, {fixed(high, 2)}]" if low is not None else "")


def of_matrix(titles: Sequence[str], arms: Sequence[str], values: Sequence[np.ndarray]) -> str:
    """The arm with the highest mean over the columns of each matrix. Arms that lack a column are left out."""
    said = []
    for title, table in zip(titles, values, strict=True):
        means = table.mean(axis=1)
        if np.isnan(means).all():
            continue
        best = int(np.nanargmax(means))
        said.append(
            f"{arms[best]} {title}, {fixed(float(means[best]), 2)} (lowest {fixed(float(table[best].min()), 2)})"
        )
    return (
        f"Highest mean skill over the datasets: {'; '.join(said)}" if said else "No encoding has run on every dataset"
    )


def of_curves(groups: Lines, what: str, lower: bool) -> str:
    """The last values of the curves."""
    sign = 1 if lower else -1
    if len(groups) == 1:
        found = sorted((line for line in groups[0][1] if line.x), key=lambda line: sign * line.mean[-1])
        if not found:
            return ""
        first, last = found[0], found[-1]
        text = f"{what} ends at {fixed(first.mean[-1], 2)} with {first.arm}"
        if last is not first:
            text += f" and at {fixed(last.mean[-1], 2)} with {last.arm}"
        return f"{text} ({seeds_said([len(line.seeds) for line in found])})"
    best = [
        min(sign * line.mean[-1] for line in group if line.x) * sign
        for _, group in groups
        if any(line.x for line in group)
    ]
    return f"{what} of the best ends between {fixed(min(best), 2)} and {fixed(max(best), 2)}" if best else ""
