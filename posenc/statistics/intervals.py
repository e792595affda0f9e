"""Estimates with their intervals: a mean, a rate of success, a difference of rates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from posenc.checks import number
from posenc.statistics.samples import SEEDS_FOR_INTERVAL, SOLVED, check_level, sample


@dataclass(frozen=True)
class Interval:
    """An estimate from n seeds. low and high are None if there are too few seeds for an interval."""

    estimate: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t-interval, mean ± t(n − 1)·s/√n (Student 1908, https://doi.org/10.1093/biomet/6.1.1).

    n < 3        no interval
    3 ≤ n < 5    an interval, only as a hint: t is 4.3 and 3.2, and s is very uncertain
    5 ≤ n < 10   an interval, not for verdicts (`label`)
    n ≥ 10       an interval for verdicts

    If all values are equal, the interval has width 0. It says that these runs agree, not that the next run will agree.
    Runs that either succeed or fail are not normal, and the interval contains the mean far less often than `level`: if
    one run in ten fails, in 41, 57 and 72 % at 5, 8 and 12 seeds (`python -m posenc coverage`). Report their
    `success_rate`.
    """
    check_level("mean_interval", level)
    array = sample("mean_interval", "values", values)
    n = array.size
    # the mean of equal values may have a rounding error, and so may their deviation
    mean = float(array[0] if np.ptp(array) == 0 else array.mean())
    if n < SEEDS_FOR_INTERVAL:
        return Interval(mean, None, None, n)
    deviation = 0.0 if np.ptp(array) == 0 else array.std(ddof=1)
    half = float(special.stdtrit(n - 1, (1 + level) / 2) * deviation / n**0.5)
    return Interval(mean, mean - half, mean + half, n)


def success_rate(values: ArrayLike, threshold: float = SOLVED, level: float = 0.95) -> Interval:
    """The share k/n of values ≥ threshold, with Wilson's score interval.

        (k + z²/2 ± z·√(k·(n − k)/n + z²/4)) / (n + z²),    z the normal quantile of (1 + level)/2

    The interval stays inside [0, 1], and its width is not 0 at k = 0 or k = n: with 10 of 10 the rate may still be .72.
    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; coverage in Brown, Cai & DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286.
    """
    check_level("success_rate", level)
    number("success_rate", low=-float("inf"), threshold=threshold)
    array = sample("success_rate", "values", values)
    n, k = array.size, int((array >= threshold).sum())
    if n < SEEDS_FOR_INTERVAL:
        return Interval(k / n, None, None, n)
    z = float(special.ndtri((1 + level) / 2))
    middle, half = k + z**2 / 2, z * (k * (n - k) / n + z**2 / 4) ** 0.5
    low = 0.0 if k == 0 else (middle - half) / (n + z**2)
    high = 1.0 if k == n else (middle + half) / (n + z**2)
    return Interval(k / n, low, high, n)


def success_difference(a: ArrayLike, b: ArrayLike | float, level: float = 0.95) -> Interval:
    """The difference of two rates of success, p − q. Values are 1 (success) or 0 (failure); q may be a known rate.

        p − q − √((p − l)² + (u' − q)²)  to  p − q + √((u − p)² + (q − l')²),    [l, u], [l', u'] Wilson's intervals

    The width is not 0 even if all runs succeed: with twelve of twelve in both arms, the difference may still be .24.
    Common seeds are not used. If they correlate the arms, the interval is too wide. Newcombe 1998 (method 10),
    https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    left = success_rate(a, 0.5, level)
    right = Interval(b, b, b, left.n) if isinstance(b, int | float) else success_rate(b, 0.5, level)
    estimate, n = left.estimate - right.estimate, min(left.n, right.n)
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return Interval(estimate, None, None, n)
    below = np.hypot(left.estimate - left.low, right.high - right.estimate)
    above = np.hypot(left.high - left.estimate, right.estimate - right.low)
    return Interval(estimate, float(estimate - below), float(estimate + above), n)


def equivalent(interval: Interval, delta: float) -> bool:
    """Whether a difference is practically zero: it has an interval, and all of it is inside (−delta, delta).

    "p > .05" is not used: a large p only says that the seeds do not distinguish the arms, and few seeds never do. Set
    the margin before the runs. Two one-sided tests at 5 % (TOST; Schuirmann 1987, https://doi.org/10.1007/BF01068419)
    use the 90 % interval in the same way, so the 95 % interval is stricter.
    """
    number("equivalent", low=0, open_low=True, delta=delta)
    return interval.low is not None and interval.high is not None and -delta < interval.low and interval.high < delta
