"""The forward pass of a model with an encoding: positions of tokens, and attention."""

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from posenc.attention.cache import unread
from posenc.attention.definition import add_values, attention_logits
from posenc.attention.kernels import choose
from posenc.attention.mask import Mask
from posenc.attention.softmax import Softmax
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.hf.described import NAME
from posenc.positions.positions import Positions


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, position_ids: Tensor | None = None,
    softcap: float | None = None, s_aux: Tensor | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """The function for AttentionInterface: queries, keys (not rotated) and values (B, H, M, d) → (B, M, H, d).

    The model's scale is applied between `rotate` and `bias` of the encoding, as `logit_gain` is.
    """
    asked: LayerEncoding | None = module.__dict__.get(NAME)
    if asked is None:  # cross-attention
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
    if attention_mask is not None:
        _check_mask(attention_mask, query.shape[2], key.shape[2])
    if key.shape[1] < query.shape[1]:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    positions, d, encoding = asked.places.of(position_ids, key.shape[2]), value.shape[-1], asked.encoding
    told = asked.places.told(positions, attention_mask)
    x = unread(query.transpose(1, 2).flatten(2), key.shape[2])
    q, k = encoding.rotate(x, query, key, told)
    q = q if scaling is None or scaling == d**-0.5 else q * (scaling * d**0.5)
    bias = encoding.bias(x, q, k, told)
    mask = Mask(bool(getattr(module, "is_causal", True))) if attention_mask is None else Mask(own=attention_mask)
    softmax = Softmax(softcap, s_aux)
    if dropout:
        weights = softmax.weights(attention_logits(q, k, d, bias, positions, mask, softmax))
        out = add_values(F.dropout(weights, dropout), value, bias, positions)
    else:
        out = choose.attend(q, k, value, bias, positions, mask, softmax=softmax)
    asked.answered = True
    return out.transpose(1, 2).contiguous(), None


