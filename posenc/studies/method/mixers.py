"""Replacements of self-attention with about as many weights: a convolution and a recurrent layer."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from posenc import checks
from posenc.attention.projection import Projection
from posenc.model.encoder import Encoder
from posenc.streams import initialise
from posenc.studies.method.base import Arm


class Convolution(nn.Module):
    """y = W · conv(x), a convolution over 3 tokens, padded with zeros. It has 4 D² weights, as attention has."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, dim, 3, padding=1, bias=False)
        self.out = Projection(dim, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """N(0, 1/fan_in), as all matrices of posenc."""
        dim, _, width = self.convolution.weight.shape
        nn.init.normal_(self.convolution.weight, std=(width * dim) ** -0.5)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Mix each token with its two neighbours."""
        return self.out(self.convolution(x.transpose(1, 2)).transpose(1, 2))


class Recurrence(nn.GRU):
    """A GRU (Cho et al. 2014, https://arxiv.org/abs/1406.1078) in both directions, D/2 units each: 4.5 D² weights."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, input: Float[Tensor, "B N D"], hx: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Mix each token with all before and after it."""
        return super().forward(input, hx)[0]


MIXERS: dict[str, type[nn.Module]] = {"convolution": Convolution, "recurrence": Recurrence}


class MixerArm(Arm):
    """An encoder without encoding, in which one of `MIXERS` replaces every attention."""

    def __init__(self, mixer: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options=options)
        checks.one_of(self, MIXERS, mixer=mixer)
        self.mixer = MIXERS[mixer]

    def build(self, seed: int, **options: Any) -> Encoder:
        """As `Arm.build`. The other parts of the encoder have the same weights as with attention."""
        encoder = super().build(seed, **options).float()  # because weights are drawn in float32
        for block in encoder.blocks:
            branches = block.branches
            assert isinstance(branches, nn.ModuleList)
            branches[0] = self.mixer(encoder.tokens.embedding_dim)
        initialise(encoder, seed)
        return encoder.double()
