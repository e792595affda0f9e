"""What an encoder keeps of the tokens that it has read: decoding."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from posenc.attention.cache import LayerCache
from posenc.checks import ConfigError
from posenc.positions.apart import then
from posenc.positions.positions import Positions


class Cache:
    """The tokens that an encoder has read: `encoder(new_tokens, positions, cache=Cache())`, again and again.

    Each call reads only new tokens, and answers as if it had read all. `positions` are those of the new tokens, by
    default the places after the last one, in its document: sequences that are padded on the left go on by themselves.
    A cache belongs to one model and one batch. After an error within a pass it is of no use. A ConfigError refuses
    what would then be read otherwise than in one pass.
    """

    def __init__(self) -> None:
        self.positions: Positions | None = None
        self.layers: list[LayerCache] = []

    def __len__(self) -> int:
        """How many tokens have been read."""
        return 0 if self.positions is None else self.positions.length

    def step(self, encoder: Any, x: Float[Tensor, "B M D"], positions: Positions | None) -> Positions:
        """Where the new tokens stand as queries, all tokens as their keys."""
        self._check(encoder, x)
        count, held = x.shape[1], self.positions
        if positions is not None:
            positions.fit(self, x)
            if positions.keys is not None:
                raise ConfigError("Cache: give the positions of the new tokens; the cache knows those of their keys.")
        if held is None:
            self.layers = [LayerCache() for _ in encoder.blocks]
            held = Positions.arange(count, x.device) if positions is None else positions
        else:
            held = then(held, count if positions is None else positions)
        self.positions = held
        return held.last(count)

    def _check(self, encoder: Any, x: Tensor) -> None:
        late = next((each for each in encoder.encodings if each.one_pass), None)
        if late is not None:
            raise ConfigError(f"Cache: {type(late).__name__} decodes in one pass only, as {late.one_pass}.")
        if not encoder.causal or encoder.readout not in ("last", "per_token"):
            raise ConfigError(
                f"Cache: causal={str(encoder.causal).lower()}, readout={encoder.readout} read tokens that are still to "
                "come; set model.causal=true and model.readout=last or per_token."
            )
        held = [layer.form for layer in self.layers]
        layers = [block.branches[0] for block in encoder.blocks]
        widths = [layer.out.in_features // layer.num_heads for layer in layers]
        here = [(len(x), layer.kv_dim // width, width) for layer, width in zip(layers, widths, strict=True)]
        if held and held != here:
            (b, h, c), (B, H, C) = held[0], here[0]
            raise ConfigError(
                f"Cache: {B} sequences in {len(here)} layers ({H} heads of keys, {C} wide) do not go on {b} in "
                f"{len(held)} ({h} heads of keys, {c} wide); begin a batch, and a model, with a Cache() of its own."
            )