class Places:
    """The positions of the tokens of a pass. They follow from its position ids, whose values are read once a pass.

    now     the ids last given to the module that is switched off; some models pass their ids only to this module
    seen    the mask (B, N) of the pass, False at padding; None without one
    before  {layer's number in a cache: name of its encoding}, if the encoding reads the token before a key
    """

    def __init__(self) -> None:
        self.ids: Tensor | None = None
        self.version: int | None = None
        self.now: Tensor | None = None
        self.seen: Tensor | None = None
        self.before: dict[int, str] = {}
        self.low, self.high, self.steps = 0, 0, True

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A pre-hook of the model, which stores the mask. Raises ConfigError for an unsuitable cache."""
        given = dict(zip(inspect.signature(module.forward).parameters, args, strict=False)) | kwargs
        cache, seen = given.get("cache", given.get("past_key_values")), given.get("attention_mask")
        if isinstance(cache, StaticCache):
            raise ConfigError("posenc.hf: a static cache is longer than its content; pass a DynamicCache() instead.")
        for layer, slides in enumerate(getattr(cache, "is_sliding", ())):
            if slides and layer in self.before:
                raise ConfigError(
                    f"posenc.hf: {self.before[layer]} reads the token before a key, which a sliding cache drops; pass "
                    "a DynamicCache() without a config, or use_cache=False."
                )
        self.ids, self.seen = None, seen if isinstance(seen, Tensor) and seen.ndim == 2 else None

    def of(self, ids: Tensor | None, keys: int | None = None) -> Positions:
        """Positions of new tokens as queries, and of `keys` keys, the last of which are the new tokens."""
        ids = self.now if ids is None else ids
        if ids is None or ids.ndim != 2:
            raise ConfigError("posenc.hf: a model must have one position for each token, of shape (batch, length).")
        version = None if ids.is_inference() else ids._version
        if ids is not self.ids or version != self.version:
            self.ids, self.version = ids, version
            self.low, self.high = (int(end) for end in ids.aminmax())
            self.steps = ids.shape[1] == 1 or bool((ids.diff() == 1).all())
        before = 0 if keys is None else keys - ids.shape[1]
        if not before:
            return Positions(ids, self.high + 1, consecutive=self.steps, known=True)
        if not self.steps:
            raise ConfigError("posenc.hf: tokens after those of a cache must have consecutive positions.")
        past = (ids[:, :1] - torch.arange(before, 0, -1, device=ids.device)).clamp(min=0)  # padding gets 0
        whole = torch.cat((past, ids), 1)
        return Positions(whole, self.high + 1, consecutive=self.low >= before, known=True).last(ids.shape[1])

    def told(self, positions: Positions, mask: Tensor | None) -> Positions:
        """Add documents to `positions`, for the encoding only: attention uses the model's mask.

        Padding is taken from the diagonal of `mask`, or from `seen` if there is a cache.
        """
        keys, N = positions.at_keys, positions.at_keys.length
        if positions.keys is None:
            seen = None if mask is None else mask.diagonal(dim1=-2, dim2=-1)[:, 0]
        else:
            seen = None if self.seen is None or self.seen.shape[1] < N else self.seen[:, -N:].bool()
        if seen is None and keys.consecutive:
            return positions
        documents = F.pad((keys.ids.diff() <= 0).cumsum(1), (1, 0))
        documents = documents if seen is None else torch.where(seen, documents, -1)
        keys = replace(keys, ids=keys.ids.expand_as(documents), documents=documents, known=True)
        return keys.last(positions.length)


class LayerEncoding:
    """The encoding of a layer. It is not a submodule of the layer, so that its weights have one name in the model.

    answered  whether `attend` has run in the current call of the layer's attention
    """

    def __init__(self, encodings: nn.ModuleList, index: int, places: Places) -> None:
        self.encodings, self.index, self.places, self.answered = encodings, index, places, False

    @property
    def encoding(self) -> PositionalEncoding:
        encoding = self.encodings[self.index]
        assert isinstance(encoding, PositionalEncoding)
        return encoding


def _check_mask(mask: Tensor, queries: int, keys: int) -> None:
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[-2:] != (queries, keys):
        raise ConfigError(
            f"posenc.hf: attention_mask is {mask.dtype} of shape {tuple(mask.shape)}; pass one of (batch, length), 0 "
            f"at padding, or booleans of (batch, 1, {queries}, {keys}), True where a key is seen, such as mask == 0."
        )


def embed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """A pre-hook of a layer or of its attention, which embeds position in the hidden states."""
    asked: LayerEncoding = module.__dict__[NAME]
    positions = asked.places.of(kwargs.get("position_ids"))
    if args:
        return (asked.encoding.embed(args[0], positions), *args[1:]), kwargs
    return args, kwargs | {"hidden_states": asked.encoding.embed(kwargs["hidden_states"], positions)}


def check_answered(module: nn.Module, args: Any, out: Any) -> None:
    """A hook of a layer's attention. Raises ConfigError if the layer computed attention without `attend`."""
    asked: LayerEncoding = module.__dict__[NAME]
    if not asked.answered:
        raise ConfigError(
            f"posenc.hf: {type(module).__name__} computed attention without its encoding; call "
            f'model.set_attn_implementation("{NAME}"), or take a model such as Llama, Qwen or GPT-2.'
        )
    asked.answered = False


def at_zero(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """A pre-hook of a rotary module or of a table of positions, which sets all position ids to 0."""
    at = 0 if isinstance(module, nn.Embedding) else 1
    ids = kwargs.get("position_ids", args[at] if len(args) > at else None)
    if not isinstance(ids, Tensor):
        raise ConfigError(f"posenc.hf: {type(module).__name__} gets no position ids, and cannot be switched off.")
    module.__dict__[NAME].now, zeros = ids, torch.zeros_like(ids)
    if "position_ids" in kwargs:
        return args, kwargs | {"position_ids": zeros}
    return (*args[:at], zeros, *args[at + 1 :]), kwargs


def rotate_by_zero(module: nn.Module, args: Any, out: Any) -> Any:
    """A hook of a rotary module, which returns 1 for cos 0 and 0 for sin 0, without the module's scale."""
    return torch.sgn(out) if isinstance(out, Tensor) else tuple(torch.sgn(part) for part in out)


def add_zeros(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    """A hook of a table of positions, which returns zeros."""
    return torch.zeros_like(out)
