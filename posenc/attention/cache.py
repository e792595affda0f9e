"""The cache of one layer. It keeps what the next tokens need from earlier tokens, so each token is read once."""

import torch
from jaxtyping import Float
from torch import Tensor


def unread(x: Float[Tensor, "B M D"], length: int) -> Float[Tensor, "B N D"]:
    """x with NaN in place of the inputs that are not kept. If some code read them, the result would be NaN."""
    return x.new_full((), float("nan")).expand(len(x), length, x.shape[-1])


class LayerCache:
    """Keys and values of one layer before the encoding rotates them, and the layer's inputs if the encoding reads them.

    Each step rotates all keys again, at their own positions. So the same code treats a pair of tokens, whether the
    tokens are read at once or one by one.
    """

    def __init__(self) -> None:
        self.held: dict[str, Tensor] = {}

    @property
    def form(self) -> tuple[int, ...]:
        """(sequences, heads, width) of the keys; zeros while the cache is empty."""
        kept = self.held.get("k")
        return (0, 0, 0) if kept is None else (*kept.shape[:2], kept.shape[-1])

    def __deepcopy__(self, memo: dict[int, object]) -> "LayerCache":
        """A cache with the same tensors and gradients. This is safe: `keep` makes new tensors and changes none."""
        copied = LayerCache()
        copied.held = dict(self.held)
        return copied

    def keep(self, **new: Float[Tensor, "B *h M c"]) -> list[Tensor]:
        """Append new tokens. Returns all that is now kept under these names, in the order given."""
        for name, value in new.items():
            self.held[name] = torch.cat((self.held[name], value), -2) if name in self.held else value
        return [self.held[name] for name in new]
