"""Times the steps of several contestants in turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import track

WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """The seconds of each round."""

    seconds: np.ndarray

    @property
    def median(self) -> float:
        """The median, in milliseconds."""
        return 1e3 * float(np.median(self.seconds))

    def row(self, baseline: "Timing | None" = None) -> dict[str, float]:
        """Minimum, quartiles and median in milliseconds, and the ratio of the median to the median of `baseline`."""
        low, high = np.percentile(1e3 * self.seconds, (25, 75))
        row = {"min_ms": 1e3 * float(self.seconds.min()), "median_ms": self.median}
        row |= {"quartile_low_ms": float(low), "quartile_high_ms": float(high)}
        return row if baseline is None else row | {"ratio": self.median / baseline.median}


def race(steps: Mapping[str, Callable[[], Any]], rounds: int, title: str) -> dict[str, Timing]:
    """Time one step of each contestant in every round, so that a change of the machine's speed affects all of them.

    Two rounds of warm-up are left out.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in track(range(WARM_UP + rounds), title, transient=True):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: Timing(np.array(values[WARM_UP:])) for name, values in seconds.items()}
