"""Facets: the runs that answer one question, the metric of their comparison, and the baseline of each arm."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from posenc import statistics
from posenc.checks import ConfigError, nearest
from posenc.report.reading.arms import Placed
from posenc.report.words import bounds
from posenc.statistics import Interval

DEFAULT = "none"
"""The default baseline."""
SHOWN = 12
"""Upper limit of names in one message."""
LOST = ("diverged", "failed")
"""Statuses of runs that ended without a model. They count as skill 0. An interrupted run may go on, so it does not."""
METRICS = ("skill", "bits", "accuracy", "exact_match", "loss")
"""The metrics by which arms can be compared. The default is the first of the first three that a facet has."""
LOWER = ("bits", "loss")
"""Metrics for which less is better."""
Values = dict[int, float]
"""{seed: value}."""


class Measured:
    """A number by which arms are compared: a metric at a length."""

    metric: str
    length: int

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return self.metric in LOWER

    @property
    def measure(self) -> str:
        """The metric with its length."""
        return f"{self.metric} at length {self.length}"


@dataclass
class Facet(Measured):
    """A dataset under a position scheme, and the number by which its arms are compared."""

    dataset: str
    positions: str
    members: list[Placed]
    metric: str = "accuracy"
    length: int = 0
    trained: tuple[int, int] | None = None
    arms: list[str] = field(default_factory=list)
    """Arms with at least one run; the best first."""
    baseline: dict[str, str] = field(default_factory=dict)
    """The arm that each arm is compared with: the baseline encoding in the same setting."""
    ceilings: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)
    references: dict[str, float] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)
    """{encoding: number of runs of this dataset without a result}."""
    title: str = ""
    phrase: str = ""
    """The title in the form that a sentence needs."""

    def of(self, arm: str) -> list[Placed]:
        """The arm's runs that count, with every status."""
        return [item for item in self.members if item.arm == arm and item.counted]

    def values(self, arm: str, metric: str | None = None, length: int | None = None) -> Values:
        """The arm's number for each seed. metric and length None: the facet's own.

        If another run of the arm has a number, a run that diverged or failed counts as skill and AULC 0, as the
        accuracy of the best order-blind model, or as the most bits of any run in the facet. An arm without a completed
        run has no values.
        """
        metric, length = metric or self.metric, length or self.length
        found = {
            item.run.seed: value for item in self.of(arm) if (value := self._score(item, metric, length)) is not None
        }
        worst = self._worst(metric, length) if found else None
        if worst is not None:
            lost = [item.run.seed for item in self.of(arm) if item.run.status in LOST]
            found = dict.fromkeys(lost, worst) | found
        return dict(sorted(found.items()))

    @staticmethod
    def _score(item: Placed, metric: str, length: int) -> float | None:
        value = item.run.generalization(metric) if metric in ("aulc", "k50") else None
        value = item.run.test.get(length, {}).get(metric) if value is None else value
        return value if item.completed else None

    def _worst(self, metric: str, length: int) -> float | None:
        if metric in ("skill", "aulc", "exact_match"):
            return 0.0
        if metric == "accuracy":
            return self.ceilings.get(length, (None, None))[0] or 0.0
        if metric in LOWER:
            counted = [item for item in self.members if item.counted]
            return max(item.run.test.get(length, {}).get(metric, 0.0) for item in counted if item.completed)
        return None

    def reach(self, metric: str | None = None, length: int | None = None) -> float | None:
        """The largest difference that two runs can have; None if there is no known limit."""
        low, high = self.limits(metric, length)
        return None if low is None or high is None else high - low

    def limits(self, metric: str | None = None, length: int | None = None) -> tuple[float | None, float | None]:
        """The smallest and the largest number that a run can have; None if unknown."""
        metric, length = metric or self.metric, length or self.length
        if metric in LOWER:
            return 0.0, None
        if metric in ("accuracy", "exact_match"):
            return 0.0, 1.0
        if metric not in ("skill", "aulc"):
            return None, None
        pairs = [self.ceilings.get(length, (None, None))] if metric == "skill" else list(self.ceilings.values())
        known = [(blind, aware) for blind, aware in pairs if blind is not None and aware is not None and aware > blind]
        return min((-blind / (aware - blind) for blind, aware in known), default=None), 1.0

    def interval(self, arm: str, metric: str | None = None, length: int | None = None) -> Interval | None:
        """Mean and interval over seeds, cut at the possible values; None if there are no seeds."""
        values = self.values(arm, metric, length)
        return clipped(statistics.mean_interval(list(values.values())), self.limits(metric, length)) if values else None

    def lengths(self) -> list[int]:
        """Every length at which a run was tested or is undefined."""
        return sorted({n for item in self.members if item.counted for n in (*item.run.test, *item.run.undefined)})

    def encoding(self, arm: str) -> str:
        """The encoding of an arm."""
        return next(item.run.encoding for item in self.members if item.arm == arm)

    def setting(self, arm: str) -> str:
        """The setting of an arm."""
        return next(item.setting for item in self.members if item.arm == arm)


