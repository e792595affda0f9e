"""Is position, where it is in the stream, still used from there on?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from posenc.model.encoder import Encoder


@contextmanager
def without_position_mean(encoder: Encoder, layer: int) -> Iterator[None]:
    """Inside, h_l loses what it owes to position:  h_bi ← h_bi − (E_b h_bi − E_bi h_bi)  for l = `layer`, 0..L.

    h_l is what block l reads, h_L what the final norm reads (see posenc.diagnostics.capture). The mean over the
    sequences of the batch is taken out, so a batch should hold a hundred or more. If accuracy falls, the layers from l
    on used the position that the stream held; if it does not, they no longer did, or have it from elsewhere (in
    attention). It is an ablation of a mean, as of heads in Michel et al. 2019 (https://arxiv.org/abs/1905.10650): what
    position and token make together stays. Where a token stands at one place always (a query at the end), its mean
    goes with it.
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
