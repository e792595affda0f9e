"""Removes position from the residual before a layer, to see whether later layers use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from posenc.model.encoder import Encoder


@contextmanager
def without_position_mean(encoder: Encoder, layer: int) -> Iterator[None]:
    """A context manager that removes position from h_l:  h_bi ← h_bi − (E_b h_bi − E_bi h_bi)  for l = `layer`, 0..L.

    h_l is the input of block l, and h_L the input of the final norm (see posenc.diagnostics.capture). The mean over the
    sequences of the batch is subtracted, so a batch should have a hundred sequences or more. If accuracy falls, the
    layers from l on used the position in the residual. If it does not fall, they do not use it, or they get position
    inside attention. This is a mean ablation, as of heads in Michel et al. 2019 (https://arxiv.org/abs/1905.10650).
    Interactions of position and token stay. If a token is always at one place (a query at the end), its mean is removed
    too.
    """

    def ablate(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x: Float[Tensor, "B N D"] = inputs[0]
        return (x - x.mean(0) + x.mean((0, 1)), *inputs[1:])

    place = encoder.norm if layer == len(encoder.blocks) else encoder.blocks[layer]
    hook = place.register_forward_pre_hook(ablate)
    try:
        yield
    finally:
        hook.remove()
