"""The encoder: layers of attention and of feed-forward networks on embedded tokens."""

from posenc.model.cache import Cache
from posenc.model.encoder import Encoder

__all__ = ["Cache", "Encoder"]