def facets(placed: Sequence[Placed], metric: str | None = None, length: int | None = None) -> list[Facet]:
    """The facets, by dataset and positions. In each facet the best arm is first.

    Arms are compared by `metric` at `length`; None: skill, otherwise bits, otherwise accuracy, at the longest trained
    length. Raises ConfigError if a facet has scores, but not these.
    """
    groups: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    unfinished: dict[str, Counter[str]] = defaultdict(Counter)
    for item in placed:
        if item.run.status != "unfinished":
            groups[item.facet].append(item)
        else:
            unfinished[item.run.dataset][item.run.encoding] += 1
    schemes = {positions for _, positions in groups}
    found: list[Facet] = []
    for (dataset, positions), members in sorted(groups.items()):
        facet = Facet(dataset, positions, members)
        facet.title = dataset if len(schemes) == 1 else f"{dataset} · {positions}"
        facet.phrase = dataset if len(schemes) == 1 else f"{dataset} with {positions} positions"
        facet.unfinished = dict(sorted(unfinished[members[0].run.dataset].items()))
        _measure(facet, metric, length)
        sign = 1 if facet.lower else -1
        score = {arm: facet.values(arm) for arm in dict.fromkeys(item.arm for item in members if item.counted)}
        facet.arms = sorted(score, key=lambda arm: (sign * fmean(score[arm].values()) if score[arm] else np.inf, arm))
        found.append(facet)
    return found


def _measure(facet: Facet, metric: str | None, length: int | None) -> None:
    done = [item.run for item in facet.members if item.completed]
    for run in done:
        facet.ceilings |= run.ceilings
        found = run.result.get("references")
        facet.references |= {key: value for key, value in found.items() if value} if isinstance(found, dict) else {}
    ranges = [run.trained for item in facet.members if (run := item.run).trained]
    facet.trained = max(ranges, key=lambda pair: (pair[1], pair[0])) if ranges else None
    tested = {each: sorted({n for run in done for n in run.test if each in run.test[n]}) for each in METRICS}
    known = [each for each in METRICS if tested[each]]
    if not known:
        return
    if metric is not None and metric not in known:
        raise ConfigError(f"--metric {metric}: runs on {facet.title} have {', '.join(known)}; choose one of these.")
    facet.metric = metric or known[0]
    lengths = tested[facet.metric]
    if length is not None and length not in lengths:
        raise ConfigError(
            f"--length {length}: {facet.title} was tested for {facet.metric} at {', '.join(map(str, lengths))}; choose "
            "one of these."
        )
    inside = [n for n in lengths if facet.trained and n <= facet.trained[1]]
    facet.length = length or (inside[-1] if inside else lengths[0])


def common_order(facets: Sequence[Facet]) -> list[str]:
    """All arms, the highest mean of the facets' means first. Arms that lack a facet come last.

    Facets are grouped by their metric, because a mean of bits and skill has no meaning. The first group that contains
    an arm decides: skill before bits before accuracy.
    """
    groups = [[facet for facet in facets if facet.metric == metric] for metric in METRICS]
    groups = [group for group in groups if group]

    def rank(arm: str) -> tuple[float, ...]:
        found: list[float] = []
        for group in groups:
            values = [facet.values(arm) for facet in group]
            means = [fmean(each.values()) for each in values if each]
            sign = 1 if group[0].lower else -1
            found += [len(group) - len(means), sign * fmean(means) if means else 0.0]
        return tuple(found)

    arms = dict.fromkeys(arm for facet in facets for arm in facet.arms)
    ranks = {arm: rank(arm) for arm in arms}
    return sorted(arms, key=lambda arm: (ranks[arm], arm))


