"""Compares every encoding with the best one, at one length of one data set.

    not worse   the mean difference of skill from each other encoding, paired by seed, is above −δ with 95 % confidence:
                the lower end of the 90 % t-interval of min(difference, 5δ) is above −δ
    worse       some encoding is better, and the mean difference is larger than δ, by the rule of a report: sign flips,
                corrected for all comparisons of the question (`posenc.report.numbers.judge`)
    undecided   neither

We do not need to know which encoding is the best. An encoding that is not worse than each other one is not worse than
the best. The confidence for one encoding needs no correction (Berger 1982,
https://doi.org/10.1080/00401706.1982.10487790). Differences are cut at 5δ, which can only lower their mean. Without the
cut, a rival that fails on some seeds would widen the interval of an encoding that never fails. If ten seeds all solve a
task, one in four further seeds may still fail, so read the share of solved runs too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from posenc.report.numbers.judge import Judgement, Test, seeds_needed
from posenc.statistics import mean_interval

Values = Mapping[int, float]
Place = tuple[str, int]
"""A data set, and a length as a multiple of the longest trained length."""
NOT_WORSE, WORSE, UNDECIDED = "not worse", "worse", "undecided"
LEARNED = 0.5
"""The mean skill that the best encoding must have. If it is lower, the task at this length decides nothing."""
CUT = 5
"""The largest difference that counts, as a multiple of δ. A larger difference counts as this one."""


@dataclass(frozen=True)
class Standing:
    """The comparison of one encoding with the best at one place."""

    encoding: str
    mean: float
    kind: str
    rival: str = ""
    """If worse: the encoding that is most clearly better. If undecided: the encoding it is not yet decided against."""
    more: int | None = None
    """If undecided: about how many further seeds would decide; None: more than `judge.MOST_SEEDS`."""
    better: tuple[str, ...] = ()
    """The encodings that are better."""
    doubtful: tuple[str, ...] = ()
    """The encodings that may be better by δ: the confidence is below 95 % that this one is not worse."""


def standings(places: Mapping[Place, Mapping[str, Values]], delta: float) -> dict[Place, list[Standing]]:
    """The Standing of every encoding at every place, the best mean first, as one family of comparisons.

    places  {place: {encoding: values by seed}}
    """
    tests = {
        (place, one, other): Test(arms[one], arms[other])
        for place, arms in places.items()
        for k, one in enumerate(arms)
        for other in [*arms][k + 1 :]
    }
    judged = Judgement(tests, delta)
    found: dict[Place, list[Standing]] = {}
    for place, arms in places.items():
        rows = [_standing(place, arm, arms, judged, delta) for arm in arms]
        found[place] = sorted(rows, key=lambda row: (-row.mean, row.encoding))
    return found


def _standing(
    place: Place, arm: str, arms: Mapping[str, Values], judged: Judgement[tuple[Place, str, str]], delta: float
) -> Standing:
    mean = fmean(arms[arm].values())
    others = [other for other in arms if other != arm]
    better = tuple(other for other in others if _worse(judged, place, arm, other))
    lower = {other: _lower(arms[arm], arms[other], delta) for other in others}
    doubtful = tuple(other for other, low in lower.items() if low is None or low <= -delta)
    if better:
        rival = max(better, key=lambda other: fmean(arms[other].values()))
        return Standing(arm, mean, WORSE, rival, None, better, doubtful)
    if not doubtful:
        return Standing(arm, mean, NOT_WORSE)
    rival = min(doubtful, key=lambda other: fmean(_gaps(arms[arm], arms[other]) or [-math.inf]))
    return Standing(arm, mean, UNDECIDED, rival, _more(arms[arm], arms[rival], delta), better, doubtful)


def _worse(judged: Judgement[tuple[Place, str, str]], place: Place, arm: str, other: str) -> bool:
    pair, turned = judged.get((place, arm, other)), judged.get((place, other, arm))
    return (pair is not None and pair.kind == "worse") or (turned is not None and turned.kind == "better")


def _gaps(ours: Values, theirs: Values) -> list[float]:
    return [value - theirs[seed] for seed, value in ours.items() if seed in theirs]


def _lower(ours: Values, theirs: Values, delta: float) -> float | None:
    """The lower limit of the mean difference, with 95 % confidence; None if there are too few seeds."""
    gaps = _gaps(ours, theirs)
    return mean_interval([min(gap, CUT * delta) for gap in gaps], 0.9).low if gaps else None


def _more(ours: Values, theirs: Values, delta: float) -> int | None:
    """About how many further seeds would move the whole interval to one side of −δ, with the same spread."""
    gaps = [min(gap, CUT * delta) for gap in _gaps(ours, theirs)]
    needed = seeds_needed(gaps, -delta, certain=bool(gaps) and fmean(gaps) < -delta)
    return None if needed is None else max(1, needed - len(gaps))


def learned(rows: Sequence[Standing]) -> bool:
    """Whether an encoding has learned the task at this length."""
    return bool(rows) and rows[0].mean >= LEARNED
