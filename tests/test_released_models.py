"""Tiny models of transformers with random weights, and an encoder of the same weights: equal logits to 1e-5.

What differs between the families is the block: norms, gates, grouped keys and values, windows, bases, soft caps, sinks.
"""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    Exaone4Config,
    Exaone4ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssRotaryEmbedding

from posenc.attention.kernels.choose import SINKS
from posenc.attention.layer import SelfAttention
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_layers import ByLayers
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions

D, H, G, V, N = 32, 4, 2, 13, 12
SIZE: dict[str, Any] = {
    "hidden_size": D, "num_attention_heads": H, "num_key_value_heads": G, "vocab_size": V, "intermediate_size": 3 * D,
    "tie_word_embeddings": False, "attn_implementation": "eager", "pad_token_id": 0,
}  # fmt: skip
OURS: dict[str, Any] = {
    "dim": D, "num_heads": H, "num_kv_heads": G, "mlp_ratio": 3.0, "rms_norm": True, "mlp_gate": "silu", "causal": True,
    "readout": "per_token",
}  # fmt: skip


def rope(base: float = 10_000.0) -> RotaryPositionalEncoding:
    return RotaryPositionalEncoding(D, H, base, "half_split")


def llama() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **SIZE)), rope(), {}


def gemma2() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    config = Gemma2Config(
        num_hidden_layers=2, head_dim=D // H, query_pre_attn_scalar=D // H, sliding_window=4,
        attn_logit_softcapping=0.5, final_logit_softcapping=None, **SIZE,
    )  # fmt: skip
    options = {"norm": "peri", "mlp_gate": "gelu", "soft_cap": 0.5, "window": [3, None]}
    return Gemma2ForCausalLM(config), rope(), options


def gemma3() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    config = Gemma3TextConfig(
        num_hidden_layers=6, head_dim=D // H, query_pre_attn_scalar=D // H, sliding_window=4, **SIZE,
    )  # fmt: skip
    options = {"norm": "peri", "mlp_gate": "gelu", "qk_norm": "rms", "window": [3, 3, 3, 3, 3, None]}
    encoding = ByLayers({"near": rope(), "far": rope(1e6)}, ["near"] * 5 + ["far"])
    return Gemma3ForCausalLM(config), encoding, options


def exaone4() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    config = Exaone4Config(num_hidden_layers=4, sliding_window=4, sliding_window_pattern=4, rms_norm_eps=1e-6, **SIZE)
    encoding = ByLayers({"rope": rope(), "none": PositionalEncoding()}, ["rope"] * 3 + ["none"])
    return Exaone4ForCausalLM(config), encoding, {"norm": "reordered", "qk_norm": "rms", "window": [3, 3, 3, None]}


def smollm3() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    config = SmolLM3Config(num_hidden_layers=4, no_rope_layer_interval=4, use_sliding_window=False, **SIZE)
    encoding = ByLayers({"rope": rope(2e6), "none": PositionalEncoding()}, ["rope"] * 3 + ["none"])
    return SmolLM3ForCausalLM(config), encoding, {}


def ministral3() -> tuple[nn.Module, PositionalEncoding, dict[str, Any]]:
    parameters = {
        "rope_type": "default", "rope_theta": 10_000.0, "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 4,
    }  # fmt: skip
    config = Ministral3Config(
        num_hidden_layers=2, head_dim=D // H, rope_parameters=parameters, sliding_window=None, rms_norm_eps=1e-6, **SIZE
    )
    scale = {"form": "temperature_tuning", "original_length": 4}
    return Ministral3ForCausalLM(config), rope(), {"logit_scale": scale}


