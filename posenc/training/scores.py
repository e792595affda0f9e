"""Scores of one evaluation set: accuracy, loss, exact match, and the same against the place in the sequence."""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from posenc.tasks.base import IGNORE

SUMS = ("asked", "right", "nats", "sequences", "share", "square", "exact", "nats_nats", "nats_asked", "asked_asked")
"""What is summed over sequences: targets, right answers, their losses, sequences that ask something, the share of right
answers in one and its square, whether all are right, and products of a sequence's loss and number of targets."""


class Totals(Metric):
    """A running sum for each of `places` places of a sequence, in float64."""

    total: Tensor

    def __init__(self, places: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(places, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Shaped[Tensor, "B N"]) -> None:
        """Add the sequences of a batch."""
        self.total += values.double().sum(0)

    def compute(self) -> Float[Tensor, "*N"]:
        """The sums; where there is one, torchmetrics makes it a number of no dimensions."""
        return self.total


class Scores(nn.Module):
    """Accuracy and loss over one evaluation set; both count asked targets, each once.

    places  tokens in a sequence where each is asked something, to score every place by itself; None elsewhere
    """

    def __init__(self, places: int | None = None) -> None:
        super().__init__()
        self.sums = Totals(len(SUMS))
        self.places = places
        self.asked, self.right, self.nats, self.square = (Totals(places or 0) for _ in range(4))

    def forward(self, logits: Float[Tensor, "B *N C"], targets: Int[Tensor, "B *N"]) -> None:
        """Take in a batch."""
        nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
        asked = (targets != IGNORE).reshape(len(targets), -1)
        nats = nats.reshape(asked.shape)
        right = (logits.argmax(-1) == targets).reshape(asked.shape) & asked
        numbers, counted = asked.sum(1), asked.any(1)
        share = right.sum(1) / numbers.clamp(min=1)  # 0 where nothing is asked
        a, y = numbers.double(), nats.sum(1).double()
        columns = (a, right.sum(1), y, counted, share, share.square(), counted & (share == 1), y * y, y * a, a * a)
        # A NaN is kept: without it a diverged model could become best.ckpt.
        self.sums.update(torch.stack([column.double() for column in columns], 1))
        if self.places is not None:
            self.asked.update(asked)
            self.right.update(right)
            self.nats.update(nats)
            self.square.update(nats.double().square())

    def now(self) -> dict[str, float]:
        """accuracy, loss in nats and in bits a target, standard errors; exact_match, of what was taken in so far.

        Sequences are independent and the tokens of one are not, so the error is that of a mean over sequences. Of the
        shares s of right answers in n sequences, and of two more, one all right and one all wrong:

            √((E[s²] − E[s]²) / (n + 2)),    E the mean over n + 2 sequences

        Where each sequence asks one thing it is √(p(1 − p) / (n + 2)) with p = (right + 1) / (n + 2). The two make it
        no more than a little larger, except where no answer or every answer was right: there it is about 1 / n and not
        0, as n such sequences allow a rate of errors of 1 / n. Adding one success and one failure: Agresti & Caffo
        2000, https://doi.org/10.1080/00031305.2000.10474560; the scores themselves are those of the n sequences.

        The loss is a ratio L of sums over n sequences, of losses y and of numbers of targets a. Its error to first
        order, which is that of a mean over sequences where all ask as much, is not known of one sequence:

            √(n / (n − 1) · Σ (y − L a)²) / Σ a

        exact_match, where a sequence asks several things, is the share of sequences with no wrong answer.
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
        """The scores of `now`. Starts anew afterwards."""
        scores = self.now()
        self.sums.reset()
        return scores

    def by_place(self) -> list[dict[str, float]]:
        """Scores of every place at which something was asked. Starts anew.

        position, asked (in how many sequences), accuracy, bits, bits_standard_error (that of a mean over sequences; NaN
        of one) and perplexity, 2^bits.
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
    """√(n / (n − 1) · squares), of n squares around their mean; NaN of one."""
    if n < 2 or math.isnan(squares):
        return math.nan
    return math.sqrt(max(0.0, squares) * n / (n - 1))
