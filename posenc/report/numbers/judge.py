"""What the numbers carry, of all that a report says at once: the only place that decides between two arms.

Every comparison that a sentence or a table of the report makes is one of a family, whatever the data set and the
length. Of the 5 % risk that anything said is false, one half goes to differences and one half to equalities:

    better, worse  twice the p of `statistics.correct` over the whole family is below .05, and the mean difference lies
                   outside ±δ
    equal          the interval of the mean difference at level 1 − .05/m, m comparisons, lies inside ±δ, and the
                   share of seeds on which the arms differ by more than 10·δ is below .1, by an exact bound at .025/m
    tie            not that, but the 95 % interval lies inside ±δ, or the difference is certain and inside ±δ: the seeds
                   agree, and they are too few to exclude that one seed in ten ends otherwise
    undecided      everything else

The second condition of `equal` is needed because runs succeed or fail: where one arm succeeds always and another on
nine seeds of ten, twelve seeds show two rows of successes in 28 of 100 cases, with an interval of almost no width.
Without any such seed the bound needs 36 seeds for one comparison.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from posenc import statistics
from posenc.report.words import bounds
from posenc.statistics import Difference

RISK = 0.05
"""The risk that anything a report says is false."""
HALF_RISK = RISK / 2
"""Of it, what is left for differences, and for equalities."""
SHARE = 0.1
"""The share of seeds on which equal arms may differ grossly."""
GROSS = 10
"""A gross difference, in δ."""
Values = Mapping[int, float]
Key = TypeVar("Key", bound=Hashable)


class Test(NamedTuple):
    """Two arms to be compared: a number for each seed; `reach` is the largest difference that is possible."""

    ours: Values
    theirs: Values
    lower: bool = False
    reach: float | None = None


@dataclass(frozen=True)
class Pair:
    """An arm against another on their common seeds, and what may be said of it."""

    difference: Difference
    corrected: float | None
    """p, corrected for all comparisons of the report; None below three seeds."""
    kind: str
    """better, worse, equal, tie, undecided; none where so few seeds allow no interval."""
    unseen: float
    """On how large a share of seeds the arms may differ by more than ±δ (95 %)."""
    lower: bool

    @property
    def gain(self) -> float:
        """The difference, positive where the first arm is better."""
        return -self.difference.estimate if self.lower else self.difference.estimate

    def reverse(self) -> "Pair":
        """The second arm against the first."""
        one, found = self.difference, bounds(self.difference)
        low, high = (None, None) if found is None else (-found[1], -found[0])
        kind = {"better": "worse", "worse": "better"}.get(self.kind, self.kind)
        return replace(self, difference=replace(one, estimate=-one.estimate, low=low, high=high), kind=kind)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
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
        """The comparison, where it was made."""
        return self[key] if key in self.tests else None

    def __getitem__(self, key: Key) -> Pair:
        test, p = self.tests[key], self.corrected[key]
        difference = statistics.paired_difference(test.ours, test.theirs)
        gaps = np.array([test.ours[seed] - test.theirs[seed] for seed in difference.seeds])
        beyond = int((np.abs(gaps) > self.delta).sum())
        unseen = statistics.unseen_share(beyond, gaps.size)
        kind = self._kind(difference, gaps, p, test.lower)
        return Pair(within(difference, test.reach), p, kind, unseen, test.lower)

    def _kind(self, difference: Difference, gaps: np.ndarray, p: float | None, lower: bool) -> str:
        if p is None:
            return "none"
        sure = p < RISK
        if sure and abs(difference.estimate) > self.delta:
            return "better" if (difference.estimate > 0) != lower else "worse"
        if not sure and not difference.inside(self.delta):
            return "undecided"
        strict = statistics.mean_interval(gaps, 1 - RISK / self.family)
        gross = int((np.abs(gaps) > GROSS * self.delta).sum())
        permitted = statistics.unseen_share(gross, gaps.size, 1 - HALF_RISK / self.family) < SHARE
        return "equal" if strict.inside(self.delta) and permitted else "tie"


def within(difference: Difference, reach: float | None) -> Difference:
    """The same, its interval cut at the largest difference that is possible."""
    found = bounds(difference)
    if reach is None or found is None:
        return difference
    return replace(difference, low=max(found[0], -reach), high=min(found[1], reach))
