"""The long table of a study: one number for each quantity, arm, place and seed."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from posenc.checks import ConfigError

if TYPE_CHECKING:
    import pandas as pd

MAX_WHOLE = 2**63
"""Upper limit of a whole number in a table; a larger number does not fit into an int64."""
Sample = Mapping[int, float]
"""Seed to value."""
KEY_COLUMNS = ("quantity", "arm", "at", "seed", "value")


def is_row(row: tuple[Any, ...]) -> bool:
    """Whether the values are valid arguments of `Measurements.add`."""
    if len(row) != len(KEY_COLUMNS) or any(isinstance(each, bool) for each in row):
        return False
    quantity, arm, at, seed, value = row
    words = isinstance(quantity, str) and isinstance(arm, str) and isinstance(seed, int)
    return words and all(isinstance(x, float) or (isinstance(x, int) and abs(x) < MAX_WHOLE) for x in (at, value))


class Unmeasured(ConfigError):
    """The table does not have this number."""


class Measurements:
    """Numbers by (quantity, arm, at, seed); `at` is a layer, a length, a depth or another place of the quantity.

    quantity,arm,at,seed,value
    dong_ratio,rope,3,0,0.00021
    """

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, float], dict[int, float]] = defaultdict(dict)

    def add(self, quantity: str, arm: str, at: float, seed: int, value: float) -> None:
        """Add one number. Raises ConfigError if there is a number for the same place already."""
        sample = self._samples[quantity, arm, at]
        if seed in sample:
            raise ConfigError(f"{quantity!r} of {arm!r} at {at} occurs twice for the seed {seed}.")
        sample[seed] = float(value)

    def extend(self, rows: Iterable[tuple[str, str, float, int, float]]) -> None:
        """Add all rows."""
        for row in rows:
            self.add(*row)

    def mean(self, quantity: str, arm: str, at: float) -> float:
        """The mean over the seeds."""
        return float(np.mean([*self.sample(quantity, arm, at).values()]))

    def frame(self, quantity: str, arm: str) -> "pd.DataFrame":
        """A row for each `at`, in order, and a column for each seed."""
        import pandas as pd  # takes half a second, and not every command needs it

        return pd.DataFrame.from_dict(self.along(quantity, arm), orient="index")

    def sample(self, quantity: str, arm: str, at: float) -> Sample:
        """Seed to value. If it was not measured, the error lists what was measured."""
        for wanted, known, name in (
            (quantity, [key[0] for key in self._samples], "quantity"),
            (arm, [key[1] for key in self._samples if key[0] == quantity], "arm"),
            (at, [key[2] for key in self._samples if key[:2] == (quantity, arm)], "at"),
        ):
            if wanted not in known:
                options = ", ".join(
                    f"{each:g}" if isinstance(each, float | int) else each for each in dict.fromkeys(known)
                )
                instead = f"there is {options}" if options else "no arm has a score"
                raise Unmeasured(f"{name}={wanted} was not measured; {instead}.")
        return self._samples[quantity, arm, at]

    def along(self, quantity: str, arm: str) -> dict[float, Sample]:
        """`at` to sample, in order."""
        places = sorted(at for q, a, at in self._samples if (q, a) == (quantity, arm))
        return {at: self._samples[quantity, arm, at] for at in places}

    def arms(self, quantity: str) -> list[str]:
        """The arms for which this quantity was measured, in the order of measuring."""
        return list(dict.fromkeys(arm for q, arm, _ in self._samples if q == quantity))

    def rows(self) -> Iterator[tuple[str, str, float, int, float]]:
        """All rows, in the order of measuring."""
        for (quantity, arm, at), sample in self._samples.items():
            for seed, value in sample.items():
                yield quantity, arm, at, seed, value

    @classmethod
    def read(cls, text: str) -> "Measurements":
        """The table that `csv` wrote."""
        head, *lines = text.splitlines() or [""]
        if head != ",".join(KEY_COLUMNS):
            raise ConfigError(
                f"a study's table starts with {','.join(KEY_COLUMNS)}, not with {head[:60]!r}; give a study.csv."
            )
        found = cls()
        for line in lines:
            try:
                if not line.isprintable():
                    raise ValueError
                quantity, arm, at, seed, value = line.split(",")
                found.add(quantity, arm, float(at), int(seed), float(value))
            except ValueError as error:
                raise ConfigError(f"a study's table is damaged at the row {line[:60]!r}.") from error
        return found

    def csv(self) -> str:
        """The table as text."""
        lines = (f"{quantity},{arm},{at:g},{seed},{value:.9g}" for quantity, arm, at, seed, value in self.rows())
        return "\n".join((",".join(KEY_COLUMNS), *lines)) + "\n"
