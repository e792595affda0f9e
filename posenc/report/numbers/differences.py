"""Paired differences from the baseline, and means of every arm over the datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from posenc import statistics
from posenc.report.numbers.facets import LOWER, Facet, Values
from posenc.report.numbers.judge import Judgement, Pair, Test
from posenc.report.numbers.meetings import Key, budgets
from posenc.report.reading.read import Note
from posenc.report.words import listing
from posenc.statistics import Difference, Interval


@dataclass(frozen=True)
class Contrast:
    """An arm minus its baseline, seed by seed."""

    facet: Facet
    arm: str
    baseline: str
    metric: str
    pair: Pair
    improvement: float
    """Share of the seeds on which the arm is better than its baseline; a tie counts one half."""
    solved: float | None
    """McNemar's p for the runs that solved the task, if the metric is skill."""

    @property
    def difference(self) -> Difference:
        """The mean difference with its interval."""
        return self.pair.difference

    @property
    def corrected(self) -> float | None:
        """The p-value, corrected for all comparisons of the report."""
        return self.pair.corrected


def baseline_tests(facets: Sequence[Facet]) -> tuple[dict[Key, Test], list[Note]]:
    """Every arm against its baseline, by the facet's metric and by AULC, and notes on arms without a baseline."""
    found: dict[Key, Test] = {}
    notes: list[Note] = []
    for place, facet in enumerate(facets):
        for arm, other in facet.baseline.items():
            unequal = budgets(facet, arm, other)
            if unequal and facet.values(arm):
                notes.append(Note(f"{facet.title} · {arm}", f"not compared with {other}: {unequal}."))
                continue
            for metric in (facet.metric, "aulc"):
                ours, theirs = facet.values(arm, metric), facet.values(other, metric)
                if ours.keys() & theirs.keys():
                    found[place, metric, arm, other] = Test(ours, theirs, metric in LOWER, facet.reach(metric))
                elif metric == facet.metric and ours:
                    text = f"no seed in common with {other}: not compared with it."
                    notes.append(Note(f"{facet.title} · {arm}", text))
    return found, notes


def without_baseline(facets: Sequence[Facet], baseline: str) -> list[Note]:
    """The facets in which the baseline has no result."""
    notes: list[Note] = []
    for facet in facets:
        scored = [arm for arm in facet.arms if facet.values(arm)]
        if scored and not facet.baseline and any(baseline not in (arm, facet.encoding(arm)) for arm in scored):
            text = f"the baseline {baseline} has no completed run here; {listing(scored)} cannot be compared with it."
            notes.append(Note(facet.title, text))
    return notes


def contrasts(facets: Sequence[Facet], tests: Mapping[Key, Test], judged: Judgement[Key]) -> list[Contrast]:
    """The tests against the baseline, with their judgement in the whole report. Tests by AULC are last."""
    found = []
    for (place, metric, arm, other), test in tests.items():
        facet = facets[int(str(place))]
        seeds = sorted(test.ours.keys() & test.theirs.keys())
        sign = -1 if test.lower else 1
        a, b = (sign * np.array([values[seed] for seed in seeds]) for values in (test.ours, test.theirs))
        solved = (
            statistics.mcnemar(a >= statistics.SOLVED, b >= statistics.SOLVED)
            if metric == "skill" and len(seeds) > 1
            else None
        )
        pair = judged[place, metric, arm, other]
        found.append(Contrast(facet, str(arm), str(other), str(metric), pair, improvement(test), solved))
    return sorted(found, key=lambda one: one.metric == "aulc")


def improvement(test: Test) -> float:
    """The share of the common seeds on which the first arm is better; a tie counts one half."""
    sign = -1 if test.lower else 1
    gaps = np.array([test.ours[seed] - test.theirs[seed] for seed in test.ours.keys() & test.theirs.keys()])
    return float(np.mean((1 + np.sign(sign * gaps)) / 2))


@dataclass(frozen=True)
class Across:
    """An arm over all datasets that have a skill."""

    arm: str
    positions: str
    datasets: tuple[str, ...]
    mean: float
    """The mean of the datasets' means."""
    lowest: float
    """The lowest of the datasets' means."""
    hardest: str
    """The dataset with the lowest mean."""
    unsolved: tuple[str, ...]
    """The datasets whose mean skill is below that of a solved task."""
    skill: Interval
    """The interquartile mean over all runs."""
    improvement: float | None
    """The share of seeds on which it is better than the baseline, averaged over the datasets."""
    values: Values
    """For each seed that all datasets have, the mean skill over the datasets."""
    missing: dict[str, str]
    """{arm: datasets} of the arms that lack a dataset and are not ranked."""


def across(facets: Sequence[Facet], tests: Mapping[Key, Test]) -> list[Across]:
    """Means over datasets for arms that every dataset has, the best first. Other arms are listed in `missing`."""
    rows: list[Across] = []
    everything = list(facets)
    for positions in sorted({facet.positions for facet in facets}):
        group = [facet for facet in facets if facet.positions == positions and facet.metric == "skill"]
        group = [facet for facet in group if any(facet.values(arm) for arm in facet.arms)]
        if len({facet.dataset for facet in group}) < 2:
            continue
        arms = list(dict.fromkeys(arm for facet in group for arm in facet.arms))
        lacks = {arm: [facet.dataset for facet in group if not facet.values(arm)] for arm in arms}
        missing = {arm: listing(where) for arm, where in lacks.items() if where}
        against: dict[str, list[float]] = {}
        for (place, metric, arm, _), test in tests.items():
            if metric == "skill" and any(everything[int(str(place))] is facet for facet in group):
                against.setdefault(str(arm), []).append(improvement(test))
        ranked = [arm for arm in arms if arm not in missing]
        rows += [_across(arm, positions, group, against.get(arm, []), missing) for arm in ranked]
    return sorted(rows, key=lambda row: (-row.mean, row.arm))


def _across(
    arm: str, positions: str, group: Sequence[Facet], against: Sequence[float], missing: dict[str, str]
) -> Across:
    tasks = {facet.dataset: facet.values(arm) for facet in group}
    means = {dataset: fmean(values.values()) for dataset, values in tasks.items()}
    hardest = min(means, key=lambda dataset: means[dataset])
    common = set.intersection(*(set(values) for values in tasks.values()))
    return Across(
        arm=arm,
        positions=positions,
        datasets=tuple(tasks),
        mean=fmean(means.values()),
        lowest=means[hardest],
        hardest=hardest,
        unsolved=tuple(dataset for dataset, mean in means.items() if mean < statistics.SOLVED),
        skill=statistics.interquartile_mean([list(values.values()) for values in tasks.values()]),
        improvement=fmean(against) if len(against) == len(group) else None,
        values={seed: fmean(values[seed] for values in tasks.values()) for seed in sorted(common)},
        missing=missing,
    )


def across_tests(rows: Sequence[Across]) -> dict[Key, Test]:
    """Tests of every pair of arms, because only the runs show which two are the best."""
    pairs = [(row, other) for place, row in enumerate(rows) for other in rows[place + 1 :]]
    return {
        ("across", row.positions, row.arm, other.arm): Test(row.values, other.values)
        for row, other in pairs
        if row.positions == other.positions
    }
