"""A forward pass of its own in which everything is seen: residual streams and attention, layer by layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from posenc.attention.record import LayerRecord, record_attention
from posenc.model.encoder import Encoder


@dataclass
class Capture:
    """What one forward pass of an encoder of L layers left behind.

    streams    h_0, ..., h_L: what the first block reads (tokens and whatever was added to them), then what each block
               leaves. Part of the graph where gradients are on: after `backward`, each has its `.grad`
    normed     what the read-out reads: h_L after the final norm, if there is one
    attention  logits, weights and bias of each layer, detached
    """

    attention: list[LayerRecord]
    streams: list[Float[Tensor, "B N D"]] = field(default_factory=list)
    normed: list[Float[Tensor, "B N D"]] = field(default_factory=list)


@contextmanager
def capture(encoder: Encoder) -> Iterator[Capture]:
    """Record the forward passes that run inside; outside, the encoder is as it was.

        with torch.no_grad(), capture(encoder) as seen:
            encoder(tokens)
        seen.streams[-1], seen.attention[0].weights

    Inside, attention runs by the explicit implementation (`posenc.attention.layer.record_attention`).
    """
    with record_attention(encoder) as records, ExitStack() as hooks:
        seen = Capture(records)

        def keep(x: Tensor, row: list[Tensor]) -> None:
            if x.requires_grad:
                x.retain_grad()
            row.append(x)

        def entered(module: Any, inputs: tuple[Tensor, ...]) -> None:
            keep(inputs[0], seen.streams)

        def left(module: Any, inputs: Any, output: Tensor) -> None:
            keep(output, seen.streams)

        def normed(module: Any, inputs: Any, output: Tensor) -> None:
            keep(output, seen.normed)

        hooks.callback(encoder.blocks[0].register_forward_pre_hook(entered).remove)
        for block in encoder.blocks:
            hooks.callback(block.register_forward_hook(left).remove)
        hooks.callback(encoder.norm.register_forward_hook(normed).remove)
        yield seen
