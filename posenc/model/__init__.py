"""The encoder: layers of attention and of feed-forward networks on embedded tokens."""

from posenc.model.encoder import Encoder

__all__ = ["Encoder"]
