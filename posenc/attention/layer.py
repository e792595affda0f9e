"""Self-attention: one signature, several implementations; it sees tensors and a bias, never an encoding.

    attend(q, k, v, bias, positions, mask) = softmax(q kᵀ / √d + bias.matrix, over the keys that mask allows) v

and `bias.values`, where a bias has some, are added to v by distance. d is the width of v: an encoding may widen q and
k, not the scale. The bias is added to the *scaled* logits in every implementation, and a test holds that all of them
agree, forward and backward.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Bias
from posenc.attention.kernels import blocks, by_pairs, by_query, flex, fused
from posenc.attention.mask import Mask
from posenc.checks import ConfigError
from posenc.positions.positions import Positions


class Hooks(Protocol):
    """What a layer asks of an encoding (see `posenc.encodings.base`)."""

    @property
    def in_attention(self) -> bool: ...

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]: ...

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Bias | None: ...


Attend = Callable[[Tensor, Tensor, Tensor, Bias | None, Positions, Mask], Tensor]


def attention_logits(
    q: Float[Tensor, "B H N c"],
    k: Float[Tensor, "B H N c"],
    head_dim: int,
    bias: Bias | None,
    positions: Positions,
    mask: Mask,
) -> Float[Tensor, "B H N N"]:
    """q kᵀ / √head_dim + bias, −∞ where the mask forbids."""
    return biased(q @ k.transpose(-1, -2) * head_dim**-0.5, bias, positions, mask)


def biased(logits: Float[Tensor, "B H N N"], bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """logits + bias, −∞ where the mask forbids."""
    blocks.fits(logits, logits.mT, positions.length)
    if bias is not None:
        logits = logits + bias.matrix(positions).to(logits.dtype)
    allowed = mask.allowed(positions.length, logits.device)
    return logits if allowed is None else logits.masked_fill(~allowed, float("-inf"))


def carry(weights: Float[Tensor, "B H N N"], v: Tensor, bias: Bias | None, positions: Positions) -> Tensor:
    """weights · v, and what the bias adds to the values by distance."""
    relative = None if bias is None else bias.carried(weights, positions)
    return weights @ v if relative is None else weights @ v + relative


def explicit(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """The definition, written out: the oracle in tests, and what attention maps are recorded with."""
    return carry(attention_logits(q, k, v.shape[-1], bias, positions, mask).softmax(-1), v, bias, positions)


def sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """torch's scaled_dot_product_attention; its fused kernels run where the bias needs no gradient."""
    scale = v.shape[-1] ** -0.5
    q, k, v = blocks.operands(q, k, v, None, positions.length)
    if bias is None and mask.window is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=mask.causal, scale=scale)
    allowed = mask.allowed(positions.length, q.device)
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale)
    if bias.carries:
        return explicit(q, k, v, bias, positions, mask)
    logits = bias.matrix(positions).to(q.dtype)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    q, k, v = blocks.operands(q, k, v, logits, positions.length)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=scale)


