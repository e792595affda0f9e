"""Decides between two arms. All statements of a report are judged together, and only here.

All comparisons in the sentences and tables of a report are one family, over all data sets and lengths. The risk that
any statement is false is 5 %. One half of it is for differences, the other half for equalities:

    better, worse  twice the p of `statistics.correct` over the whole family is below .05, and the mean difference is
                   outside ±δ
    equal          the interval of the mean difference at level 1 − .05/m, m comparisons, is inside ±δ, and the
                   share of seeds on which the arms differ by more than 10·δ is below .1, by an exact bound at .025/m
    tie            not equal, but the 95 % interval is inside ±δ, or the difference is certain and inside ±δ. The seeds
                   agree, but they are too few to exclude that one seed in ten has another result
    undecided      everything else

The second condition of `equal` is needed because runs succeed or fail. If one arm always succeeds and another on nine
seeds of ten, then in 28 of 100 cases twelve seeds show only successes of both, with an interval of almost no width. If
there is no seed with a large difference, the bound needs 36 seeds for one comparison.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from posenc import statistics
from posenc.report.words import bounds
from posenc.statistics import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT, Difference

RISK = 0.05
"""The risk that any statement of a report is false."""
HALF_RISK = RISK / 2
"""The part of the risk for differences, and the part for equalities."""
SHARE = 0.1
"""The share of seeds on which equal arms may have a gross difference."""
GROSS = 10
"""A gross difference is larger than GROSS · δ."""
SEEDS_FOR_CERTAINTY = 1 + math.floor(math.log2(2 / HALF_RISK))
"""With fewer seeds no difference is certain, because the lowest p of sign flips of n seeds is 2/2ⁿ."""
ERRORS_FOR_CERTAINTY = 3.5
"""A mean difference of about this number of standard errors has a small p among some hundred comparisons."""
MOST_SEEDS = 100
"""Upper limit of further seeds that a sentence asks for."""
Values = Mapping[int, float]
Key = TypeVar("Key", bound=Hashable)


class Test(NamedTuple):
    """Two arms to compare: a number for each seed. `reach` is the largest possible difference."""

    ours: Values
    theirs: Values
    lower: bool = False
    reach: float | None = None


@dataclass(frozen=True)
class Pair:
    """An arm against another on their common seeds, and the judgement."""

    difference: Difference
    corrected: float | None
    """The p-value, corrected for all comparisons of the report; None below three seeds."""
    kind: str
    """better, worse, equal, tie, undecided; none if there are too few seeds for an interval."""
    unseen: float
    """The upper limit (95 %) of the share of seeds on which the arms differ by more than ±δ."""
    lower: bool
    needed: int | None = None
    """About how many seeds would decide: as many as there are if it is decided; None: over `MOST_SEEDS` more."""

    @property
    def gain(self) -> float:
        """The difference, positive if the first arm is better."""
        return -self.difference.estimate if self.lower else self.difference.estimate

    def reverse(self) -> "Pair":
        """The second arm against the first."""
        one, found = self.difference, bounds(self.difference)
        low, high = (None, None) if found is None else (-found[1], -found[0])
        kind = {"better": "worse", "worse": "better"}.get(self.kind, self.kind)
        return replace(self, difference=replace(one, estimate=-one.estimate, low=low, high=high), kind=kind)

    @property
    def clear(self) -> bool:
        """Whether 0 is outside the interval."""
        found = bounds(self.difference)
        return found is not None and (found[0] > 0 or found[1] < 0)


class Judgement(Generic[Key]):
    """All comparisons of a report as one family."""

    def __init__(self, tests: Mapping[Key, Test], delta: float) -> None:
        self.delta = delta
        self.tests = {key: test for key, test in tests.items() if test.ours.keys() & test.theirs.keys()}
        differences = [
            {seed: value - test.theirs[seed] for seed, value in test.ours.items() if seed in test.theirs}
            for test in self.tests.values()
        ]
        found = statistics.correct(differences)
        self.corrected = {
            key: None if p is None else min(1.0, p * RISK / HALF_RISK) for key, p in zip(self.tests, found, strict=True)
        }
        self.family = sum(p is not None for p in found)

    def get(self, key: Key) -> Pair | None:
        """The comparison; None if it was not made."""
        return self[key] if key in self.tests else None

    def __getitem__(self, key: Key) -> Pair:
        test, p = self.tests[key], self.corrected[key]
        difference = statistics.paired_difference(test.ours, test.theirs)
        gaps = np.array([test.ours[seed] - test.theirs[seed] for seed in difference.seeds])
        beyond = int((np.abs(gaps) > self.delta).sum())
        unseen = statistics.unseen_share(beyond, gaps.size)
        kind = self._kind(difference, gaps, p, test.lower)
        return Pair(within(difference, test.reach), p, kind, unseen, test.lower, self._needed(kind, gaps))

    def _kind(self, difference: Difference, gaps: np.ndarray, p: float | None, lower: bool) -> str:
        if p is None:
            return "none"
        sure = p < RISK
        if sure and abs(difference.estimate) > self.delta:
            return "better" if (difference.estimate > 0) != lower else "worse"
        if not sure and not statistics.equivalent(difference, self.delta):
            return "undecided"
        strict = statistics.mean_interval(gaps, 1 - RISK / self.family)
        gross = int((np.abs(gaps) > GROSS * self.delta).sum())
        permitted = statistics.unseen_share(gross, gaps.size, 1 - HALF_RISK / self.family) < SHARE
        return "equal" if statistics.equivalent(strict, self.delta) and permitted else "tie"

    def _needed(self, kind: str, gaps: np.ndarray) -> int | None:
        if kind != "undecided":
            return max(gaps.size, SEEDS_FOR_VERDICT)
        mean = float(gaps.mean())
        ways = [seeds_needed(gaps.tolist(), 0.0, certain=True)]
        if abs(mean) <= self.delta:  # a tie would decide too
            ways.append(seeds_needed(gaps.tolist(), math.copysign(self.delta, mean), certain=False))
        return min((max(n, gaps.size + 1, SEEDS_FOR_VERDICT) for n in ways if n is not None), default=None)


def seeds_needed(gaps: Sequence[float], limit: float, certain: bool) -> int | None:
    """About how many seeds would move the whole interval of the mean to one side of `limit`, with the same spread.

    certain  by sign flips, among the comparisons of a report; otherwise by a 95 % interval

    Returns None if this takes more than `MOST_SEEDS` further seeds.
    """
    if len(gaps) < 2:
        return SEEDS_FOR_VERDICT
    errors, fewest = (ERRORS_FOR_CERTAINTY, SEEDS_FOR_CERTAINTY) if certain else (2, SEEDS_FOR_INTERVAL)
    distance = fmean(gaps) - limit
    needed = math.inf if distance == 0 else (errors * stdev(gaps) / distance) ** 2
    found = max(fewest, math.ceil(min(needed, 10 * MOST_SEEDS)))
    return found if found - len(gaps) <= MOST_SEEDS else None


def within(difference: Difference, reach: float | None) -> Difference:
    """The difference with its interval cut at the largest possible difference."""
    found = bounds(difference)
    if reach is None or found is None:
        return difference
    return replace(difference, low=max(found[0], -reach), high=min(found[1], reach))
