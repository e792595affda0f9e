"""Judges a claim by measurements. All experiments use this rule, and a claim is written down before the measurement.

A claim is written in the experiment's yaml. Its effect is a difference d, positive in the claimed direction, with a
95 % interval [lo, hi] over seeds. δ is the smallest effect that would matter.

    direction: above, below                              direction: equal (to within δ)
    INVALID         the gate does not hold, or the       INVALID       the same
                    numbers were not measured
    REPRODUCED      lo > 0 and d ≥ δ                     REPRODUCED    −δ < lo and hi < δ
    DIRECTION ONLY  lo > 0 and d < δ                     CONTRADICTED  lo ≥ δ or hi ≤ −δ
    NOT REPRODUCED  otherwise, −δ < lo and hi < δ        INCONCLUSIVE  otherwise
    CONTRADICTED    otherwise, hi < 0
    INCONCLUSIVE    otherwise, and if there are too few seeds for an interval

If every value is 0 (failure) or 1 (success), the interval is that of a difference of rates
(`statistics.success_difference`). A t-interval of runs that all succeed would have width 0 and would call two arms
equal, although with twelve seeds one of them may fail in one of five runs. For a quantity with two modes that are not 0
and 1, make the claim about its success.

NOT REPRODUCED means that the effect is practically zero. It needs an interval inside (−δ, δ) (equivalence; Schuirmann
1987, https://doi.org/10.1007/BF01068419). A wide interval around 0 is INCONCLUSIVE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posenc import checks
from posenc.checks import ConfigError
from posenc.statistics import Interval, equivalent, label, paired_interval, success_difference
from posenc.statistics.measurements import Measurements, Unmeasured

REPRODUCED, DIRECTION_ONLY, NOT_REPRODUCED = "REPRODUCED", "DIRECTION ONLY", "NOT REPRODUCED"
CONTRADICTED, INCONCLUSIVE, INVALID = "CONTRADICTED", "INCONCLUSIVE", "INVALID"
OUTCOMES = (REPRODUCED, DIRECTION_ONLY, NOT_REPRODUCED, CONTRADICTED, INCONCLUSIVE, INVALID)
DIRECTIONS = ("above", "below", "equal")
LEVEL = 0.95
MOST_SEEDS = 1000
"""Upper limit of the number of seeds that a message asks for."""


@dataclass(frozen=True)
class Verdict:
    """An outcome, and the measured contrast with its interval, for every direction of the claim.

    Numbers are None if they were not measured, or if there are too few seeds for an interval.
    """

    statement: str
    outcome: str
    estimate: float | None
    low: float | None
    high: float | None
    seeds: int
    level: float
    smallest_effect: float
    contrast: str
    gate: str | None
    note: str


def judge(interval: Interval, direction: str, smallest_effect: float) -> str:
    """The outcome of a contrast whose gate holds (see the module's docstring)."""
    low, high = interval.low, interval.high
    if low is None or high is None:
        return INCONCLUSIVE
    if direction == "equal":
        if equivalent(interval, smallest_effect):
            return REPRODUCED
        return CONTRADICTED if low >= smallest_effect or high <= -smallest_effect else INCONCLUSIVE
    sign = -1 if direction == "below" else 1
    low, high = sorted((sign * low, sign * high))
    if low > 0:
        return REPRODUCED if sign * interval.estimate >= smallest_effect else DIRECTION_ONLY
    if equivalent(interval, smallest_effect):
        return NOT_REPRODUCED
    return CONTRADICTED if high < 0 else INCONCLUSIVE


@dataclass(frozen=True)
class Side:
    """One side of a contrast: the arm and the place at which a quantity is read."""

    arm: str
    at: float


@dataclass(frozen=True)
class Gate:
    """A condition without which a claim is not judged: the mean of a quantity is at_least or at_most a number."""

    quantity: str
    arm: str
    at: float
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def holds(self, found: Measurements) -> bool:
        """Whether the mean over seeds is within the limits."""
        return self.at_least <= found.mean(self.quantity, self.arm, self.at) <= self.at_most

    @property
    def limits(self) -> str:
        """The limits in words: ≥ 0.5."""
        limits = [f"≥ {self.at_least:g}"] * (self.at_least > float("-inf"))
        limits += [f"≤ {self.at_most:g}"] * (self.at_most < float("inf"))
        return " and ".join(limits)


class Claim:
    """A sentence that a measurement can refute, as it is written in an experiment's yaml.

    statement        the sentence
    quantity         the quantity of the study that is compared
    of, against      the two sides, {arm, at}; `against` may be a number instead
    direction        above: of > against.  below: of < against.  equal: they differ by less than the smallest effect
    smallest_effect  the smallest difference that would matter, in the quantity's unit
    exact            whether every seed gives the same number, because the quantity is counted. The interval is then the
                     number itself
    gate             see Gate; if it does not hold, the verdict is INVALID
    places           what every `at` is, such as length; None: the experiment's own pages say it
    """

    def __init__(
        self,
        statement: str,
        quantity: str,
        of: Mapping[str, Any],
        against: Mapping[str, Any] | float,
        direction: str,
        smallest_effect: float,
        exact: bool = False,
        gate: Mapping[str, Any] | None = None,
        places: str | None = None,
    ) -> None:
        checks.one_of(self, DIRECTIONS, direction=direction)
        checks.number(self, low=0, open_low=True, smallest_effect=smallest_effect)
        checks.boolean(self, exact=exact)
        self.statement, self.quantity, self.direction = statement, quantity, direction
        self.smallest_effect, self.exact, self.places = smallest_effect, exact, places
        self.of = _read(Side, "of", of)
        self.against = _read(Side, "against", against) if isinstance(against, Mapping) else against
        self.gate = None if gate is None else _read(Gate, "gate", gate)

    def __str__(self) -> str:
        against = self._there(self.against) if isinstance(self.against, Side) else self.against
        return f"{self.quantity}: {self._there(self.of)} {self.direction} {against}"

    def _there(self, side: Side | Gate) -> str:
        place = f"{self.places} " if self.places else ""
        return f"{side.arm} at {place}{side.at:g}"

    def interval(self, found: Measurements, level: float) -> Interval:
        """of − against over the common seeds."""
        left = found.sample(self.quantity, self.of.arm, self.of.at)
        if isinstance(self.against, Side):
            right = found.sample(self.quantity, self.against.arm, self.against.at)
        else:
            right = dict.fromkeys(left, self.against)
        binary = not self.exact and {*left.values()} <= {0, 1}
        if binary and not isinstance(self.against, Side):
            return success_difference(list(left.values()), self.against, level)
        seeds = sorted(left.keys() & right.keys())
        if binary and seeds and {*right.values()} <= {0, 1}:
            return success_difference([left[seed] for seed in seeds], [right[seed] for seed in seeds], level)
        if not self.exact:
            return paired_interval(left, right, level)
        differences = {round(left[seed] - right[seed], 12) for seed in left if seed in right}
        if len(differences) != 1:
            raise ConfigError(
                f"claim '{self.statement}': {self.quantity} is not exact, it has {len(differences)} values."
            )
        (value,) = differences
        return Interval(value, value, value, 1)

    def seeds_that_agree(self, found: Measurements, level: float) -> int | None:
        """How many seeds would decide that a rate equals a number, if all runs so far agree; None for other claims.

        Even if all runs succeed, the interval of a rate has a width: .28 for ten runs.
        """
        values = {*found.sample(self.quantity, self.of.arm, self.of.at).values()}
        if isinstance(self.against, Side) or self.direction != "equal" or self.exact or values not in ({0}, {1}):
            return None
        rates = (success_difference([*values] * n, self.against, level) for n in range(1, MOST_SEEDS))
        return next((rate.n for rate in rates if equivalent(rate, self.smallest_effect)), None)

    def verdict(self, found: Measurements, level: float = LEVEL) -> Verdict:
        """Judge the claim by these measurements, with an interval of this level."""
        learned = None if self.gate is None else f"{self.gate.quantity} of {self._there(self.gate)}"
        gate = None if self.gate is None else f"{learned} {self.gate.limits}"
        try:
            interval = self.interval(found, level)
            holds = self.gate is None or self.gate.holds(found)
        except Unmeasured as error:  # the study ran with another setting
            nothing = None, None, None, 0
            return Verdict(self.statement, INVALID, *nothing, level, self.smallest_effect, str(self), gate, str(error))
        outcome, note = judge(interval, self.direction, self.smallest_effect), ""
        if not holds and self.gate is not None:
            there = found.mean(self.gate.quantity, self.gate.arm, self.gate.at)
            outcome, note = INVALID, f"{learned} is {there:.3g}, and the gate needs {self.gate.limits}"
        elif outcome == INCONCLUSIVE and (needed := self.seeds_that_agree(found, level)) is not None:
            note = f"every run is a success or every run a failure; {needed} such seeds would decide"
        elif self.exact:
            note = "counted, not sampled"
        else:
            note = label(interval.n)
        ends = interval.estimate, interval.low, interval.high, interval.n
        return Verdict(self.statement, outcome, *ends, level, self.smallest_effect, str(self), gate, note)


def verdicts(claims: Sequence[Claim], found: Measurements) -> list[Verdict]:
    """Judge the claims of one experiment together. If m of them are sampled, each has an interval of level 1 − .05/m.

    Then, with 95 % probability, all intervals contain their true values (Bonferroni; Dunn 1961,
    https://doi.org/10.1080/01621459.1961.10482090).
    """
    sampled = sum(not claim.exact for claim in claims)
    level = 1 - (1 - LEVEL) / max(1, sampled)
    return [claim.verdict(found, level) for claim in claims]


def _read(kind: Any, name: str, values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        known = ", ".join(kind.__dataclass_fields__)
        raise ConfigError(f"claim: {name}={dict(values)} is not complete; it needs {known}.") from error
