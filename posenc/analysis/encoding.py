"""Reads a trained encoding: its bias by distance, its frequencies, its position vectors.

The hooks that an encoding overrides decide which of these it has, not its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from posenc.analysis.observe import Asked, look, reach, trained
from posenc.diagnostics import RotaryUsage, rotary_usage
from posenc.diagnostics.bias_curve import Curve, bias_curve
from posenc.report.words import listing
from posenc.training.module import SequenceModule

SEQUENCES = 4
"""The number of sequences over which a bias that depends on content is averaged."""


@dataclass(frozen=True)
class Shape:
    """A learned encoding, by layer, from 1. Fields that it does not have are empty.

    curves    the bias, by layer, up to `length`
    usage     the frequencies
    vectors   (N, D) the vectors that `embed` adds at each place of a sequence of `length`; only of layer 0, the input,
              if they are added there
    length    curves and vectors go up to this length
    distance  the largest distance in training
    position  the largest position in training
    places    how many of the places of `length` have positions that occur in training
    hooks     the hooks that the encoding overrides
    """

    length: int
    distance: float
    position: float
    places: int
    hooks: tuple[str, ...]
    curves: Mapping[int, Curve] = field(default_factory=dict)
    usage: Mapping[int, RotaryUsage] = field(default_factory=dict)
    vectors: Mapping[int, Float[Tensor, "N D"]] = field(default_factory=dict)

    def cosine(self, layer: int, places: int | None = None) -> Float[Tensor, "N N"]:
        """Cosines of the position vectors of a layer, for all pairs of the first places."""
        unit = F.normalize(self.vectors[layer][:places].float(), dim=-1)
        return unit @ unit.T

    def distinct(self) -> list[tuple[list[int], Curve]]:
        """The different curves, each with its layers."""
        groups: list[tuple[list[int], Curve]] = []
        for layer, curve in self.curves.items():
            layers = next((layers for layers, known in groups if known.same(curve)), None)
            if layers is None:
                groups.append(([layer], curve))
            else:
                layers.append(layer)
        return groups


def shape(module: SequenceModule, length: int, asked: Sequence[Asked]) -> Shape:
    """The encoding's Shape. `asked` are the inputs that it got from its layers at `length`."""
    further = reach(module, length)
    records, beyond = look(module, further, SEQUENCES)
    distance, position = trained(module)
    pairs = enumerate(zip(records, beyond, strict=True), start=1)
    curves = {layer: bias_curve(record, given.positions) for layer, (record, given) in pairs}
    usage = {
        layer: rotary_usage(each.layer, each.x, each.encoding, each.positions)
        for layer, each in enumerate(asked, start=1)
    }
    return Shape(
        length=further,
        distance=distance,
        position=position,
        places=int((beyond[0].positions.values[0] <= position + 1e-6).sum()),
        hooks=asked[0].encoding.hooks,
        curves={layer: curve for layer, curve in curves.items() if curve is not None},
        usage={layer: found for layer, found in usage.items() if found is not None},
        vectors=_vectors(module, beyond),
    )


@torch.no_grad()
def _vectors(module: SequenceModule, asked: Sequence[Asked]) -> dict[int, Float[Tensor, "N D"]]:
    """The output of `embed` for zero tokens, in each layer that has its own."""
    encoder = module.encoder
    if "embed" not in asked[0].encoding.hooks:
        return {}
    first, count = (0, 1) if encoder.inject == "input" else (1, len(encoder.encodings))
    found = {}
    for index in range(count):
        positions = asked[index].positions
        origin = torch.zeros(len(positions.ids), positions.length, encoder.tokens.embedding_dim)
        found[first + index] = encoder.encoding(index).embed(origin, positions)[0]
    return found


def span(layers: Sequence[int]) -> str:
    """Layer 1; layers 1 and 2; layers 1 to 6; layers 1, 3 and 4."""
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layer{'s' * (len(layers) > 1)} {listing([str(layer) for layer in layers], len(layers))}"
