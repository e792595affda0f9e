"""A published claim: its source, how it was measured there, how it is measured here, and when it is refuted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from posenc import checks
from posenc.checks import ConfigError
from posenc.report.reading.read import Run
from posenc.statistics.claims import CONTRADICTED, NOT_REPRODUCED, REPRODUCED, Claim, Side, Verdict
from posenc.statistics.measurements import Measurements
from posenc.terminal import count

NAMING = ("encoding", "dataset", "positions", "seed")
"""Keys of an arm that are names of options. Every other key is a value of the config."""
FAILS_AS = {"skill": 0.0, "accuracy": 0.0, "exact_match": 0.0}
"""The value of a run that is one of `LOST`. For other quantities such a run has no value."""
LOST = ("diverged", "failed")
"""Statuses of runs that ended without a score. A run that was stopped can go on, so it counts as missing."""
LEVELS = {"bits": (0.0, 1.0, 2.0, 4.0, 8.0)}
"""Possible values of a quantity, to compute which verdicts a claim can have. Other quantities are from 0 to 1."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(kw_only=True, eq=False)
class PublishedClaim:
    """A published claim, as it is written in configs/claim/NAME.yaml together with its sweep.

    says        the claim, in one sentence of ours
    source      the link to the source
    setting     how the source measured it
    numbers     the numbers of the source, by arm; `unit` is their unit
    differs     how our setting differs, and what this may change
    reasons     why our result may differ, the most likely reason first: {why, setting}; the setting can be changed
    minutes     how long the sweep takes on two cores
    arms        {name: its runs}, for example {encoding: rope, positions: randomized}, or values of the config
    afterwards  what the runs show besides the verdict. Only this field is written after the runs
    judged      the comparison, with the smallest effect of interest and the gate (posenc.statistics.claims.Claim)

    Raises ConfigError if the claim cannot hold, or cannot be refuted, whatever the runs measure.
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
        self.judged.places = "length"
        named = [side.arm for side in (self.judged.of, self.judged.against, self.judged.gate) if hasattr(side, "arm")]  # pyright: ignore
        for arm in (*named, *self.numbers):
            checks.one_of(self, self.arms, arm=arm)
        possible = set[str]()
        for outcome in _outcomes(self.judged):
            possible.add(outcome)
            if REPRODUCED in possible and {CONTRADICTED, NOT_REPRODUCED} & possible:
                return
        lacking = "be refuted" if REPRODUCED in possible else "hold"
        raise ConfigError(
            f"claim '{self.judged.statement}' cannot {lacking} with any measurement "
            f"({', '.join(sorted(possible))}); change its gate, direction or smallest_effect."
        )

    def measured(self, runs: Iterable[Run]) -> tuple[Measurements, list[str]]:
        """The scores of its arms at each test length, and sentences about runs that are lost or missing."""
        found, notes, seeds = Measurements(), list[str](), defaultdict[str, set[int]](set)
        lost: list[tuple[str, int, str]] = []
        places: dict[str, set[int]] = defaultdict(set)
        for run in runs:
            arm = self.arm_of(run)
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

    def arm_of(self, run: Run) -> str | None:
        """The arm of a run; None if it belongs to none. Raises ConfigError if it belongs to two."""
        fits = [name for name, words in self.arms.items() if all(_value(run, key) == words[key] for key in words)]
        if len(fits) > 1:
            raise ConfigError(f"{run.name} fits the arms {' and '.join(fits)}; describe the arms so that one fits.")
        return fits[0] if fits else None

    def check_arm(self, name: str, run: Run) -> None:
        """Raise ConfigError if a run that the claim `name` would train belongs to none of its arms."""
        if self.arm_of(run) is not None:
            return
        keys = dict.fromkeys(key for words in self.arms.values() for key in words)
        arms = " and ".join(f"{arm} ({_words(words)})" for arm, words in self.arms.items())
        raise ConfigError(
            f"claim={name} compares its arms {arms}, and a run with {_words({key: _value(run, key) for key in keys})} "
            f"belongs to none of them; leave out what sets this, or write a claim of your own (docs/own_claim.md)."
        )

    def verdict(self, found: Measurements) -> Verdict:
        """The verdict on these measurements."""
        return self.judged.verdict(found)


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _value(run: Run, key: str) -> Any:
    return getattr(run, key) if key in NAMING else run.settings.get(key)


def outcomes(claim: Claim, seeds: int = 10) -> set[str]:
    """Every verdict that the claim can have, found with a grid of means and nearly equal values of all seeds."""
    return set(_outcomes(claim, seeds))


def _outcomes(claim: Claim, seeds: int = 10) -> Iterator[str]:
    places = [(claim.quantity, claim.of.arm, claim.of.at)]
    if isinstance(claim.against, Side):
        places.append((claim.quantity, claim.against.arm, claim.against.at))
    if claim.gate is not None:
        places.append((claim.gate.quantity, claim.gate.arm, claim.gate.at))
    places = list(dict.fromkeys(places))
    for means in product(*(LEVELS.get(quantity, SHARES) for quantity, _, _ in places)):
        table = Measurements()
        for number, (place, mean) in enumerate(zip(places, means, strict=True)):
            for seed in range(seeds):
                table.add(*place, seed, mean + 1e-4 * ((seed * (number + 2)) % 7 - 3))
        yield claim.verdict(table).outcome
