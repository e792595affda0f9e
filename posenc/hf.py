"""Any encoding in a decoder of Hugging Face transformers: `posenc.hf.use(model, encoding)`.

For models that ask transformers' AttentionInterface and turn queries and keys by a rotary module, or add a table `wpe`
to their embeddings: those of the shape of Llama, Qwen and GPT-2. The model's own positions are switched off: the rotary
module turns by nothing, wpe adds zeros. Its cache then holds keys that are not turned, and attention turns queries and
keys where they stand, adds biases, and takes the model's own mask, its scale, soft cap, sinks and dropout. The
encoding's weights are part of the model, and `model.save_pretrained` writes them; `load` is the way back.

No attention weights are given back. A cache knows no positions: tokens that it holds are taken to stand one place after
another, the last of them before the first new token.
https://huggingface.co/docs/transformers/attention_interface
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, PreTrainedModel, StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import posenc.encodings
from posenc.attention.cache import unread
from posenc.attention.definition import add_values, attention_logits
from posenc.attention.kernels import choose
from posenc.attention.mask import Mask
from posenc.attention.softmax import Softmax
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import Mixture
from posenc.model.layers import assign
from posenc.positions.positions import Positions

NAME = "posenc"
"""Of the attention implementation, of the encodings in the model and of their description in its config."""


Model = TypeVar("Model", bound=PreTrainedModel)


def use(model: Model, encoding: PositionalEncoding) -> Model:
    """Give a model this encoding in the place of its own, and return it.

    Each layer has weights of its own, or all share them, as the encoding says. Raises ConfigError for an encoding that
    was built for another width or number of heads, that reads the layers' inputs, or that cannot go on with a cache;
    and for a model whose positions are of another kind.
    """
    base, name = model.base_model, type(model).__name__
    if NAME in base._modules:
        raise ConfigError(f"{name} has an encoding of posenc; load it again to give it another.")
    attentions = [
        module
        for module in base.modules()
        if hasattr(module, "layer_idx")
        and hasattr(module, "is_causal")
        and not getattr(module, "is_cross_attention", 0)
    ]
    rotary = [module for module in base.modules() if "RotaryEmbedding" in type(module).__name__]
    table = getattr(base, "wpe", None)
    if not attentions or (not rotary and table is None):
        raise ConfigError(
            f"{name}: its positions are neither a rotary module nor a table wpe, so that they cannot be switched off; "
            "take a model of the shape of Llama, Qwen or GPT-2."
        )
    _check(name, encoding, attentions[0], model.config.get_text_config())
    layers = assign(model, encoding, len(attentions), None, None)
    encodings, places = nn.ModuleList(layers.encodings).to(model.device), _Places()
    description = describe(encoding)
    encodings.register_state_dict_post_hook(_name_once)
    encodings.register_load_state_dict_pre_hook(_name_again)
    base.add_module(NAME, encodings)
    for layer, (attention, block) in enumerate(zip(attentions, _blocks(base, attentions), strict=True)):
        asked = _Asked(encodings, layers.order[layer], places)
        for module, hook in ((attention, layers.inside[layer]), (block, layers.embeds[layer])):
            object.__setattr__(module, NAME, asked)
            if hook:
                module.register_forward_pre_hook(_embed, with_kwargs=True)
    for module in rotary:
        object.__setattr__(module, NAME, places)
        module.register_forward_hook(_turn_nothing, with_kwargs=True)
    if table is not None:
        object.__setattr__(table, NAME, places)
        table.register_forward_pre_hook(_at_zero)
        table.register_forward_hook(_add_nothing)
    base.register_forward_pre_hook(_check_cache, with_kwargs=True)
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    setattr(model.config, NAME, description)
    return model


def load(folder: str | Path, encoding: PositionalEncoding | None = None, **options: Any) -> Any:
    """The model that `save_pretrained` wrote into a folder, with its encoding; `options` go to `from_pretrained`.

    encoding  one built as that of the model, if its class is not posenc's own; None: the config describes it
    """
    config = AutoConfig.from_pretrained(folder)
    description = getattr(config, NAME, None)
    if description is None:
        raise ConfigError(f"{folder}: its config names no encoding of posenc; load it with transformers.")
    kind: Any = getattr(transformers, (config.architectures or [""])[0])
    with _known_keys(kind):
        model = kind.from_pretrained(folder, **options)
    use(model, described(description) if encoding is None else encoding)
    held = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        for key, value in load_file(file).items():
            own = key.removeprefix(f"{model.base_model_prefix}.").removeprefix(f"{NAME}.")
            if own != key.removeprefix(f"{model.base_model_prefix}."):
                held[own] = value
    model.base_model.get_submodule(NAME).load_state_dict(held)
    return model


def describe(encoding: PositionalEncoding) -> dict[str, Any]:
    """The name of its class and its arguments, which it keeps as attributes; those of the parts of a mixture too."""
    names = inspect.signature(type(encoding).__init__).parameters
    given = {name: getattr(encoding, name) for name in names if name not in ("self", "parts")}
    if isinstance(encoding, Mixture):
        given["parts"] = {name: describe(part) for name, part in zip(encoding.parts, encoding.each, strict=True)}
    return {"class": type(encoding).__name__, **given}


def described(description: dict[str, Any]) -> PositionalEncoding:
    """The encoding of posenc that was described so. Raises ConfigError for another."""
    given = dict(description)
    kind = getattr(posenc.encodings, given.pop("class"), None)
    kind = PositionalEncoding if description["class"] == PositionalEncoding.__name__ else kind
    if kind is None:
        raise ConfigError(f"posenc has no encoding {description['class']}; load(folder, encoding=...) takes your own.")
    if "parts" in given:
        given["parts"] = {name: described(part) for name, part in given["parts"].items()}
    return kind(**given)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, position_ids: Tensor | None = None,
    softcap: float | None = None, s_aux: Tensor | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """What transformers' AttentionInterface asks: (B, H, M, d) queries, keys and values not turned, → (B, M, H, d)."""
    asked: _Asked | None = module.__dict__.get(NAME)
    if asked is None:  # cross-attention
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
    if key.shape[1] < query.shape[1]:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    positions, d, encoding = asked.places.of(position_ids, key.shape[2]), value.shape[-1], asked.encoding
    x = unread(query.transpose(1, 2).flatten(2), key.shape[2])
    q, k = encoding.rotate(x, query, key, positions)
    bias = encoding.bias(x, q, k, positions)
    q = q if scaling is None or scaling == d**-0.5 else q * (scaling * d**0.5)
    mask = Mask(bool(getattr(module, "is_causal", True))) if attention_mask is None else Mask(own=attention_mask)
    softmax = Softmax(softcap, s_aux)
    if dropout:
        weights = softmax.weights(attention_logits(q, k, d, bias, positions, mask, softmax))
        out = add_values(F.dropout(weights, dropout), value, bias, positions)
    else:
        out = choose.attend(q, k, value, bias, positions, mask, softmax=softmax)
    return out.transpose(1, 2).contiguous(), None


