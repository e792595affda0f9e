"""The cache of an encoder, for decoding."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from posenc.attention.cache import LayerCache
from posenc.checks import ConfigError
from posenc.positions.apart import then
from posenc.positions.positions import Positions


class Cache:
    """The keys and values of the tokens that an encoder has read, for repeated `encoder(new_tokens, cache=cache)`.

    Each call reads only new tokens, and gives the same answers as one pass over all tokens; if this is impossible, it
    raises ConfigError. `positions` are those of the new tokens; by default they follow the last token in its document,
    also after padding on the left. A cache belongs to one model and one batch, and cannot be used after an error.
    """

    def __init__(self) -> None:
        self.positions: Positions | None = None
        self.layers: list[LayerCache] = []

    def __len__(self) -> int:
        """The number of tokens that have been read."""
        return 0 if self.positions is None else self.positions.length

    def step(self, encoder: Any, x: Float[Tensor, "B M D"], positions: Positions | None) -> Positions:
        """Positions with the new tokens as queries and all tokens as keys."""
        self._check(encoder, x)
        count, kept = x.shape[1], self.positions
        if positions is not None:
            positions.fit(self, x)
            if positions.keys is not None:
                raise ConfigError("Cache: give the positions of the new tokens; the cache has those of the keys.")
        if kept is None:
            self.layers = [LayerCache() for _ in encoder.blocks]
            kept = Positions.arange(count, x.device) if positions is None else positions
        else:
            kept = then(kept, count if positions is None else positions)
        self.positions = kept
        return kept.last(count)

    def _check(self, encoder: Any, x: Tensor) -> None:
        late = next((each for each in encoder.encodings if each.one_pass), None)
        if late is not None:
            raise ConfigError(f"Cache: {type(late).__name__} cannot use a cache, because {late.one_pass}.")
        if not encoder.causal or encoder.readout not in ("last", "per_token"):
            raise ConfigError(
                f"Cache: causal={str(encoder.causal).lower()} with readout={encoder.readout} needs later tokens; set "
                "model.causal=true and model.readout=last or per_token."
            )
        kept = [layer.form for layer in self.layers]
        layers = [block.branches[0] for block in encoder.blocks]
        widths = [layer.out.in_features // layer.num_heads for layer in layers]
        here = [(len(x), layer.kv_dim // width, width) for layer, width in zip(layers, widths, strict=True)]
        if kept and kept != here:
            (b, h, c), (B, H, C) = kept[0], here[0]
            raise ConfigError(
                f"Cache: {B} sequences in {len(here)} layers ({H} heads of keys, {C} wide) cannot follow {b} in "
                f"{len(kept)} ({h} heads of keys, {c} wide); use a new Cache() for each batch and each model."
            )
