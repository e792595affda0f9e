"""Formats numbers for tables, pages and sentences, everywhere in the same way."""

from collections.abc import Mapping, Sequence

from posenc.statistics import Interval
from posenc.terminal import count

NONE = "–"


def bounds(interval: Interval | None) -> tuple[float, float] | None:
    """Both ends of an interval; None if it has none."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    return interval.low, interval.high


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign (no sign if it rounds to zero); a dash for None."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "−")


def whole(value: float | None) -> str:
    """A count."""
    return NONE if value is None else f"{value:,.0f}"


def probability(value: float | None) -> str:
    """A p-value with three decimals and a lower limit; empty for None."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def ratio(value: float | None, same: bool = True) -> str:
    """A factor, with a tilde if it was not measured in the same sweep."""
    return NONE if value is None else ("" if same else "~") + f"{value:.2f}×"


def span(interval: Interval | None, digits: int = 3, sign: bool = False) -> str:
    """[low, high], or an empty text."""
    found = bounds(interval)
    number = signed if sign else fixed
    return "" if found is None else f"[{number(found[0], digits)}, {number(found[1], digits)}]"


def estimate(interval: Interval | None, digits: int = 3) -> str:
    """0.912 [0.900, 0.924]."""
    return NONE if interval is None else f"{fixed(interval.estimate, digits)} {span(interval, digits)}".strip()


def share(interval: Interval | None) -> str:
    """10/12 [0.55, 0.95] of a success rate."""
    if interval is None:
        return NONE
    return f"{round(interval.estimate * interval.n)}/{interval.n} {span(interval, 2)}".strip()


def listing(words: Sequence[str], most: int = 4) -> str:
    """a, b and c; only the first few of a long list."""
    if len(words) > most + 1:
        words = [*words[:most], f"{len(words) - most} others"]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def tally(states: Mapping[str, int]) -> str:
    """1 diverged and 2 failed."""
    return listing([f"{number} {state}" for state, number in sorted(states.items())], len(states))


def duration(seconds: float) -> str:
    """40 seconds, 12 minutes, 3 hours: rounded, for an estimate."""
    for size, noun in ((3600, "hour"), (60, "minute")):
        if seconds >= 3 * size:
            return count(round(seconds / size), noun)
    return count(max(1, round(seconds)), "second")