@torch.no_grad()
def take(ours: Any, theirs: Any) -> None:
    """Give our encoder the weights of theirs; Gemma keeps RMSNorm's weights less one, and scales embeddings by √D."""
    gemma = "Gemma" in type(theirs).__name__

    def norm(mine: Any, other: Any) -> None:
        mine.weight.copy_(other.weight + 1 if gemma else other.weight)

    ours.tokens.weight.copy_(theirs.model.embed_tokens.weight * (D**0.5 if gemma else 1))
    norm(ours.norm, theirs.model.norm)
    ours.head.weight.copy_(theirs.lm_head.weight)
    for block, layer in zip(ours.blocks, theirs.model.layers, strict=True):
        (attention, mlp), own = block.branches, layer.self_attn
        attention.qkv.weight.copy_(torch.cat([each.weight for each in (own.q_proj, own.k_proj, own.v_proj)]))
        attention.out.weight.copy_(own.o_proj.weight)
        if attention.qk_norms is not None:
            norm(attention.qk_norms[0], own.q_norm)
            norm(attention.qk_norms[1], own.k_norm)
        mlp[0].weight.copy_(torch.cat((layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight)))
        mlp[2].weight.copy_(layer.mlp.down_proj.weight)
        mlp[0].bias.zero_()
        mlp[2].bias.zero_()
        names = {
            "pre": ("input_layernorm", "post_attention_layernorm"),
            "reordered": ("post_attention_layernorm", "post_feedforward_layernorm"),
            "peri": ("input_layernorm", "pre_feedforward_layernorm"),
        }[block.norm]
        for mine, name in zip(block.norms, names, strict=True):
            norm(mine, getattr(layer, name))
        if block.norm == "peri":
            norm(block.norms_after[0], layer.post_attention_layernorm)
            norm(block.norms_after[1], layer.post_feedforward_layernorm)
    ours.head.bias.zero_()


@pytest.mark.parametrize("family", [llama, gemma2, gemma3, exaone4, smollm3, ministral3])
def test_a_tiny_model_of_a_family(family: Any) -> None:
    theirs, encoding, options = family()
    loud(theirs)
    ours = Encoder(encoding, V, V, num_layers=len(theirs.model.layers), **OURS | options)
    take(ours, theirs)
    tokens = torch.randint(1, V, (2, N))
    with torch.no_grad():
        expected, found = theirs(tokens).logits, ours(tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def loud(model: nn.Module) -> None:
    """Weights at which nothing that is left out would go unnoticed: norms and logits far from their start."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += 0.3 * torch.randn_like(weight) if "norm" in name else 6 * weight


@pytest.mark.parametrize("attention", SINKS)
@pytest.mark.parametrize("window", [None, 4])
def test_gpt_oss_attention_with_sinks(window: int | None, attention: str) -> None:
    size = SIZE | {"head_dim": D // H, "attention_bias": False, "num_hidden_layers": 1}
    turns = {"rope_type": "default", "rope_theta": 150_000.0}
    config = GptOssConfig(sliding_window=window or 128, rope_parameters=turns, **size)
    theirs, x = GptOssAttention(config, 0), torch.randn(2, N, D)
    ours = SelfAttention(D, H, True, None if window is None else window - 1, attention, num_kv_heads=G, sinks=True)
    assert ours.sinks is not None
    with torch.no_grad():
        theirs.sinks.copy_(torch.randn(H))
        ours.sinks.copy_(theirs.sinks)
        ours.qkv.weight.copy_(torch.cat([each.weight for each in (theirs.q_proj, theirs.k_proj, theirs.v_proj)]))
        ours.out.weight.copy_(theirs.o_proj.weight)
    allowed = ours.mask.allowed(N)
    assert allowed is not None
    mask = torch.zeros(N, N).masked_fill(~allowed, float("-inf"))[None, None]
    angles = GptOssRotaryEmbedding(config)(x, torch.arange(N)[None])
    trains = attention != "flex"  # torch has no backward pass of it on a CPU
    x.requires_grad_()
    expected = theirs(x, angles, mask)[0]
    with torch.set_grad_enabled(trains):
        found = ours(x, rope(150_000.0), Positions.arange(N))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if not trains:
        return
    probe = torch.linspace(-1, 1, x.numel()).view_as(x)
    pairs = ((found, ours.sinks), (expected, theirs.sinks))
    slopes = [torch.autograd.grad((out * probe).sum(), [x, sinks]) for out, sinks in pairs]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
