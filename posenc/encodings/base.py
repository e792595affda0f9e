"""The one interface through which position enters. Three hooks; each leaves its input alone unless overridden."""

from jaxtyping import Float
from torch import Tensor, nn

from posenc.bias import Bias
from posenc.positions import Positions


class PositionalEncoding(nn.Module):
    """No positional encoding (NoPE): the base class, and what `encoding=none` builds.

    Override one hook or several, two new files make a new encoding:

        embed   token embeddings, (B, N, D)            sinusoidal, learned absolute, ...
        rotate  queries and keys, (B, H, N, d)         RoPE and its kin
        bias    what is added to the scaled logits     everything relative

    A bidirectional encoder with mean pooling and no encoding is a bag model: it cannot tell a sequence from its
    permutations. A causal mask alone carries position (Haviv et al. 2022, https://arxiv.org/abs/2203.16634; Kazemnejad
    et al. 2023, https://arxiv.org/abs/2305.19466). 0 parameters. Defined at every length.
    """

    def __init__(self) -> None:
        super().__init__()

    def embed(self, x: Float[Tensor, "B N D"], positions: Positions) -> Float[Tensor, "B N D"]:
        """Token embeddings in, token embeddings with position out."""
        return x

    def rotate(
        self, q: Float[Tensor, "B H N d"], k: Float[Tensor, "B H N d"], positions: Positions
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys of one layer in and out; their width may change, as long as both agree."""
        return q, k

    def bias(
        self,
        x: Float[Tensor, "B N D"],
        q: Float[Tensor, "B H N d"],
        k: Float[Tensor, "B H N d"],
        positions: Positions,
    ) -> Bias | None:
        """What one layer adds to its scaled logits; x is the layer's input, q and k are as `rotate` left them."""
        return None