class _Places:
    """Where the tokens of a pass stand, by its position ids, which are looked at once a pass.

    now  what was last asked of the module that is switched off: some models hand their ids to nobody else
    """

    def __init__(self) -> None:
        self.ids: Tensor | None = None
        self.now: Tensor | None = None
        self.low, self.high, self.steps = 0, 0, True

    def of(self, ids: Tensor | None, keys: int | None = None) -> Positions:
        """Of new tokens as queries, and of so many keys, of which they are the last."""
        ids = self.now if ids is None else ids
        if ids is None or ids.ndim != 2:
            raise ConfigError("posenc.hf: a model must have one position for each token, of shape (batch, length).")
        if ids is not self.ids:
            self.ids = ids
            self.low, self.high = (int(end) for end in ids.aminmax())
            self.steps = ids.shape[1] == 1 or bool((ids.diff() == 1).all())
        before = 0 if keys is None else keys - ids.shape[1]
        if not before:
            return Positions(ids, self.high + 1, consecutive=self.steps, known=True)
        if not self.steps:
            raise ConfigError("posenc.hf: tokens after those of a cache must stand one place after another.")
        past = (ids[:, :1] - torch.arange(before, 0, -1, device=ids.device)).clamp(min=0)  # 0: of padding
        whole = torch.cat((past, ids), 1)
        return Positions(whole, self.high + 1, consecutive=self.low >= before, known=True).last(ids.shape[1])