def by_table(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """`posenc.attention.kernels.fused` wherever the bias is one table of distances, on a CPU; else sdpa."""
    return (by_fusion if fused.is_table(bias, positions) else sdpa)(q, k, v, bias, positions, mask)


def by_fusion(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """On a CPU the kernel `by_query`, `by_pairs` or `fused` for every bias that one of them knows; else sdpa."""
    if by_query.applies(bias, q, v, positions):
        return by_query.attend(q, k, v, bias, positions, mask)
    if by_pairs.applies(bias, q):
        return by_pairs.attend(q, k, v, bias, positions, mask)
    if bias is not None and fused.applies(q, v, bias):
        return fused.attend(q, k, v, bias, positions, mask)
    return sdpa(q, k, v, bias, positions, mask)


def by_flex(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """`posenc.attention.kernels.flex`, for CUDA GPUs; the definition where the bias adds to the values."""
    if bias is not None and bias.carries:
        return explicit(q, k, v, bias, positions, mask)
    return flex.attend(q, k, v, bias, positions, mask)


def auto(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """The fastest of the others that the bias, the length and the device allow; see docs/performance.md."""
    if by_query.applies(bias, q, v, positions):
        return by_query.attend(q, k, v, bias, positions, mask)
    if by_pairs.applies(bias, q):
        return by_pairs.attend(q, k, v, bias, positions, mask)
    return (by_fusion if fused.pays(q, v, bias, positions) else sdpa)(q, k, v, bias, positions, mask)


IMPLEMENTATIONS: dict[str, Attend] = {
    "auto": auto,
    "explicit": explicit,
    "flex": by_flex,
    "fused": by_fusion,
    "sdpa": sdpa,
    "toeplitz": by_table,
}


class Projection(nn.Linear):
    """A linear layer that starts at N(0, 1/fan_in) with zero bias: unit-variance in, unit-variance out.

    narrow  the type to multiply in and to answer in, whatever that of the weights (see posenc.training.precision)
    """

    narrow: torch.dtype | None = None

    def forward(self, input: Tensor) -> Tensor:
        """input · weightᵀ + bias."""
        if self.narrow is None:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(self.narrow)
        return F.linear(input.to(self.narrow), self.weight.to(self.narrow), bias)

    def reset_parameters(self) -> None:
        """Draw the weight from N(0, 1/in_features); the bias is zero."""
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def built_for(owner: object, encoding: object, **own: int | bool) -> None:
    """Refuse an encoding that was built for another width, number of heads or mask than those of `owner`."""
    for name, value in own.items():
        theirs = getattr(encoding, name, value)
        if theirs != value:
            raise ConfigError(
                f"{type(owner).__name__}: {type(encoding).__name__} was built for {name}={theirs}, the model has "
                f"{name}={value}; set model.{name} and leave encoding.{name} to follow it."
            )


class SelfAttention(nn.Module):
    """Multi-head self-attention, D → D, that asks an encoding to rotate q and k and for a bias.

    Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762). No biases in the projections. `logit_gain` multiplies
    q·k / √d and leaves biases alone.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool = False,
        window: int | None = None,
        attention: str = "auto",
        logit_gain: float = 1.0,
    ) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.number(self, low=0, logit_gain=logit_gain)
        checks.boolean(self, causal=causal)
        checks.one_of(self, IMPLEMENTATIONS, attention=attention)
        if window is not None:
            checks.positive(self, minimum=0, window=window)
        self.num_heads, self.logit_gain, self.attention = num_heads, logit_gain, attention
        self.mask = Mask(causal, window)
        self.attend = IMPLEMENTATIONS[attention]
        self.qkv = Projection(dim, 3 * dim, bias=False)
        self.out = Projection(dim, dim, bias=False)

    def check_training(self, device: torch.device) -> None:
        """Refuse a device on which this implementation of attention cannot be trained."""
        if self.attention == "flex":
            flex.check_training(device)

    def forward(self, x: Float[Tensor, "B N D"], encoding: Hooks, positions: Positions) -> Float[Tensor, "B N D"]:
        """Mix the tokens of each sequence; ConfigError for an encoding of another layer, positions of other tokens."""
        B, N, D = x.shape
        built_for(self, encoding, dim=self.out.in_features, num_heads=self.num_heads, causal=self.mask.causal)
        positions.fit(self, x)
        qkv = self.qkv(x)
        if encoding.in_attention:  # encodings stay exact, also where projections are narrow
            qkv = qkv.to(x.dtype)
        q, k, v = qkv.view(B, N, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4)
        q = q if self.logit_gain == 1 else self.logit_gain * q
        q, k = encoding.rotate(x, q, k, positions)
        bias = encoding.bias(x, q, k, positions)
        mixed = self.attend(q, k, v, bias, positions, self.mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


@dataclass
class LayerRecord:
    """What one attention layer did in a recorded forward pass."""

    logits: Float[Tensor, "B H N N"]
    weights: Float[Tensor, "B H N N"]
    bias: Bias | None


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[LayerRecord]]:
    """Record logits, weights and bias of every SelfAttention that runs inside, first layer first.

    A capture forward: inside, attention runs by the explicit implementation, in float32 at least; outside, the model
    keeps its own path.
    """
    records: list[LayerRecord] = []

    def capture(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
        own = v.dtype
        q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
        logits = attention_logits(q, k, v.shape[-1], bias, positions, mask)
        weights = logits.softmax(-1)
        records.append(LayerRecord(logits.detach(), weights.detach(), bias))
        return carry(weights, v, bias, positions).to(own)

    layers = [module for module in model.modules() if isinstance(module, SelfAttention)]
    original = [layer.attend for layer in layers]
    try:
        for layer in layers:
            layer.attend = capture
        yield records
    finally:
        for layer, attend in zip(layers, original, strict=True):
            layer.attend = attend
