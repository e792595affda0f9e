"""Scores of one evaluation set: accuracy, loss and exact match, and scores for each place in the sequence."""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from posenc.tasks.base import IGNORE

SUMS = ("asked", "right", "nats", "sequences", "share", "square", "exact", "nats_nats", "nats_asked", "asked_asked")
"""The sums over sequences, in this order: targets, right answers, losses, sequences with at least one target, the share
of right answers and its square, whether all answers are right, and products of loss and number of targets."""


class Totals(Metric):
    """A sum for each of `places` places of a sequence, in float64."""

    total: Tensor

    def __init__(self, places: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(places, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Shaped[Tensor, "B N"]) -> None:
        """Add the sequences of a batch."""
        self.total += values.double().sum(0)

    def compute(self) -> Float[Tensor, "*N"]:
        """The sums. If there is only one place, torchmetrics returns a tensor of no dimensions."""
        return self.total


class Scores(nn.Module):
    """Accuracy and loss over one evaluation set. Each target counts once; IGNORE does not count.

    places  tokens in a sequence, if each place is to be scored by itself; None: no scores by place
    """

    def __init__(self, places: int | None = None) -> None:
        super().__init__()
        self.sums = Totals(len(SUMS))
        self.places = places
        self.asked, self.right, self.nats, self.square = (Totals(places or 0) for _ in range(4))

    def forward(self, logits: Float[Tensor, "B *N C"], targets: Int[Tensor, "B *N"]) -> None:
        """Add a batch."""
        nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
        asked = (targets != IGNORE).reshape(len(targets), -1)
        nats = nats.reshape(asked.shape)
        right = (logits.argmax(-1) == targets).reshape(asked.shape) & asked
        numbers, counted = asked.sum(1), asked.any(1)
        share = right.sum(1) / numbers.clamp(min=1)  # 0 for a sequence without targets
        a, y = numbers.double(), nats.sum(1).double()
        columns = (a, right.sum(1), y, counted, share, share.square(), counted & (share == 1), y * y, y * a, a * a)
        # A NaN is kept. If it were dropped, a diverged model could become best.ckpt.
        self.sums.update(torch.stack([column.double() for column in columns], 1))
        if self.places is not None:
            self.asked.update(asked)
            self.right.update(right)
            self.nats.update(nats)
            self.square.update(nats.double().square())

    def now(self) -> dict[str, float]:
        """Scores of the batches so far: accuracy, loss in nats and bits per target, standard errors, exact_match.

        Sequences are independent, but tokens of one sequence are not. So the standard error of accuracy is the error
        of a mean over sequences. s is the share of right answers in a sequence. To the n sequences we add two, one with
        s = 1 and one with s = 0:

            √((E[s²] − E[s]²) / (n + 2)),    E the mean over n + 2 sequences

        If each sequence has one target, this is √(p(1 − p) / (n + 2)) with p = (right + 1) / (n + 2). The two added
        sequences matter only if all answers are right or all are wrong. The error is then about 1 / n and not 0,
        because n such sequences are possible with an error rate of 1 / n. Adding one success and one failure: Agresti &
        Caffo 2000, https://doi.org/10.1080/00031305.2000.10474560. The scores themselves come from the n sequences
        alone.

        The loss L is a ratio of two sums over n sequences: losses y and numbers of targets a. Its standard error, to
        first order, is below. If all sequences have equally many targets, it is the error of a mean over sequences. For
        n = 1 it is not known.

            √(n / (n − 1) · Σ (y − L a)²) / Σ a

        exact_match is the share of sequences without a wrong answer, if sequences have several targets.
        """
        found = dict(zip(SUMS, self.sums.compute().tolist(), strict=True))
        asked, n = found["asked"], found["sequences"] + 2
        mean, square = (found["share"] + 1) / n, (found["square"] + 1) / n
        error = math.sqrt(max(0.0, square - mean**2) / n)
        loss = found["nats"] / asked if asked else math.nan
        accuracy = found["right"] / asked if asked else math.nan
        scores = {"accuracy": accuracy, "accuracy_standard_error": error, "loss": loss, "bits": loss / math.log(2)}
        if found["sequences"] > 1:
            squares = found["nats_nats"] - 2 * loss * found["nats_asked"] + loss**2 * found["asked_asked"]
            scores["bits_standard_error"] = _deviation(squares, found["sequences"]) / asked / math.log(2)
        return scores if self.places is None else scores | {"exact_match": found["exact"] / found["sequences"]}

    def compute(self) -> dict[str, float]:
        """The scores of `now`. All sums are then reset."""
        scores = self.now()
        self.sums.reset()
        return scores

    def by_place(self) -> list[dict[str, float]]:
        """Scores of every place that had a target. All sums are then reset.

        position, asked (in how many sequences), accuracy, bits, bits_standard_error (of a mean over sequences; NaN for
        one sequence) and perplexity, 2^bits.
        """
        if self.places is None:
            return []
        metrics = (self.asked, self.right, self.nats, self.square)
        asked, right, nats, square = (metric.compute().flatten().tolist() for metric in metrics)
        for metric in metrics:
            metric.reset()
        rows = []
        for i, n in enumerate(asked):
            if n:
                bits = nats[i] / n / math.log(2)
                error = _deviation(square[i] - nats[i] ** 2 / n, n) / n / math.log(2)
                row = {"position": i, "asked": round(n), "accuracy": right[i] / n, "bits": bits}
                rows.append(row | {"bits_standard_error": error, "perplexity": 2.0 ** min(bits, 1023)})
        return rows


def _deviation(squares: float, n: float) -> float:
    """√(n / (n − 1) · squares), where squares is a sum of n squared deviations; NaN for n = 1."""
    if n < 2 or math.isnan(squares):
        return math.nan
    return math.sqrt(max(0.0, squares) * n / (n - 1))
