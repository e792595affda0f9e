"""Softmax from logits to weights, with or without a soft cap on the logits and a sink beside the keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Softmax:
    """weight(m, n) = exp(c(logit(m, n))) / (Σ_n exp(c(logit(m, n))) + exp(sink)),  c(x) = cap · tanh(x / cap).

    cap    the limit of |logit|, biases included, before the mask; None: c(x) = x. Gemma 2
           (https://arxiv.org/abs/2408.00118)
    sinks  (H,) one more logit for each head, which every query sees and which has no value; None: no sink. gpt-oss
           (https://arxiv.org/abs/2508.10925). A sink of 0 adds 1 to the denominator of the softmax
    """

    cap: float | None = None
    sinks: Float[Tensor, " H"] | None = None

    @property
    def plain(self) -> bool:
        """Whether this is the plain softmax: no cap, no sink."""
        return self.cap is None and self.sinks is None

    def capped(self, logits: Tensor) -> Tensor:
        """c(logits)."""
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def weights(self, logits: Float[Tensor, "B H N N"]) -> Float[Tensor, "B H N N"]:
        """The weights of logits that are already capped and masked. With sinks a row sums to less than 1."""
        if self.sinks is None:
            return logits.softmax(-1)
        sinks = self.sinks.to(logits.dtype)[:, None, None].expand(*logits.shape[:-1], 1)
        return torch.cat((logits, sinks), -1).softmax(-1)[..., :-1]


PLAIN = Softmax()


def with_sink(
    q: Float[Tensor, "B H N c"], k: Float[Tensor, "B H N c"], v: Float[Tensor, "B H N d"], sinks: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v with one more token before the first, the sink, for kernels without sinks: (B, H, N + 1, · + 1).

    One column is added: 1 in queries, 0 in keys, and logit / scale in the sink's key. So the sink's logit needs no N×N
    bias. The sink's query is 0; the caller leaves out its output.
    """
    key = F.pad((sinks / scale).to(k.dtype)[:, None, None], (k.shape[-1], 0)).expand(k.shape[0], -1, -1, -1)
    q = F.pad(F.pad(q, (0, 1), value=1), (0, 0, 1, 0))
    return q, torch.cat((key, F.pad(k, (0, 1))), -2), F.pad(v, (0, 1, 1, 0))
