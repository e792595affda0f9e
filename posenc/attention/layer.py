"""A self-attention layer. It asks an encoding for q, k and a bias; `kernels.choose` computes attention from them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import Bias
from posenc.attention.cache import LayerCache, unread
from posenc.attention.hooks import Hooks, built_for
from posenc.attention.kernels import choose
from posenc.attention.mask import Mask
from posenc.attention.projection import Projection, kv_heads, qk_norms
from posenc.attention.scale import LogitScale
from posenc.attention.softmax import PLAIN, Softmax
from posenc.positions.positions import Positions


class SelfAttention(nn.Module):
    """Multi-head self-attention, D → D. The encoding rotates q and k and gives a bias.

    Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762); the projections have no biases.

    attention     one of posenc.attention.kernels.choose.OPTIONS
    logit_gain    a factor of q·k / √d; the bias is not multiplied
    logit_scale   a factor of q·k / √d too, which depends on the number of keys that a query sees
    num_kv_heads  the number of heads of keys and values. H / num_kv_heads neighbouring heads of queries share one:
                  grouped queries, Ainslie et al. 2023 (https://arxiv.org/abs/2305.13245).  None: H
    qk_norm       q and k of each head are divided by their root mean square before the encoding rotates them.  l2: then
                  q·k / √d is √d times a cosine (Llama 4).  rms: with d learned weights (Gemma 3, Qwen 3).  None: no
    sinks         whether each head has a learned logit beside the logits of the keys; it starts at 0 (see Softmax)
    soft_cap      the limit of the logits, biases included (see Softmax); None: no limit
    in_bfloat16   whether attention may multiply in bfloat16 (see posenc.training.precision)
    instead       a function that computes attention in place of the chosen kernel (see posenc.attention.record)
    """

    in_bfloat16: bool = False
    instead: Callable[[Tensor, Tensor, Tensor, Bias | None, Positions, Mask, Softmax], Tensor] | None = None

    def __init__(
        self, dim: int, num_heads: int, causal: bool = False, window: int | None = None, attention: str = "auto",
        logit_gain: float = 1.0, logit_scale: LogitScale | None = None, num_kv_heads: int | None = None,
        qk_norm: str | None = None, sinks: bool = False, soft_cap: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.number(self, low=0, logit_gain=logit_gain)
        checks.boolean(self, causal=causal)
        checks.one_of(self, choose.OPTIONS, attention=attention)
        checks.positive(self, minimum=0, **checks.given(window=window))
        self.num_heads, self.logit_gain, self.attention = num_heads, logit_gain, attention
        self.logit_scale, self.soft_cap = logit_scale, soft_cap
        self.mask = Mask(causal, window)
        self.kv_dim = dim // num_heads * kv_heads(num_heads, num_kv_heads)
        self.qkv = Projection(dim, dim + 2 * self.kv_dim, bias=False)
        self.out = Projection(dim, dim, bias=False)
        self.qk_norms = qk_norms(qk_norm, dim // num_heads)
        checks.boolean(self, sinks=sinks)
        checks.number(self, low=0, open_low=True, **checks.given(soft_cap=soft_cap))
        choose.check_softmax(attention, sinks, soft_cap is not None)
        self.sinks = nn.Parameter(torch.zeros(num_heads)) if sinks else None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many rows of `qkv` are for queries, for keys and for values."""
        return self.out.in_features, self.kv_dim, self.kv_dim

    @property
    def softmax(self) -> Softmax:
        """How logits become weights."""
        return PLAIN if self.sinks is None and self.soft_cap is None else Softmax(self.soft_cap, self.sinks)

    def forward(
        self, x: Float[Tensor, "B M D"], encoding: Hooks, positions: Positions, cache: LayerCache | None = None
    ) -> Float[Tensor, "B M D"]:
        """Attention over the tokens in x and in the cache. Raises ConfigError if encoding or positions do not fit."""
        built_for(self, encoding, dim=self.out.in_features, num_heads=self.num_heads, causal=self.mask.causal)
        positions.fit(self, x)
        q, k, v = self.queries_keys_values(x, encoding, positions, cache)
        x = x if cache is None else cache.held.get("x", unread(x, k.shape[2]))
        bias = encoding.bias(x, q, k, positions)
        inputs, how = (q, k, v, bias, positions, self.mask), self.softmax
        if self.instead is None:
            mixed = choose.attend(*inputs, attention=self.attention, bfloat16=self.in_bfloat16, softmax=how)
        else:
            mixed = self.instead(*inputs, how)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def queries_keys_values(
        self, x: Float[Tensor, "B M D"], encoding: Hooks, positions: Positions, cache: LayerCache | None = None
    ) -> tuple[Float[Tensor, "B H M c"], Float[Tensor, "B H N c"], Float[Tensor, "B H N d"]]:
        """The inputs of attention. The encoding has rotated q and k; q is multiplied by the gain and the scale."""
        qkv, exact = self.qkv(x), encoding.in_attention or self.qk_norms is not None
        qkv = qkv.to(x.dtype) if exact else qkv  # x keeps float32 if the projections are in bfloat16
        width = self.out.in_features // self.num_heads
        heads = qkv.unflatten(-1, (-1, width)).transpose(1, 2)
        q, k, v = heads.split([size // width for size in self.sizes], 1)
        if self.qk_norms is not None:
            q, k = (norm(x) for norm, x in zip(self.qk_norms, (q, k), strict=True))
        if cache is not None:
            k, v = cache.keep(k=k, v=v)
            (x,) = cache.keep(x=x) if encoding.reads_input else (unread(x, k.shape[2]),)
        if k.shape[1] < self.num_heads:
            k, v = (x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v))
        q, k = encoding.rotate(x, q, k, positions)
        q = q if self.logit_gain == 1 else self.logit_gain * q
        if self.logit_scale is not None:
            q = (q * self.logit_scale(self.mask.keys_seen(positions))).to(q.dtype)
        return q, k, v
