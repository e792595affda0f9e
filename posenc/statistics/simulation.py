"""How often an interval contains the true value, in simulated experiments with a known true value.

`python -m posenc coverage` prints it for the 95 % t-intervals under four laws of a run's score, and for Wilson's
interval of the rate of success:

    normal    all runs train well
    beta      beta(5, 2): bounded by 1 and mildly skewed (−0.6)
    bimodal   60 % of runs succeed near .98, 40 % fail near .10
    rare      90 % of runs succeed near .99, 10 % fail near .10

A test requires 93 to 97 % for the t-interval under the normal law with five seeds or more. The bimodal and rare rows
are printed but not tested. The t-interval is worst under the rare law: if all runs succeed, it is narrow and does not
contain the mean. So it contains the mean in about 41, 57 and 72 % at 5, 8 and 12 seeds. Read the rate of success there.
The difference of two arms with the same law is symmetric, so its interval looks better than the mean's. If the baseline
hardly varies between seeds, the interval of a difference is as bad as the mean's.
"""

from collections.abc import Callable

import numpy as np

from posenc import terminal
from posenc.checks import ConfigError, positive
from posenc.statistics.intervals import Interval, mean_interval, success_rate
from posenc.statistics.paired import paired_interval

EXPERIMENTS = 2000
Law = Callable[[np.random.Generator, int], np.ndarray]


def _bimodal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.6, rng.normal(0.98, 0.01, n), rng.normal(0.10, 0.03, n))


def _rare(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.9, rng.normal(0.99, 0.003, n), rng.normal(0.10, 0.03, n))


LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda rng, n: rng.normal(0.7, 0.1, n), 0.7),
    "beta": (lambda rng, n: rng.beta(5, 2, n), 5 / 7),
    "bimodal": (_bimodal, 0.6 * 0.98 + 0.4 * 0.10),
    "rare": (_rare, 0.9 * 0.99 + 0.1 * 0.10),
}
"""{name: (a function that draws n scores of runs, their true mean)}."""


def coverage(
    experiment: Callable[[np.random.Generator], Interval], truth: float, experiments: int = EXPERIMENTS
) -> float:
    """The share of simulated experiments whose interval contains the true value.

    With 2,000 experiments its standard error is about .005.

    experiment   a function that draws data from the generator and returns an interval
    """
    positive("coverage", experiments=experiments)
    rng = np.random.default_rng(0)
    return sum(_holds(experiment(rng), truth) for _ in range(experiments)) / experiments


def _holds(interval: Interval, truth: float) -> bool:
    if interval.low is None or interval.high is None:
        raise ConfigError(f"coverage: {interval.n} seeds give no interval; simulate at least three.")
    return interval.low <= truth <= interval.high


def of_mean(law: str, n: int) -> float:
    """Coverage of `mean_interval` over n seeds."""
    draw, mean = LAWS[law]
    return coverage(lambda rng: mean_interval(draw(rng, n)), mean)


def of_difference(law: str, n: int) -> float:
    """Coverage of `paired_difference` over n seeds. Both arms follow the law, and the seed has an effect on both."""
    draw, _ = LAWS[law]

    def experiment(rng: np.random.Generator) -> Interval:
        shared = rng.normal(0, 0.1, n)
        a, b = draw(rng, n) + shared, draw(rng, n) + shared
        return paired_interval(dict(enumerate(a)), dict(enumerate(b)))

    return coverage(experiment, 0.0)


SUCCESSES = {"bimodal": 0.6, "rare": 0.9}
"""For each law with two modes how often a run succeeds."""


def of_success(law: str, n: int) -> float:
    """Coverage of `success_rate` over n seeds."""
    draw, _ = LAWS[law]
    return coverage(lambda rng: success_rate(draw(rng, n), 0.5), SUCCESSES[law])


def show() -> None:
    """`python -m posenc coverage`: print the table."""
    title = f"coverage, %, of {EXPERIMENTS:,} 95 % intervals"
    table = terminal.table(title, "law", "seeds", "mean (t)", "paired difference (t)", "success (Wilson)")
    for law in LAWS:
        for n in (5, 8, 12) if law == "rare" else (3, 5, 12):
            rate = f"{100 * of_success(law, n):.1f}" if law in SUCCESSES else "–"
            table.add_row(law, str(n), f"{100 * of_mean(law, n):.1f}", f"{100 * of_difference(law, n):.1f}", rate)
    terminal.show(table)
