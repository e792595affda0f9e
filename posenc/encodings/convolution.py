"""A causal convolution over tokens that does not read tokens of other documents."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc.positions.positions import Positions


class TokenConvolution(nn.Conv1d):
    """out[c, n] = Σ_j weight[c, K − 1 − j] · x[c, n − j],  j = 0 .. K − 1: depthwise, no bias.

    A token before the first one, or of another document than token n, counts as 0.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=False)

    def over(self, x: Float[Tensor, "B N C"], positions: Positions) -> Float[Tensor, "B C N"]:
        """The convolution along N."""
        x, reach = x.transpose(1, 2), self.kernel_size[0] - 1
        padded = F.pad(x, (reach, 0))
        if positions.documents is None:
            return self(padded)
        documents, weight = positions.documents[:, None], self.weight[:, 0]
        out, N = torch.zeros_like(x), x.shape[-1]
        for j in range(min(reach, N - 1) + 1):  # a few taps
            same = F.pad(documents[..., j:] == documents[..., : N - j], (j, 0))
            out = out + weight[:, reach - j, None] * padded[..., reach - j : reach - j + N] * same
        return out