class _Asked:
    """The encoding that a layer asks. It is no module of that layer, so that a model names its weights once."""

    def __init__(self, encodings: nn.ModuleList, index: int, places: _Places) -> None:
        self.encodings, self.index, self.places = encodings, index, places

    @property
    def encoding(self) -> PositionalEncoding:
        encoding = self.encodings[self.index]
        assert isinstance(encoding, PositionalEncoding)
        return encoding


def _check(name: str, encoding: PositionalEncoding, attention: Any, config: Any) -> None:
    for leaf in encoding.leaves:
        why = "the layers' inputs are not in transformers' cache" if leaf.reads_input else leaf.one_pass
        if why:
            raise ConfigError(f"{name}: {type(leaf).__name__} cannot go on token by token: {why}.")
    heads = config.num_attention_heads
    width = config.hidden_size if encoding.hooks == ("embed",) else heads * attention.head_dim
    for argument, value in {"dim": width, "num_heads": heads, "causal": bool(attention.is_causal)}.items():
        theirs = getattr(encoding, argument, value)
        if theirs != value:
            raise ConfigError(
                f"{name}: {type(encoding).__name__} was built for {argument}={theirs}; build it with {argument}="
                f"{value}."
            )


def _blocks(base: nn.Module, attentions: list[nn.Module]) -> list[nn.Module]:
    """The layers of the model, one around each attention."""
    for stack in (module for module in base.modules() if isinstance(module, nn.ModuleList)):
        if len(stack) == len(attentions) and all(
            any(inner is one for inner in block.modules()) for block, one in zip(stack, attentions, strict=True)
        ):
            return list(stack)
    raise ConfigError(f"{type(base).__name__}: its layers are in no list, each with one attention.")


@contextmanager
def _known_keys(kind: Any) -> Iterator[None]:
    """Inside, transformers does not report the encoding's weights as such that it does not expect."""
    before = kind._keys_to_ignore_on_load_unexpected
    kind._keys_to_ignore_on_load_unexpected = [*(before or ()), rf"(^|\.){NAME}\."]
    try:
        yield
    finally:
        kind._keys_to_ignore_on_load_unexpected = before


def _twins(encodings: nn.Module) -> dict[str, str]:
    """Names of parameters that layers share, each with the first name of the same."""
    first: dict[int, str] = {}
    named = ((name, first.setdefault(id(p), name)) for name, p in encodings.named_parameters(remove_duplicate=False))
    return {name: own for name, own in named if name != own}


def _name_once(encodings: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """A hook of state_dict: safetensors holds no tensor twice."""
    for name in _twins(encodings):
        state.pop(prefix + name, None)


def _name_again(encodings: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
    """A hook of load_state_dict."""
    for name, own in _twins(encodings).items():
        if prefix + own in state:
            state[prefix + name] = state[prefix + own]


def _embed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """A pre-hook of a layer or of its attention: position joins the hidden states."""
    asked: _Asked = module.__dict__[NAME]
    positions = asked.places.of(kwargs.get("position_ids"))
    if args:
        return (asked.encoding.embed(args[0], positions), *args[1:]), kwargs
    return args, kwargs | {"hidden_states": asked.encoding.embed(kwargs["hidden_states"], positions)}


def _turn_nothing(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """A hook of a rotary module: cosines of 1 and sines of 0."""
    module.__dict__[NAME].now = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
    cos, sin = out
    return torch.ones_like(cos), torch.zeros_like(sin)


def _at_zero(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    """A pre-hook of a table of positions, which may be shorter than the sequence."""
    module.__dict__[NAME].now = args[0]
    return (torch.zeros_like(args[0]),)


def _add_nothing(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    """A hook of a table of positions."""
    return torch.zeros_like(out)


def _check_cache(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    if isinstance(kwargs.get("cache", kwargs.get("past_key_values")), StaticCache):
        raise ConfigError("posenc.hf: a static cache is longer than what it holds; leave cache_implementation dynamic.")
