"""Token embeddings."""

from torch import nn


class TokenEmbedding(nn.Embedding):
    """Token embeddings with initial values from N(0, rms²)."""

    def __init__(self, vocab_size: int, dim: int, rms: float) -> None:
        self.rms = rms
        super().__init__(vocab_size, dim)

    def reset_parameters(self) -> None:
        """Draw the initial values."""
        nn.init.normal_(self.weight, std=self.rms)