def in_front(facets: Sequence[Facet], baseline: str) -> dict[str, str]:
    """{arm: encoding}, the most important first: the baseline, then alternately the best at the trained length and the
    best at the longest length."""
    near = common_order(facets)
    far = sorted(near, key=lambda arm: -_at_the_longest(facets, arm))
    turns = [arm for pair in zip(near, far, strict=True) for arm in pair]
    encodings = {arm: facet.encoding(arm) for facet in facets for arm in facet.arms}
    first = [arm for arm in near if baseline in (arm, encodings[arm])]
    return {arm: encodings[arm] for arm in dict.fromkeys([*first[:1], *turns])}


def _at_the_longest(facets: Sequence[Facet], arm: str) -> float:
    """The mean over facets of an arm's score at the longest length, with a sign so that more is better."""
    found = [
        (-1 if facet.lower else 1) * fmean(values.values())
        for facet in facets
        if facet.lengths() and (values := facet.values(arm, None, facet.lengths()[-1]))
    ]
    return fmean(found) if found else -np.inf


def choose_baseline(found: Sequence[Facet], wanted: str | None) -> tuple[str, str]:
    """Set the baseline of every facet's arms. Returns it, and a sentence if it is not `none` and nobody asked for it.

    Raises ConfigError if the `wanted` baseline has no run here, or has no number although other arms have one.
    """
    scored = [(arm, facet.encoding(arm)) for facet in found for arm in facet.arms if facet.values(arm)]
    present = Counter(name for names in scored for name in dict.fromkeys(names))
    if wanted is not None:
        _has_runs(found, wanted, present)
    chosen, said = wanted or DEFAULT, ""
    if chosen not in present and present:
        chosen = min(present, key=lambda name: (-present[name], name))
        if any(sum(1 for arm in facet.arms if facet.values(arm)) > 1 for facet in found):
            why = f"The baseline {DEFAULT} has no completed run here"
            said = f"{why}; every encoding is compared with {chosen} instead."
    for facet in found:
        for arm in facet.arms:
            rivals = [other for other in facet.arms if chosen in (other, facet.encoding(other)) and facet.values(other)]
            same = [other for other in rivals if other == chosen or facet.setting(other) == facet.setting(arm)]
            if same and arm not in rivals:
                facet.baseline[arm] = min(same, key=lambda other: (other != chosen, other))
            elif same and arm not in same:
                facet.baseline[arm] = same[0]
    return chosen, said


def _has_runs(found: Sequence[Facet], wanted: str, present: Collection[str]) -> None:
    """Raise ConfigError unless an arm can be compared with the wanted baseline."""
    known = {name for facet in found for arm in facet.arms for name in (arm, facet.encoding(arm))}
    if wanted in present or (wanted in known and not present):
        return
    options = sorted(present or known)
    what = "no run that completed" if wanted in known else "no run"
    shown = ", ".join(options[:SHOWN]) + (f" and {len(options) - SHOWN} more" if len(options) > SHOWN else "")
    raise ConfigError(
        f"--baseline {shlex.quote(wanted)} has {what} here; choose one of {shown or 'none'}.{nearest(wanted, options)}"
    )


def clipped(found: Interval, limits: tuple[float | None, float | None]) -> Interval:
    """The interval, cut at the possible values."""
    ends = bounds(found)
    if ends is None:
        return found
    low, high = limits
    # A sample can be better than the best expectation. Such an estimate stays inside its interval.
    lowest = ends[0] if low is None else max(ends[0], min(low, found.estimate))
    highest = ends[1] if high is None else min(ends[1], max(high, found.estimate))
    return Interval(found.estimate, lowest, highest, found.n)
