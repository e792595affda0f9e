"""Records what attention layers compute in a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention.bias import Bias
from posenc.attention.definition import add_values, attention_logits
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.attention.softmax import Softmax
from posenc.positions.positions import Positions


@dataclass
class LayerRecord:
    """What one attention layer computed in a recorded forward pass."""

    logits: Float[Tensor, "B H N N"]
    weights: Float[Tensor, "B H N N"]
    bias: Bias | None


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[LayerRecord]]:
    """A context manager that records logits, weights and bias of every SelfAttention, in the order of the layers.

    Inside it attention is computed by its definition, in float32 at least. Afterwards the model uses its own kernels
    again.
    """
    records: list[LayerRecord] = []

    def capture(
        q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax
    ) -> Tensor:
        own = v.dtype
        q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
        logits = attention_logits(q, k, v.shape[-1], bias, positions, mask, softmax)
        weights = softmax.weights(logits)
        records.append(LayerRecord(logits.detach(), weights.detach(), bias))
        return add_values(weights, v, bias, positions).to(own)

    layers = [module for module in model.modules() if isinstance(module, SelfAttention)]
    before = [layer.instead for layer in layers]
    try:
        for layer in layers:
            layer.instead = capture
        yield records
    finally:
        for layer, instead in zip(layers, before, strict=True):
            layer.instead = instead
