"""Statistics over the seeds of runs: estimates with intervals, tests, and how many seeds a statement needs.

The unit of analysis is the run: one number for each seed. The functions need only numpy and scipy and take plain
numbers. `python -m posenc coverage` shows how often the intervals contain the true value.
"""

from posenc.statistics.aggregates import interquartile_mean, paired_interquartile_difference, probability_of_improvement
from posenc.statistics.family import correct, unseen_share
from posenc.statistics.intervals import Interval, equivalent, mean_interval, success_difference, success_rate
from posenc.statistics.paired import Difference, mcnemar, paired_difference, paired_interval, sign_flip_test
from posenc.statistics.samples import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT, SOLVED, label
from posenc.statistics.simulation import coverage

__all__ = [
    "SEEDS_FOR_INTERVAL",
    "SEEDS_FOR_VERDICT",
    "SOLVED",
    "Difference",
    "Interval",
    "correct",
    "coverage",
    "equivalent",
    "interquartile_mean",
    "label",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "paired_interquartile_difference",
    "paired_interval",
    "probability_of_improvement",
    "sign_flip_test",
    "success_difference",
    "success_rate",
    "unseen_share",
]
