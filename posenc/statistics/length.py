"""How well a run does above its trained length: two numbers from the skill at every test length."""

import math
from collections.abc import Mapping
from itertools import pairwise

HALF = 0.5


def aulc(skill: Mapping[float, float | None]) -> float | None:
    """Area under skill against log₂ k, over the range of k, k = test length / longest trained length: a mean skill.

        AULC = ∫ skill d(log₂ k) / (log₂ k_max − log₂ 1),   trapezoids between the lengths tested, k ≥ 1

    1 for a run that is perfect at every length, 0 for a run that is never better than an order-blind model. Skill is
    not clipped, so it can be negative. None unless skill is known at k = 1 and at all longer test lengths.

    >>> aulc({1: 1.0, 2: 0.5, 4: 0.0})
    0.5
    """
    points = sorted((k, value) for k, value in skill.items() if k >= 1)
    if len(points) < 2 or points[0][0] != 1 or any(value is None for _, value in points):
        return None
    known = [(math.log2(k), value) for k, value in points if value is not None]
    area = sum((b - a) * (u + v) / 2 for (a, u), (b, v) in pairwise(known))
    return area / known[-1][0]


def k50(skill: Mapping[float, float | None]) -> float | None:
    """The multiple of the longest trained length at which skill first falls to one half.

    Interpolated linearly in log₂ k between the two lengths around it. None if skill is not above one half at k = 1, or
    if it stays above one half at all known lengths; k₅₀ is then above the last length.

    >>> k50({1: 1.0, 2: 0.75, 4: 0.25})
    2.8284271247461903
    """
    points = sorted((k, value) for k, value in skill.items() if k >= 1 and value is not None)
    if not points or points[0][0] != 1 or points[0][1] <= HALF:
        return None
    for (a, u), (b, v) in pairwise(points):
        if v <= HALF:
            share = (u - HALF) / (u - v)
            return 2 ** (math.log2(a) + share * (math.log2(b) - math.log2(a)))
    return None


def summarise(longest: int, skill: Mapping[int, float | None]) -> dict[str, float | None]:
    """aulc, k50 and tested_to = the largest k at which skill is known, from the skill at each test length.

    `skill` has every test length; None: the encoding is not defined there. The result is empty if no skill is known.
    """
    multiples = {length / longest: value for length, value in skill.items()}
    known = [k for k, value in multiples.items() if value is not None]
    if not known:
        return {}
    return {"aulc": aulc(multiples), "k50": k50(multiples), "tested_to": max(known)}
