"""A published claim: where it stands, how it was measured there and is measured here, and when it is refuted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from posenc import checks
from posenc.checks import ConfigError
from posenc.report.reading.read import Run
from posenc.report.words import count
from posenc.statistics.claims import CONTRADICTED, NOT_REPRODUCED, REPRODUCED, Claim, Side, Verdict
from posenc.statistics.measurements import Measurements

NAMING = ("encoding", "dataset", "positions", "seed")
"""What a run is called by; every other key of an arm is a value of its config."""
FAILS_AS = {"skill": 0.0, "accuracy": 0.0, "exact_match": 0.0}
"""What a run counts as that is one of `LOST`; of other quantities it has no value."""
LOST = ("diverged", "failed")
"""States of a run that came to an end of its own without a score. One that was stopped is lacking, and goes on."""
LEVELS = {"bits": (0.0, 1.0, 2.0, 4.0, 8.0)}
"""Values that a quantity can take, to see which verdicts a claim can have; of others, shares between 0 and 1."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(kw_only=True, eq=False)
class PublishedClaim:
    """A claim of somebody else, as configs/claim/NAME.yaml holds it beside the sweep that it needs.

    says      what the source says, in one sentence of ours
    source    its link
    setting   how it was measured there
    numbers   what was found there, by arm; `unit` says of what
    differs   how the setting here differs, and what that may change
    reasons   why it may come out otherwise here, the likeliest first: {why, setting}, a setting that can be changed
    minutes   that the sweep takes on two cores
    arms      by name, which runs are its: {encoding: rope, positions: randomized}, or any value of the config
    afterwards  what the runs show that the verdict does not say; written after them, unlike all else
    judged    what is compared, with the smallest effect of interest and the gate (posenc.statistics.claims.Claim)

    Raises ConfigError for a claim of whose verdicts not both are possible: that it holds, and that it does not.
    """

    says: str
    source: str
    setting: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    differs: str
    reasons: Sequence[Mapping[str, str]] = ()
    minutes: float
    arms: Mapping[str, Mapping[str, Any]]
    judged: Claim
    afterwards: str = ""

    def __post_init__(self) -> None:
        checks.number(self, low=0, open_low=True, minutes=self.minutes)
        named = [side.arm for side in (self.judged.of, self.judged.against, self.judged.gate) if hasattr(side, "arm")]  # pyright: ignore
        for arm in (*named, *self.numbers):
            checks.one_of(self, self.arms, arm=arm)
        possible = outcomes(self.judged)
        against = {CONTRADICTED, NOT_REPRODUCED} & possible
        if REPRODUCED not in possible or not against:
            lacking = "be refuted" if REPRODUCED in possible else "hold"
            raise ConfigError(
                f"claim '{self.judged.statement}' cannot {lacking}, whatever is measured "
                f"({', '.join(sorted(possible))}); change its gate, direction or smallest_effect."
            )

    def measured(self, runs: Iterable[Run]) -> tuple[Measurements, list[str]]:
        """What the runs of its arms scored, at each test length, and sentences about those that are lost or lacking."""
        found, notes, seeds = Measurements(), list[str](), defaultdict[str, set[int]](set)
        lost: list[tuple[str, int, str]] = []
        places: dict[str, set[int]] = defaultdict(set)
        for run in runs:
            arm = self._arm(run)
            if arm is None or run.status not in ("completed", *LOST):
                continue
            if run.seed in seeds[arm]:
                raise ConfigError(
                    f"two runs of the arm {arm} have the seed {run.seed}, one of them {run.name}; give one."
                )
            seeds[arm].add(run.seed)
            if run.status != "completed":
                lost.append((arm, run.seed, run.status))
                continue
            for length, scores in run.test.items():
                for quantity, value in scores.items():
                    found.add(quantity, arm, length, run.seed, value)
                    places[quantity].add(length)
        for arm, seed, status in lost:
            notes.append(f"{arm} seed {seed} {status} and counts as a failure")
            for quantity, value in FAILS_AS.items():
                found.extend((quantity, arm, length, seed, value) for length in sorted(places[quantity]))
        every = set().union(*seeds.values())
        for arm in self.arms:
            if lacking := every - seeds[arm]:
                notes.append(f"{arm} lacks {count(len(lacking), 'seed')}: {', '.join(map(str, sorted(lacking)))}")
        return found, notes

    def _arm(self, run: Run) -> str | None:
        """The arm that a run is of, if any. Raises ConfigError where it is of two."""
        fits = [name for name, words in self.arms.items() if all(_value(run, key) == words[key] for key in words)]
        if len(fits) > 1:
            raise ConfigError(f"{run.name} is of the arms {' and '.join(fits)}; say more of each in claim.arms.")
        return fits[0] if fits else None

    def verdict(self, found: Measurements) -> Verdict:
        """The verdict of what was found."""
        return self.judged.verdict(found)


def _value(run: Run, key: str) -> Any:
    return getattr(run, key) if key in NAMING else run.settings.get(key)


def outcomes(claim: Claim, seeds: int = 10) -> set[str]:
    """Every verdict that the claim can have: over a grid of means at all places that it reads, nearly alike by seed."""
    places = [(claim.quantity, claim.of.arm, claim.of.at)]
    if isinstance(claim.against, Side):
        places.append((claim.quantity, claim.against.arm, claim.against.at))
    if claim.gate is not None:
        places.append((claim.gate.quantity, claim.gate.arm, claim.gate.at))
    places = list(dict.fromkeys(places))
    possible = set[str]()
    for means in product(*(LEVELS.get(quantity, SHARES) for quantity, _, _ in places)):
        table = Measurements()
        for number, (place, mean) in enumerate(zip(places, means, strict=True)):
            for seed in range(seeds):
                table.add(*place, seed, mean + 1e-4 * ((seed * (number + 2)) % 7 - 3))
        possible.add(claim.verdict(table).outcome)
    return possible
