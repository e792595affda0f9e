"""ALiBi for both directions, with a difference between left and right."""

from torch import Tensor

from posenc import checks
from posenc.encodings.alibi import SymmetricALiBi


class AsymmetricALiBi(SymmetricALiBi):
    """bias[h](t) = −s_h · (|t| − offset·[t < 0]),  s_h = 2^(−8h/H).

    ALiBi (Press et al. 2022, https://arxiv.org/abs/2108.12409) for a bidirectional encoder as in the code of Ruoss et
    al. 2023 (https://arxiv.org/abs/2305.16843, google-deepmind/randomized_positional_encodings). It moves all keys on
    the left half a step nearer: offset 0.5. So left and right differ a little. Defined at every length.
    """

    source = "https://arxiv.org/abs/2305.16843"
    proof = ("formula",)
    depends_on = frozenset({"distance"})

    def __init__(self, num_heads: int, offset: float = 0.5) -> None:
        super().__init__(num_heads)
        checks.number(self, low=0, offset=offset)
        self.offset = offset

    def penalty(self, t: Tensor) -> Tensor:
        """The penalised distance: |t|, less the offset on the left."""
        return t.abs() - self.offset * (t < 0)
