"""Rotary position embedding: queries and keys turned by their positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.sinusoidal import LAYOUTS
from posenc.positions.positions import Positions


class RotaryPositionalEncoding(PositionalEncoding):
    """(q_2i + i q_2i+1) ← (q_2i + i q_2i+1) · exp(i p θ_i), and k alike,  θ_i = base^(−2i/r).

    RoPE, Su et al. 2021 (https://arxiv.org/abs/2104.09864): pair i of q and of k is turned by the angle p·θ_i, so the
    logit q_m·k_n depends on content and on n − m only. Applied in every layer. r = d, or the share `rotated` of d
    (partial rotary, GPT-NeoX and GPT-J: the first r of d turn, the rest carries no position). `kept` below 1 is p-RoPE
    (Barbero et al. 2025, https://arxiv.org/abs/2410.06205): the ⌊kept·r/2⌋ highest frequencies turn. The lowest do not
    turn; the paper finds that they carry content. `layout`: interleaved pairs (2i, 2i+1) as in the paper, or half_split
    pairs (i, i + r/2) as in GPT-NeoX and Llama, which is a permutation of d. Angles are float32 at least, also under
    bfloat16. Defined at every length; past the trained length, low frequencies reach angles that training never had.
    """

    source = "https://arxiv.org/abs/2104.09864"
    proof = ("rotary-embedding-torch", "transformers", "formula")
    depends_on = frozenset({"distance"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = 1.0,
        kept: float = 1.0,
    ) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.number(self, low=1, open_low=True, base=base)
        checks.one_of(self, LAYOUTS, layout=layout)
        share = 1.0 if rotated is None else rotated
        checks.number(self, low=0, high=1, open_low=True, rotated=share)
        checks.number(self, low=0, high=1, kept=kept)
        width = round(share * dim / num_heads)
        if width < 2 or width % 2:
            raise ConfigError(
                f"{type(self).__name__} turns pairs: "
                + ("the head width" if share == 1 else f"rotated={share:g} of the head width")
                + f" must be even, got {width}; set model.dim to an even multiple of model.num_heads"
                + ("." if share == 1 else ", or rotated=1."),
                "rotated",
            )
        self.dim, self.num_heads, self.base, self.layout = dim, num_heads, base, layout
        self.rotated, self.kept, self.width = rotated, kept, width

    def rates(self, positions: Positions, dtype: torch.dtype) -> Float[Tensor, "*b r/2"]:
        """θ_i: radians that each pair turns in one step; a row for each sequence if they depend on the sequence."""
        pair = torch.arange(self.width // 2, device=positions.ids.device, dtype=dtype)
        theta = self.base ** (-2 * pair / self.width)
        return theta.where(pair < self.turning, 0)

    def angle(self, positions: Positions, dtype: torch.dtype) -> Float[Tensor, "b 1 N r/2"]:
        """By how many radians each pair of each token turns."""
        return angles(positions, self.rates(positions, dtype))

    @property
    def turning(self) -> int:
        """How many of the r/2 pairs turn."""
        return math.floor(self.kept * self.width / 2 + 1e-9)

    @property
    def temperature(self) -> float:
        """The factor of the logits of the turned part."""
        return 1.0

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        angle = self.angle(positions, torch.promote_types(q.dtype, torch.float32))
        cos, sin = angle.cos(), angle.sin()
        return turn(q, self.temperature * cos, self.temperature * sin, self.layout), turn(k, cos, sin, self.layout)


EXACT_POSITIONS = 2**10
"""Up to this position float32 has products with frequencies to 1e-4 of a radian."""


def angles(positions: Positions, theta: Float[Tensor, "*b c"]) -> Float[Tensor, "b 1 N c"]:
    """p θ, to within whole turns.

    For far positions float32 is too coarse: 0.004 of a radian at 100,000. For them the angle of each sequence's first
    position is computed in float64, to within whole turns, and float32 has the differences from it.
    """
    theta, place = theta[..., None, None, :], positions.values.to(theta.dtype)[:, None, :, None]
    if positions.extent < EXACT_POSITIONS:
        return place * theta
    first = place[:, :, :1]
    start = torch.remainder(first.double() * theta.double(), 2 * math.pi).to(theta.dtype)
    return (place - first) * theta + start


def turn(x: Float[Tensor, "B H N d"], cos: Tensor, sin: Tensor, layout: str) -> Float[Tensor, "B H N d"]:
    """Turn the first r of d, r/2 pairs, by angles with these cosines and sines (…, r/2). The rest does not change.

    In the paper's layout a pair is stored like a complex number, and one pass over x is enough; otherwise three.
    """
    width = 2 * cos.shape[-1]
    head, tail = x[..., :width].to(cos.dtype), x[..., width:]
    if layout == "interleaved" and torch.compiler.is_compiling():  # inductor generates no code for complex numbers
        one, other = head.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((one * cos - other * sin, one * sin + other * cos), -1).flatten(-2)
    elif layout == "interleaved":
        # A complex number must be contiguous at an even place. Other tensors (no projection makes them) are copied.
        *outer, last = head.stride()
        odd = last != 1 or any(step % 2 for step in outer) or head.storage_offset() % 2
        pairs = (head.clone(memory_format=torch.contiguous_format) if odd else head).unflatten(-1, (-1, 2))
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin)).flatten(-2)
    else:
        swapped = head.roll(width // 2, -1)
        turned = torch.addcmul(head * torch.cat((cos, cos), -1), swapped, torch.cat((-sin, sin), -1))
    turned = turned.to(x.dtype)
    return torch.cat((turned, tail), dim=-1) if tail.shape[-1] else turned
