"""A stack of self-attention blocks with a read-out. Every choice of architecture is a constructor argument."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from posenc import checks
from posenc.attention.hooks import built_for
from posenc.attention.layer import SelfAttention
from posenc.attention.projection import Projection
from posenc.attention.scale import LogitScale, made
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.model.block import FINAL, NORMS, Block, normalisation
from posenc.model.cache import Cache
from posenc.model.embedding import TokenEmbedding
from posenc.model.layers import assign, each_layer
from posenc.model.mlp import hidden_units
from posenc.positions.positions import Positions
from posenc.tasks.base import READOUTS

MAX_LAYERS = 4096
"""Upper limit of `num_layers`; a deeper encoder takes hours to build."""


class Encoder(nn.Module):
    """Token ids → L blocks of self-attention → read-out → logits.

    encoding            a PositionalEncoding, or a mixture over layers (ByLayers)
    encoding_per_layer  false: all layers share this object.  true: each layer has a copy with its own weights; the
                        parameters in `encoding.shared` are not copied.  None: the encoding's `per_layer`
    inject              where `embed` runs.  input: once.  every_layer: before each layer.  attention: in each layer, on
                        the input of attention, after the norm and outside the residual.  None: the encoding's `inject`
    norm, rms_norm, residual, mlp_gate   see Block. If the residual itself has no norm, there is one before the read-out
    mlp_ratio           width of the MLP / width of the model; 0: no MLP. A gated MLP has 3/2 times as many weights
    num_kv_heads, sinks, soft_cap, qk_norm   see posenc.attention.SelfAttention; a list of qk_norm repeats over layers
    causal, window      which keys a query sees (see posenc.attention.mask.Mask); a list of windows repeats over layers
    readout             mean: average of the tokens.  last: the last token.  query: a learned query token, appended at
                        the end (it has its own position).  per_token: one answer for each token
    token_rms           root mean square of the token embeddings at initialisation
    logit_gain          a factor of the content logits q·k / √d; a list repeats over layers. Biases are not multiplied
    logit_scale         a factor of the content logits that depends on the number of keys that a query sees: a word of
                        posenc.attention.scale.FORMS, {form: WORD, ...} with its options, None, or a list of these
    dropout             on the embeddings and on each branch
    attention           how attention is computed: one of posenc.attention.kernels.choose.OPTIONS
    """

    def __init__(
        self,
        encoding: PositionalEncoding,
        vocab_size: int,
        num_outputs: int,
        dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        mlp_ratio: float = 4.0,
        norm: str = "pre",
        residual: bool | float = True,
        dropout: float = 0.0,
        causal: bool = False,
        window: int | Sequence[int | None] | None = None,
        readout: str = "mean",
        inject: str | None = None,
        encoding_per_layer: bool | None = None,
        token_rms: float = 1.0,
        attention: str = "auto",
        logit_gain: float | Sequence[float] = 1.0,
        logit_scale: Any = None,
        rms_norm: bool = False,
        mlp_gate: str | None = None,
        num_kv_heads: int | None = None,
        qk_norm: str | Sequence[str | None] | None = None,
        sinks: bool = False,
        soft_cap: float | None = None,
    ) -> None:
        super().__init__()
        checks.positive(self, maximum=MAX_LAYERS, num_layers=num_layers)
        checks.divisible(self, dim=dim, num_heads=num_heads)
        hidden = hidden_units(self, dim, mlp_ratio, mlp_gate)
        checks.tensor_fits(self, dim=dim, vocab_size=vocab_size)
        checks.tensor_fits(self, dim=dim, num_outputs=num_outputs)
        checks.number(self, low=0, high=1, dropout=dropout)
        checks.number(self, low=0, open_low=True, token_rms=token_rms)
        if not isinstance(residual, bool):
            checks.number(self, low=0, residual=residual)
        checks.one_of(self, NORMS, norm=norm)
        checks.boolean(self, rms_norm=rms_norm)
        checks.one_of(self, READOUTS, readout=readout)
        layers = assign(self, encoding, num_layers, inject, encoding_per_layer)
        by_layer = {"window": window, "logit_gain": logit_gain, "logit_scale": logit_scale, "qk_norm": qk_norm}
        windows, gains, scales, qk_norms = (each_layer(self, num_layers, **{key: by_layer[key]}) for key in by_layer)
        self.readout, self.causal, self.windows = readout, causal, tuple(windows)
        self.inject, self.embeds, self.order = layers.inject, layers.embeds, layers.order
        self.tokens = TokenEmbedding(vocab_size, dim, token_rms)
        self.encodings = nn.ModuleList(layers.encodings)
        for each in layers.encodings:
            built_for(self, each, dim=dim, num_heads=num_heads, causal=causal)
        self.blocks = nn.ModuleList(
            Block(
                SelfAttention(
                    dim, num_heads, causal, windows[layer], attention, gains[layer],
                    made(self, num_heads, scales[layer]), num_kv_heads, qk_norms[layer], sinks, soft_cap,
                ),
                dim, hidden, norm, residual, dropout, layers.inside[layer], rms_norm, mlp_gate,
            )
            for layer in range(num_layers)
        )  # fmt: skip
        self.query = TokenEmbedding(1, dim, token_rms) if readout == "query" else None
        self.dropout = nn.Dropout(dropout)
        self.norm = normalisation(dim, rms_norm) if norm in FINAL else nn.Identity()
        self.head = Projection(dim, num_outputs)

    def encoding(self, layer: int) -> PositionalEncoding:
        """The encoding of layer `layer`."""
        encoding = self.encodings[self.order[layer]]
        assert isinstance(encoding, PositionalEncoding)
        return encoding

    def trained_at(self, length: int, reach: int) -> None:
        """Pass the length of training sequences and the limit of their positions to the parts, before training."""
        for encoding in self.encodings:
            assert isinstance(encoding, PositionalEncoding)
            encoding.trained_at(reach)
        for scale in self.blocks.modules():
            if isinstance(scale, LogitScale):
                scale.trained_at(length)

    @property
    def window(self) -> int | None:
        """The widest window of all layers; None if a layer has no window."""
        return None if None in self.windows else max(window for window in self.windows if window is not None)

    @property
    def extra_positions(self) -> int:
        """The number of positions that the read-out adds after the sequence."""
        return int(self.query is not None)

    def hidden(
        self, tokens: Int[Tensor, "B N"], positions: Positions | None = None, cache: Cache | None = None
    ) -> Float[Tensor, "B N D"]:
        """The residual stream after the last block."""
        x = self.tokens(tokens)
        if self.query is not None:
            x = torch.cat((x, self.query.weight.expand(x.shape[0], 1, -1)), dim=1)
        if cache is not None:
            positions = cache.step(self, x, positions)
        positions = Positions.arange(x.shape[1], x.device) if positions is None else positions
        positions.fit(self, x)
        if positions.documents is not None and self.readout != "per_token":
            raise ConfigError(
                f"Encoder: readout={self.readout} gives one answer for each sequence, but this has several documents "
                "or padding; use readout=per_token and read the tokens that you want."
            )
        for layer, block in enumerate(self.blocks):
            if self.embeds[layer]:
                x = self.encoding(layer).embed(x, positions)
            kept = None if cache is None else cache.layers[layer]
            x = block(self.dropout(x) if layer == 0 else x, self.encoding(layer), positions, kept)
        return x

    def forward(
        self, tokens: Int[Tensor, "B N"], positions: Positions | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Logits: (B, C), or (B, N, C) with `per_token`. Default positions are 0, 1, ..., or follow a cache's."""
        x = self.norm(self.hidden(tokens, positions, cache))
        if self.readout == "mean":
            x = x.mean(1)
        elif self.readout in ("last", "query"):
            x = x[:, -1]
        return self.head(x)
