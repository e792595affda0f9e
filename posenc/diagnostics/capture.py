"""Records residuals and attention of every layer in a forward pass."""

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
    """The record of one forward pass of an encoder with L layers.

    streams    the residuals h_0, ..., h_L: the input of the first block, then the output of each block. If gradients
               are on, they belong to the graph: after `backward` each has its `.grad`
    normed     the input of the read-out: h_L after the final norm, if there is one
    attention  logits, weights and bias of each layer, detached
    """

    attention: list[LayerRecord]
    streams: list[Float[Tensor, "B N D"]] = field(default_factory=list)
    normed: list[Float[Tensor, "B N D"]] = field(default_factory=list)


@contextmanager
def capture(encoder: Encoder) -> Iterator[Capture]:
    """A context manager that records the forward passes inside it. Afterwards the encoder is as before.

        with torch.no_grad(), capture(encoder) as seen:
            encoder(tokens)
        seen.streams[-1], seen.attention[0].weights

    Inside, attention is computed by its definition (`posenc.attention.record.record_attention`).
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
