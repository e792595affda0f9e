"""The parts of an encoding that a layer uses, and the check that the encoding was built for the layer."""

from typing import Protocol

from torch import Tensor

from posenc.attention.bias import Bias
from posenc.checks import ConfigError
from posenc.positions.positions import Positions


class Hooks(Protocol):
    """The parts of an encoding that a layer uses (see `posenc.encodings.base`)."""

    @property
    def in_attention(self) -> bool: ...

    @property
    def reads_input(self) -> bool: ...

    @property
    def depends_on(self) -> frozenset[str]: ...

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]: ...

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Bias | None: ...


def built_for(owner: object, encoding: object, **own: int | bool) -> None:
    """Raise ConfigError if the encoding was built for another width, number of heads or mask than `owner` has."""
    for name, value in own.items():
        theirs = getattr(encoding, name, value)
        if theirs != value:
            raise ConfigError(
                f"{type(owner).__name__}: {type(encoding).__name__} was built for {name}={theirs}, the model has "
                f"{name}={value}; set model.{name} and leave encoding.{name} to follow it."
            )
