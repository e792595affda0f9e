"""Paired differences against the baseline, and what is said across datasets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posenc import statistics
from posenc.report.read import Note
from posenc.report.tables import SUCCESS, Facet, Values
from posenc.report.words import bounds, listing
from posenc.statistics import Difference, Interval


@dataclass(frozen=True)
class Contrast:
    """An arm minus its baseline, seed by seed."""

    facet: Facet
    arm: str
    baseline: str
    metric: str
    difference: Difference
    improvement: float
    """Probability that the arm is the better one on a seed."""
    equivalent: bool
    """Whether the whole interval lies inside ±δ."""
    solved: float | None
    """McNemar's p for the runs that solved the task, where the metric is skill."""
    holm: float | None = None
    """p, corrected for all comparisons of this kind in the report."""

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return self.metric == "bits"

    @property
    def gain(self) -> float:
        """The difference, positive where the arm is better."""
        return -self.difference.estimate if self.lower else self.difference.estimate

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        found = bounds(self.difference)
        return found is not None and (found[0] > 0 or found[1] < 0)


def contrast(facet: Facet, arm: str, other: str, delta: float, metric: str | None = None) -> Contrast | None:
    """One arm against another, on the seeds that both have; nothing where they share none."""
    metric = metric or facet.metric
    ours, theirs = facet.values(arm, metric), facet.values(other, metric)
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    difference = statistics.paired_difference(ours, theirs)
    sign = -1 if metric == "bits" else 1
    a, b = (sign * np.array([values[seed] for seed in seeds]) for values in (ours, theirs))
    better = statistics.probability_of_improvement(a, b, paired=True).estimate
    equal = bounds(difference) is not None and bool(statistics.equivalent(difference, delta))
    solved = statistics.mcnemar(a >= SUCCESS, b >= SUCCESS) if metric == "skill" else None
    return Contrast(facet, arm, other, metric, difference, better, equal, solved)


def contrasts(facets: Sequence[Facet], baseline: str, delta: float) -> tuple[list[Contrast], list[Note]]:
    """Every arm against its baseline, by the facet's metric and by AULC; Holm over all of one kind."""
    found: list[Contrast] = []
    notes: list[Note] = []
    for facet in facets:
        for arm, other in facet.baseline.items():
            for metric in (facet.metric, "aulc"):
                one = contrast(facet, arm, other, delta, metric)
                if one is not None:
                    found.append(one)
                elif metric == facet.metric and facet.values(arm):
                    notes.append(
                        Note(f"{facet.title} · {arm}", f"no seed in common with {other}: not compared with it.")
                    )
        scored = [arm for arm in facet.arms if facet.values(arm)]
        if scored and not facet.baseline and any(baseline not in (arm, facet.encoding(arm)) for arm in scored):
            text = f"the baseline {baseline} has no completed run here; {listing(scored)} cannot be compared with it."
            notes.append(Note(facet.title, text))
    main = corrected([one for one in found if one.metric != "aulc"])
    return main + corrected([one for one in found if one.metric == "aulc"]), notes


def corrected(found: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts with Holm's correction over all of them."""
    adjusted = statistics.holm([one.difference.p for one in found])
    return [replace(one, holm=p) for one, p in zip(found, adjusted, strict=True)]


@dataclass(frozen=True)
class Across:
    """An encoding over all datasets that have a skill."""

    arm: str
    positions: str
    datasets: tuple[str, ...]
    skill: Interval
    improvement: float | None
    """Mean over the datasets of the probability that it beats the baseline on a seed."""
    values: list[Values]
    """For each dataset, the skill of each seed."""

    def lead_over(self, other: "Across") -> Interval | None:
        """The difference of the interquartile means on common seeds; nothing where a dataset has none."""
        if self.datasets != other.datasets:
            return None
        seeds = [sorted(a.keys() & b.keys()) for a, b in zip(self.values, other.values, strict=True)]
        if not all(seeds):
            return None
        ours, theirs = (
            [[values[seed] for seed in common] for values, common in zip(row.values, seeds, strict=True)]
            for row in (self, other)
        )
        return statistics.paired_interquartile_difference(ours, theirs)


def across(facets: Sequence[Facet], delta: float) -> list[Across]:
    """Interquartile means over datasets, the best first; of the arms that every dataset has."""
    rows: list[Across] = []
    for positions in sorted({facet.positions for facet in facets}):
        group = [facet for facet in facets if facet.positions == positions and facet.metric == "skill"]
        group = [facet for facet in group if any(facet.values(arm) for arm in facet.arms)]
        if len({facet.dataset for facet in group}) < 2:
            continue
        shared = [arm for arm in group[0].arms if all(facet.values(arm) for facet in group)]
        for arm in shared:
            tasks = [facet.values(arm) for facet in group]
            rows.append(
                Across(
                    arm,
                    positions,
                    tuple(facet.dataset for facet in group),
                    statistics.interquartile_mean([list(values.values()) for values in tasks]),
                    _improvement(group, arm, delta),
                    tasks,
                )
            )
    return sorted(rows, key=lambda row: (-row.skill.estimate, row.arm))


def _improvement(group: Sequence[Facet], arm: str, delta: float) -> float | None:
    chances: list[float] = []
    for facet in group:
        one = contrast(facet, arm, facet.baseline[arm], delta) if arm in facet.baseline else None
        if one is None:
            return None
        chances.append(one.improvement)
    return float(np.mean(chances))
