"""PaTH: a product of reflections, made from the tokens between key and query."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Dense
from posenc.attention.kernels import blocks
from posenc.attention.projection import Projection
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.convolution import TokenConvolution
from posenc.positions.positions import Positions

REFLECTIONS = 32
"""The number of tokens whose reflections are multiplied at once."""


class PaTHPositionalEncoding(PositionalEncoding):
    """logit(m, n) = q_mᵀ H_m H_{m−1} ⋯ H_{n+1} k_n / √d,  H_s = I − β_s w_s w_sᵀ.

    PaTH attention, Yang et al. 2025 (https://arxiv.org/abs/2505.16381). For each head w_s is a unit vector, a low-rank
    projection of the layer's input x (D → rank → D), a causal depthwise convolution over 3 tokens and SiLU;
    β_s = 2σ(u·x_s + c) in (0, 2). Chunk by chunk, with W the rows w of a chunk and the UT transform
    T = (I + tril(diag(β) W Wᵀ, −1))⁻¹ diag(β): inside it logits = tril(Q Kᵀ) − tril(Q Wᵀ) T tril(W Kᵀ, −1), queries go
    back to its start as Q − tril(Q Wᵀ) T W, keys on to its end as K − (T tril(W Kᵀ, −1))ᵀ W, and keys of earlier chunks
    through it by I − Wᵀ T W. Start: projections N(0, 1/fan in), convolution torch's, u N(0, 0.02²), c 0. Deviations: no
    forget gate, no norm of q and k (options in the authors' code). Each layer has its own weights, as in that code
    (https://github.com/fla-org/flash-linear-attention). It uses the order of the tokens, not position ids. Causal.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2505.16381"
    proof = ("formula",)
    size = "L·(2·rank·D + 3·D + H·(D + 1))"
    depends_on = frozenset({"order", "content"})
    causal_only = True
    reads_input = True
    reads_before = True
    per_layer = True

    def __init__(self, dim: int, num_heads: int, causal: bool, rank: int = 32) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.under_a_causal_mask(self, causal=causal)
        checks.positive(self, maximum=checks.MAX_WIDTH, rank=rank)
        self.dim, self.num_heads, self.causal, self.rank = dim, num_heads, causal, rank
        self.down, self.up = Projection(dim, rank, bias=False), Projection(rank, dim, bias=False)
        self.convolution = TokenConvolution(dim, 3)
        self.beta = nn.Linear(dim, num_heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """β starts about 1; the other layers reset themselves."""
        nn.init.normal_(self.beta.weight, std=0.02)
        nn.init.zeros_(self.beta.bias)

    def reflections(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """w, (B, H, N, d), of length 1, and β, (B, H, N, 1), of the keys."""
        mixed = self.convolution.over(self.up(self.down(x)), positions.at_keys)
        w = F.silu(mixed).unflatten(1, (self.num_heads, -1)).transpose(-1, -2)
        return F.normalize(w, dim=-1), 2 * self.beta(x).sigmoid().transpose(1, 2)[..., None]

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        dtype = torch.promote_types(q.dtype, torch.float32)
        operands = (y.to(dtype) for y in (q * q.shape[-1] ** -0.5, k, *self.reflections(x, positions)))
        with blocks.without_autocast(q):  # autocast would round keys again in each chunk
            return replacing(reflected(*operands), q, k, q.shape[-1])


def replacing(
    logits: Float[Tensor, "B H N N"], q: Float[Tensor, "B H N c"], k: Float[Tensor, "B H N c"], head_dim: int
) -> Dense:
    """The bias that replaces q kᵀ / √head_dim by `logits`, for encodings whose logits are not a sum with it."""
    return Dense(logits - ((q * head_dim**-0.5) @ k.mT).to(logits.dtype))


def reflected(Q: Tensor, K: Tensor, w: Tensor, beta: Tensor) -> Float[Tensor, "B H M N"]:
    """q_mᵀ H_m ⋯ H_{n+1} k_n for Q (B, H, M, d), K and w (B, H, N, d) and β (B, H, N, 1); 0 if the key is later.

    The queries are the last M tokens. They are multiplied by the reflections of one chunk after another, backwards.
    """
    M, (N, d) = Q.shape[-2], K.shape[-2:]
    first = (N - M) // REFLECTIONS  # the chunk of the first query
    Q, K, w, beta = (chunks(y) for y in (F.pad(Q, (0, 0, N - M, 0)), K, w, beta))
    eye = torch.eye(REFLECTIONS, device=Q.device, dtype=Q.dtype)
    system = eye + (beta * (w @ w.mT)).tril(-1)
    T = torch.linalg.solve_triangular(system, beta * eye, upper=False, unitriangular=True)
    read, Tw = (Q @ w.mT).tril(), T @ w
    carried = T @ (w @ K.mT).tril(-1)
    inside = (Q @ K.mT - read @ carried).tril()
    to_start, to_end = Q - read @ Tw, K - carried.mT @ w
    through = torch.eye(d, device=Q.device, dtype=Q.dtype) - Tw.mT @ w  # (H_last ⋯ H_first)ᵀ
    columns, back = [], Q.new_empty(*Q.shape[:2], 0, d)
    for c in reversed(range(K.shape[2])):
        column, back_further = back @ to_end[:, :, c].mT, back @ through[:, :, c].mT
        if c >= first:
            column = torch.cat((inside[:, :, c], column), -2)
            back_further = torch.cat((to_start[:, :, c], back_further), -2)
        earlier = (K.shape[2] - first) * REFLECTIONS - column.shape[-2]  # queries that see none of these keys
        columns.append(F.pad(column, (0, 0, earlier, 0)))
        back = back_further
    start = N - M - first * REFLECTIONS
    return torch.cat(columns[::-1], -1)[..., start : start + M, :N]


def chunks(y: Float[Tensor, "B H N c"]) -> Float[Tensor, "B H n C c"]:
    """Chunks of REFLECTIONS tokens. The last is padded with zeros; w = 0 and β = 0 reflect nothing."""
    return F.pad(y, (0, 0, 0, -y.shape[2] % REFLECTIONS)).unflatten(2, (-1, REFLECTIONS))
