"""A summary of each arm of each facet: score, successes, cost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from posenc import statistics
from posenc.report.numbers.facets import LOST, Facet
from posenc.report.reading.arms import Placed
from posenc.statistics import Interval


@dataclass(frozen=True)
class Row:
    """An arm of a facet in numbers."""

    facet: Facet
    arm: str
    score: Interval | None
    success: Interval | None
    aulc: Interval | None
    k50: float | None
    parameters: float | None
    encoding_parameters: float | None
    tokens_per_second: float | None
    speed: float | None
    """Tokens per second relative to the reference encoding, paired by sweep and seed."""
    same_sweep: bool
    lost: dict[str, int]
    """How many runs did not complete, by status."""

    @property
    def seeds(self) -> int:
        """How many seeds the score has."""
        return self.score.n if self.score else 0

    @property
    def label(self) -> str:
        """A warning if there are too few seeds."""
        return statistics.label(self.seeds)


def summary(found: Sequence[Facet], reference: str) -> list[Row]:
    """Every arm of every facet; speed is relative to the encoding `reference`."""
    return [_row(facet, arm, reference) for facet in found for arm in facet.arms]


def _row(facet: Facet, arm: str, reference: str) -> Row:
    items = facet.of(arm)
    lost = Counter(item.run.status for item in items if item.run.status != "completed")
    values = facet.values(arm)
    outcomes = list(values.values()) or [-1e9] * sum(lost[status] for status in LOST)  # none of them is a success
    success = statistics.success_rate(outcomes, statistics.SOLVED) if facet.metric == "skill" and outcomes else None
    crossed = list(facet.values(arm, "k50").values())
    speed, same = _speed(facet, arm, reference)
    rates = [rate for item in items if (rate := item.run.measured("tokens_per_second"))]
    return Row(
        facet=facet,
        arm=arm,
        score=facet.interval(arm),
        success=success,
        aulc=facet.interval(arm, "aulc"),
        k50=median(crossed) if crossed else None,
        parameters=_first(items, "parameters"),
        encoding_parameters=_first(items, "encoding_parameters"),
        tokens_per_second=fmean(rates) if rates else None,
        speed=speed,
        same_sweep=same,
        lost=dict(lost),
    )


def _first(items: Iterable[Placed], key: str) -> float | None:
    return next((value for item in items if (value := item.run.measured(key)) is not None), None)


def _speed(facet: Facet, arm: str, reference: str) -> tuple[float | None, bool]:
    """Ratio of geometric means of tokens/s, arm to reference, paired by sweep and seed; else over all runs."""
    setting = facet.setting(arm)
    ours: dict[tuple[Path, int], float] = {}
    theirs: dict[tuple[Path, int], float] = {}
    for item in facet.members:
        rate = item.run.measured("tokens_per_second")
        if item.completed and rate:
            key = (item.run.sweep, item.run.seed)
            if item.arm == arm:
                ours[key] = rate
            if item.run.encoding == reference and item.setting == setting:
                theirs[key] = rate
    both = sorted(ours.keys() & theirs.keys())
    if both:
        return float(np.exp(np.mean([np.log(ours[key] / theirs[key]) for key in both]))), True
    if ours and theirs:
        return float(np.exp(np.mean(np.log(list(ours.values()))) - np.mean(np.log(list(theirs.values()))))), False
    return None, False
