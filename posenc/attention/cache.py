"""What a layer keeps of the tokens that it has read, so that those after them are read alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def unread(x: Float[Tensor, "B M D"], length: int) -> Float[Tensor, "B N D"]:
    """In the place of inputs that are not kept: NaN, so that nothing can read them unnoticed."""
    return x.new_full((), float("nan")).expand(len(x), length, x.shape[-1])


class LayerCache:
    """Keys and values of one layer, before the encoding turns them, and its inputs where an encoding reads those.

    Keys are turned anew in each step, at their own positions: all that an encoding says of a pair of tokens is then
    said by one code, whether they are read at once or one by one.
    """

    def __init__(self) -> None:
        self.held: dict[str, Tensor] = {}

    @property
    def form(self) -> tuple[int, ...]:
        """How many sequences and heads its keys have, and how wide they are; zeros before the first."""
        kept = self.held.get("k")
        return (0, 0, 0) if kept is None else (*kept.shape[:2], kept.shape[-1])

    def __deepcopy__(self, memo: dict[int, object]) -> "LayerCache":
        """A cache of the same tensors, with their gradients: `keep` makes new ones, and changes none."""
        copied = LayerCache()
        copied.held = dict(self.held)
        return copied

    def keep(self, **new: Float[Tensor, "B *h M c"]) -> list[Tensor]:
        """Append along the axis of the tokens; what is held now, in the order given."""
        for name, value in new.items():
            self.held[name] = torch.cat((self.held[name], value), -2) if name in self.held else value
        return [self.held[name] for name in new]
