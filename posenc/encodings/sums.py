"""Several encodings together in each layer."""

from collections.abc import Mapping

from torch import Tensor

from posenc.attention.bias import Bias
from posenc.attention.combine import added
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import FITTED, Mixture
from posenc.positions.positions import Positions


class Sum(Mixture):
    """logit(m, n) = (R q)_m·(R k)_n / √d + Σ_i bias_i(m, n),  R = ... R_2 R_1

    Several encodings at once, such as position vectors and ALiBi, or RoPE and a forgetting gate (Lin et al. 2025,
    https://arxiv.org/abs/2503.02130, compare it with the gate alone). The parts embed and rotate one after another.
    Each bias is computed from the q and k after all rotations, and the biases are added. If several parts replace the
    logits (CoPE, DAPE, PaTH), their changes are added. A part that widens q and k must come after all parts that
    rotate. Each part decides whether all layers share its weights. Defined at the lengths at which all parts are.
    """

    source = "https://arxiv.org/abs/2503.02130"
    proof = ("formula",)

    def __init__(self, parts: Mapping[str, PositionalEncoding]) -> None:
        super().__init__(parts)
        self.inject = self.inject_of(self.each)
        self.made_of = f"{' and '.join(self.parts)} in every layer"
        self.size = " + ".join(part.size for part in self.each if part.size)
        self.built_as_its_parts(*FITTED)
        self.probe("it cannot read queries and keys that another part has widened; leave one of them out")

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        for part in self.each:
            x = part.embed(x, positions)
        return x

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        width = q.shape[-1]
        for part in (part for part in self.each if "rotate" in part.hooks):
            if q.shape[-1] != width:
                raise ConfigError(
                    f"Sum: {type(part).__name__} rotates queries that another part has widened from {width} to "
                    f"{q.shape[-1]}; put the widening part after it, or leave one out."
                )
            q, k = part.rotate(x, q, k, positions)
        return q, k

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Bias | None:
        return added([part.bias(x, q, k, positions) for part in self.each], positions)
