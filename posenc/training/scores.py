"""Scores of one evaluation set: accuracy, loss, exact match, and the same against the place in the sequence."""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from posenc.tasks.base import IGNORE


class Totals(Metric):
    """A running sum for each of `places` places of a sequence, in float64."""

    total: Tensor

    def __init__(self, places: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(places, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Shaped[Tensor, "B N"]) -> None:
        """Add the sequences of a batch."""
        self.total += values.double().sum(0)

    def compute(self) -> Float[Tensor, " N"]:
        """The sums."""
        return self.total


class Scores(nn.Module):
    """Accuracy and loss over one evaluation set; both count asked targets, each once.

    num_outputs  classes
    places       tokens in a sequence where each is asked something, to score every place by itself; None elsewhere
    """

    def __init__(self, num_outputs: int, places: int | None = None) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(num_outputs, average="micro", ignore_index=IGNORE, validate_args=False)
        # A NaN is kept: without it a diverged model could become best.ckpt.
        self.loss = MeanMetric(nan_strategy=math.nan)
        self.share, self.square = MeanMetric(), MeanMetric()  # of right answers in a sequence
        self.exact = MeanMetric()  # sequences with no wrong answer
        self.sequences = SumMetric()
        self.places = places
        self.asked, self.right, self.nats = (Totals(places or 0) for _ in range(3))

    def forward(self, logits: Float[Tensor, "B *N C"], targets: Int[Tensor, "B *N"]) -> None:
        """Take in a batch."""
        nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
        asked = (targets != IGNORE).reshape(len(targets), -1)
        right = (logits.argmax(-1) == targets).reshape(asked.shape) & asked
        share = (right.sum(1) / asked.sum(1))[asked.any(1)]
        self.accuracy.update(logits.flatten(0, -2), targets.flatten())
        self.loss.update(nats.sum() / asked.sum().clamp(min=1), weight=asked.sum())
        self.share.update(share)
        self.square.update(share.square())
        self.exact.update((share == 1).float())
        self.sequences.update(len(share))
        if self.places is not None:
            self.asked.update(asked)
            self.right.update(right)
            self.nats.update(nats.reshape(asked.shape))

    def compute(self) -> dict[str, float]:
        """accuracy and its standard error; loss in nats and in bits a target; exact_match. Starts anew afterwards.

        Sequences are independent and the tokens of one are not, so the error is that of a mean over sequences:
        √((E[s²] − E[s]²) / n), s the share of right answers in one of n sequences; √(p(1 − p)/n) where each sequence
        asks one thing. exact_match, where a sequence asks several, is the share of sequences with no wrong answer.
        """
        metrics = (self.accuracy, self.loss, self.share, self.square, self.exact, self.sequences)
        accuracy, loss, share, square, exact, sequences = (metric.compute().item() for metric in metrics)
        for metric in metrics:
            metric.reset()
        error = math.sqrt(max(0.0, square - share**2) / sequences)
        scores = {"accuracy": accuracy, "accuracy_standard_error": error, "loss": loss, "bits": loss / math.log(2)}
        return scores if self.places is None else scores | {"exact_match": exact}

    def by_place(self) -> list[dict[str, float]]:
        """position, asked (how often), accuracy and bits of every place at which something was asked. Starts anew."""
        if self.places is None:
            return []
        asked, right, nats = (metric.compute().tolist() for metric in (self.asked, self.right, self.nats))
        for metric in (self.asked, self.right, self.nats):
            metric.reset()
        return [
            {"position": i, "asked": round(n), "accuracy": right[i] / n, "bits": nats[i] / n / math.log(2)}
            for i, n in enumerate(asked)
            if n
        ]
