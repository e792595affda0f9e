"""Gives a model an encoding, and loads a model that has one."""

from pathlib import Path
from typing import Any, TypeVar

import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.hf.described import NAME, describe, described, known_keys, name_again, name_once
from posenc.hf.forward import LayerEncoding, Places, add_zeros, at_zero, attend, check_answered, embed, rotate_by_zero
from posenc.model.layers import assign

Model = TypeVar("Model", bound=PreTrainedModel)
LIKE = "take a model such as Llama, Qwen or GPT-2"


def use(model: Model, encoding: PositionalEncoding) -> Model:
    """Replace a model's positions by this encoding, and return the model. A refused model is left unchanged.

    The encoding decides whether all layers share its weights. Raises ConfigError for an encoding that was built for
    another width or number of heads, that reads the layers' inputs, or that cannot use a cache; and for a model whose
    positions or whose attention cannot be replaced.
    """
    base, name = model.base_model, type(model).__name__
    if NAME in base._modules:
        raise ConfigError(f"{name} has an encoding of posenc already; load the model again to give it another.")
    attentions: list[Any] = [
        module
        for module in base.modules()
        if hasattr(module, "layer_idx")
        and hasattr(module, "is_causal")
        and not getattr(module, "is_cross_attention", 0)
    ]
    rotary = [module for module in base.modules() if "RotaryEmbedding" in type(module).__name__]
    table = getattr(base, "wpe", None)
    if not attentions or (not rotary and table is None):
        raise ConfigError(f"{name} has no rotary module and no table wpe of positions to switch off; {LIKE}.")
    layers = assign(model, encoding, len(attentions), None, None)
    text = model.config.get_text_config()
    _check(name, encoding, attentions[0], text)
    blocks, description = _blocks(name, base, attentions), describe(encoding)
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    if getattr(attentions[0], "config", text)._attn_implementation != NAME:
        raise ConfigError(f"{name}: it computes attention without AttentionInterface; {LIKE}.")
    encodings, places = nn.ModuleList(layers.encodings).to(model.device), Places()
    encodings.register_state_dict_post_hook(name_once)
    encodings.register_load_state_dict_pre_hook(name_again)
    base.add_module(NAME, encodings)
    base.register_forward_pre_hook(places.begin, with_kwargs=True)
    for layer, (attention, block) in enumerate(zip(attentions, blocks, strict=True)):
        asked = LayerEncoding(encodings, layers.order[layer], places)
        for leaf in asked.encoding.leaves:
            if leaf.reads_before:
                places.before[attention.layer_idx] = type(leaf).__name__
        for module, hook in ((attention, layers.inside[layer]), (block, layers.embeds[layer])):
            object.__setattr__(module, NAME, asked)
            if hook:
                module.register_forward_pre_hook(embed, with_kwargs=True)
        attention.register_forward_hook(check_answered)
    for module in [*rotary, *([] if table is None else [table])]:
        object.__setattr__(module, NAME, places)
        module.register_forward_pre_hook(at_zero, with_kwargs=True)
        module.register_forward_hook(add_zeros if module is table else rotate_by_zero)
    setattr(model.config, NAME, description)
    return model


def load(folder: str | Path, encoding: PositionalEncoding | None = None, **options: Any) -> Any:
    """Load a model with its encoding from a folder of `save_pretrained`; `options` go to `from_pretrained`.

    encoding  an encoding built like the model's, if its class is your own; None: the one that the config describes
    """
    config = AutoConfig.from_pretrained(folder)
    description = getattr(config, NAME, None)
    if description is None:
        raise ConfigError(f"{folder}: the config names no encoding of posenc; load the model with transformers.")
    kind: Any = getattr(transformers, (config.architectures or [""])[0])
    with known_keys(kind):
        model = kind.from_pretrained(folder, **options)
    use(model, described(description) if encoding is None else encoding)
    weights = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        for key, value in load_file(file).items():
            name = key.removeprefix(f"{model.base_model_prefix}.")
            if name.startswith(f"{NAME}."):
                weights[name.removeprefix(f"{NAME}.")] = value
    model.base_model.get_submodule(NAME).load_state_dict(weights)
    return model


def _check(name: str, encoding: PositionalEncoding, attention: Any, config: Any) -> None:
    for leaf in encoding.leaves:
        why = "the layers' inputs are not in transformers' cache" if leaf.reads_input else leaf.one_pass
        if why:
            raise ConfigError(f"{name}: {type(leaf).__name__} cannot decode token by token: {why}.")
    heads = config.num_attention_heads
    head = getattr(attention, "head_dim", None) or getattr(attention, "head_size", None)
    if head is None:
        raise ConfigError(f"{name}: its queries, keys and values do not share one width head_dim; {LIKE}.")
    width = config.hidden_size if encoding.hooks == ("embed",) else heads * head
    for argument, value in {"dim": width, "num_heads": heads, "causal": bool(attention.is_causal)}.items():
        theirs = getattr(encoding, argument, value)
        if theirs != value:
            built = f"{type(encoding).__name__} was built for {argument}={theirs}"
            raise ConfigError(f"{name}: {built}; build it with {argument}={value}.")


def _blocks(name: str, base: nn.Module, attentions: list[nn.Module]) -> list[nn.Module]:
    """The layers of the model, each of which contains one attention."""
    for stack in (module for module in base.modules() if isinstance(module, nn.ModuleList)):
        if len(stack) == len(attentions) and all(
            any(inner is one for inner in block.modules()) for block, one in zip(stack, attentions, strict=True)
        ):
            return list(stack)
    raise ConfigError(f"{name} has no ModuleList of layers with one attention in each; {LIKE}.")
