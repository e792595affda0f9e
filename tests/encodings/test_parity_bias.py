"""Biases agree with other implementations to 1e-5."""

import warnings
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import DebertaConfig, T5Config, Wav2Vec2BertConfig, Wav2Vec2ConformerConfig, XLNetConfig, XLNetModel
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, build_relative_position
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as wav2vec2_bert
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as conformer

from posenc.attention.definition import attention_logits
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions
from tests.conftest import CONFIGS
from tests.encodings.proofs import proves

with warnings.catch_warnings():
    # DeprecationWarning: `torch.jit.script` is deprecated (x_transformers/attend.py, on import)
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    from x_transformers import x_transformers

LENGTHS = [1, 2, 7, 33]
HEADS = [1, 2, 4, 6]
WIDTH = 8


def build(name: str, heads: int, causal: bool = False, **options: Any) -> Any:
    """The encoding of configs/encoding/NAME.yaml with these options and random weights; heads are WIDTH wide."""
    model = {"dim": heads * WIDTH, "num_heads": heads, "causal": causal}
    yaml = OmegaConf.merge(OmegaConf.load(CONFIGS / "encoding" / f"{name}.yaml"), options)
    encoding = instantiate(OmegaConf.create({"model": model, "encoding": yaml}).encoding, _convert_="all")
    return loud(encoding)


def loud(module: nn.Module) -> Any:
    """The module with random weights, of a size that keeps the bias near 1."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=1.0 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5)
    return module.eval()


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def streams(heads: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, q, k."""
    q, k = torch.randn(2, 2, heads, length, WIDTH)
    return torch.randn(2, length, heads * WIDTH), q, k


def split(x: Tensor, heads: int) -> Tensor:
    """(B, N, H·d) to (B, H, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def copy(source: Tensor, to: Tensor) -> None:
    assert source.shape == to.shape
    to.data.copy_(source)


def term(encoding: Any, x: Tensor, q: Tensor, k: Tensor, positions: Positions | None = None) -> Tensor:
    """The bias for queries and keys that come from the projections, (b, H, N, N)."""
    positions = positions or Positions.arange(q.shape[2])
    q, k = encoding.rotate(x, q, k, positions)
    return encoding.bias(x, q, k, positions).matrix(positions)


def logits(encoding: Any, x: Tensor, q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    """The whole logits, as attention computes them."""
    positions = Positions.arange(q.shape[2])
    q, k = encoding.rotate(x, q, k, positions)
    return attention_logits(q, k, WIDTH, encoding.bias(x, q, k, positions), positions, Mask(causal))


@proves("transformers", "t5")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20)])
@pytest.mark.parametrize("heads", HEADS)
def test_t5(heads: int, buckets: int, furthest: int, causal: bool) -> None:
    """With an offset o, their bias is for queries from o and keys from 0; we compare the keys from o."""
    ours = build("t5", heads, causal, num_buckets=buckets, max_distance=furthest)
    config = T5Config(d_model=heads * WIDTH, d_kv=WIDTH, num_heads=heads, is_decoder=causal)
    config.relative_attention_num_buckets, config.relative_attention_max_distance = buckets, furthest
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    copy(ours.table.T, theirs.relative_attention_bias.weight)
    for length in (*LENGTHS, 150):
        for offset in (0, 5):
            bias = theirs.compute_bias(length, offset + length, past_seen_tokens=offset)[..., offset:]
            close(term(ours, *streams(heads, length), Positions.arange(length).shifted(offset)), bias)


@proves("x-transformers", "t5")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20)])
@pytest.mark.parametrize("heads", HEADS)
def test_t5_against_x_transformers(heads: int, buckets: int, furthest: int, causal: bool) -> None:
    ours = build("t5", heads, causal, num_buckets=buckets, max_distance=furthest)
    theirs = x_transformers.RelativePositionBias(1.0, causal, buckets, furthest, heads)
    copy(ours.table.T, theirs.relative_attention_bias.weight)
    for length in (*LENGTHS, 150):
        close(term(ours, *streams(heads, length))[0], theirs(length, length))


@proves("x-transformers", "alibi")
@pytest.mark.parametrize("heads", [1, 2, 4, 6, 8, 12])
def test_alibi(heads: int) -> None:
    for length in LENGTHS:
        theirs = x_transformers.AlibiPositionalBias(heads)(length, length)
        for offset in (0, 5):
            positions = Positions.arange(length).shifted(offset)
            close(term(build("alibi", heads), *streams(heads, length), positions)[0], theirs)


@proves("transformers", "alibi_causal")
@pytest.mark.parametrize("package", ["bloom", "mpt"])
@pytest.mark.parametrize("heads", [1, 2, 4, 6, 8, 12])
def test_alibi_causal(heads: int, package: str) -> None:
    """Attention weights, because the biases of a row may differ by a constant, which softmax removes."""
    for length in LENGTHS:
        x, q, k = streams(heads, length)
        if package == "bloom":
            theirs = build_alibi_tensor(torch.ones(1, length), heads, torch.float32).view(heads, 1, length)
        else:
            theirs = build_mpt_alibi_tensor(heads, length)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        theirs = (q @ k.mT * WIDTH**-0.5 + theirs).masked_fill(future, -torch.inf)
        close(logits(build("alibi_causal", heads, True), x, q, k, causal=True).softmax(-1), theirs.softmax(-1))


@proves("x-transformers", "dynamic_bias", "log_bias")
@pytest.mark.parametrize("unit", [1.0, 8.0])
@pytest.mark.parametrize("name", ["dynamic_bias", "log_bias"])
@pytest.mark.parametrize("heads", HEADS)
def test_dynamic_bias(heads: int, name: str, unit: float) -> None:
    """Their network reads query − key, ours key − query, so we compare the transpose. Their weights include `unit`."""
    ours = build(name, heads, unit=unit)
    theirs = x_transformers.DynamicPositionBias(32, heads=heads, depth=2, log_distance=name == "log_bias", norm=False)
    layers = [layer for layer in theirs.mlp.modules() if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(layers):
        copy(ours.mlp[2 * i].weight / (unit if i == 0 else 1), layer.weight)
        copy(ours.mlp[2 * i].bias, layer.bias)
    for length in LENGTHS:
        bias = theirs(length, length)
        close(term(ours, *streams(heads, length))[0], bias.mT)
        assert length == 1 or (bias - bias.mT).abs().max() > 0.01


@proves("transformers", "shaw_keys")
@pytest.mark.parametrize("furthest", [4, 16])
@pytest.mark.parametrize("heads", HEADS)
def test_shaw_keys(heads: int, furthest: int) -> None:
    ours = build("shaw_keys", heads, max_distance=furthest)
    config = Wav2Vec2BertConfig(
        hidden_size=heads * WIDTH,
        num_attention_heads=heads,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=furthest,
        right_max_position_embeddings=furthest,
    )
    theirs = wav2vec2_bert.Wav2Vec2BertSelfAttention(config)
    copy(ours.keys_table[0], theirs.distance_embedding.weight)
    for length in LENGTHS:
        x, q, k = streams(heads, length)
        close(term(ours, x, q, k), wav2vec2_bert._apply_relative_key_position_encoding(theirs, q, k)[1])


@proves("transformers", "transformer_xl")
@pytest.mark.parametrize("heads", HEADS)
def test_transformer_xl_against_conformer(heads: int) -> None:
    """Their sinusoids are interleaved; ours are all sines, then all cosines. So the columns of W are reordered."""
    ours, dim = build("transformer_xl", heads), heads * WIDTH
    config = Wav2Vec2ConformerConfig(
        hidden_size=dim, num_attention_heads=heads, position_embeddings_type="relative", max_source_positions=64
    )
    theirs = conformer.Wav2Vec2ConformerSelfAttention(config)
    copy(ours.weight[:, torch.arange(dim).view(2, -1).T.flatten()], theirs.linear_pos.weight)
    copy(ours.u, theirs.pos_bias_u)
    copy(ours.v, theirs.pos_bias_v)
    for length in LENGTHS:
        x, q, k = streams(heads, length)
        sinusoids = conformer.Wav2Vec2ConformerRelPositionalEmbedding(config)(x)
        query, bias = conformer._apply_relative_position_encoding(theirs, q, k, sinusoids)
        close(logits(ours, x, q, k), query @ k.mT * WIDTH**-0.5 + bias)


@proves("transformers", "transformer_xl")
@pytest.mark.parametrize("heads", HEADS)
def test_transformer_xl_against_xlnet(heads: int) -> None:
    """Attention weights; their tensors are (N, B, H, d), their W is (D, H, d)."""
    ours, dim = build("transformer_xl", heads), heads * WIDTH
    config = XLNetConfig(d_model=dim, n_head=heads, d_inner=8, n_layer=1, vocab_size=5, dropout=0.0, attn_type="bi")
    model: Any = XLNetModel(config).eval()
    theirs = model.layer[0].rel_attn
    copy(ours.u, theirs.r_w_bias)
    copy(ours.v, theirs.r_r_bias)
    W = ours.weight.T.unflatten(-1, (heads, WIDTH))
    for length in LENGTHS:
        x, q, k = streams(heads, length)
        R = torch.einsum("ibh,hnd->ibnd", model.relative_positional_encoding(length, length, bsz=2), W)
        query, key = q.permute(2, 0, 1, 3), k.permute(2, 0, 1, 3)
        _, weights = theirs.rel_attn_core(query, key, key, R, output_attentions=True)
        close(logits(ours, x, q, k).softmax(-1), weights.permute(2, 3, 0, 1))


@proves("transformers", "deberta")
@pytest.mark.parametrize("furthest", [1, 6, 40])
@pytest.mark.parametrize("heads", HEADS)
def test_deberta(heads: int, furthest: int) -> None:
    """Attention weights of their module, and the added term. The biases of their linear layers are 0; we have none."""
    ours = build("deberta", heads, max_distance=furthest)
    config = DebertaConfig(
        hidden_size=heads * WIDTH,
        num_attention_heads=heads,
        relative_attention=True,
        max_relative_positions=furthest,
        pos_att_type=["c2p", "p2c"],
    )
    theirs = DisentangledSelfAttention(config).eval()
    nn.init.normal_(theirs.in_proj.weight, std=0.5)
    nn.init.zeros_(theirs.pos_q_proj.bias)
    copy(ours.to_key.weight, theirs.pos_proj.weight)
    copy(ours.to_query.weight, theirs.pos_q_proj.weight)
    with torch.no_grad():
        for length in LENGTHS:
            x, _, _ = streams(heads, length)
            q, k, _ = split(theirs.in_proj(x), heads).chunk(3, dim=-1)
            at, mask = build_relative_position(x, x), torch.ones(2, 1, length, length)
            _, weights = theirs(x, mask, True, relative_pos=at, rel_embeddings=ours.table)
            close(logits(ours, x, q, k).softmax(-1), weights)
            added = theirs.disentangled_att_bias(q * (3 * WIDTH) ** -0.5, k, at, ours.table, 3)
            close(term(ours, x, q, k), torch.as_tensor(added))


@proves("x-transformers", "cope")
@pytest.mark.parametrize("largest", [2, 6, 64])
@pytest.mark.parametrize("heads", HEADS)
def test_cope(heads: int, largest: int) -> None:
    """Their module gets the scaled and masked logits, and q without scaling."""
    ours, theirs = build("cope", heads, True, max_count=largest), x_transformers.CoPE(WIDTH, heads, largest)
    copy(ours.table, theirs.pos_emb)
    for length in LENGTHS:
        x, q, k = streams(heads, length)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        masked = (q @ k.mT * WIDTH**-0.5).masked_fill(future, -torch.finfo(torch.float32).max)
        close(term(ours, x, q, k).tril(), theirs(q, masked).tril())


@proves("x-transformers", "forgetting")
@pytest.mark.parametrize("heads", HEADS)
def test_forgetting(heads: int) -> None:
    """Biases below the diagonal agree, with their initial value of 5 and with random weights."""
    theirs, ours = x_transformers.DataDependentAlibi(heads * WIDTH, heads), build("forgetting", heads, True, start=5.0)
    gate: Any = theirs.to_forget_gates[0]
    ours.reset_parameters()
    close(ours.gate.bias, gate.bias)
    for _ in range(2):
        copy(ours.gate.weight, gate.weight)
        copy(ours.gate.bias, gate.bias)
        for length in LENGTHS:
            x, q, k = streams(heads, length)
            close(term(ours, x, q, k).tril(), theirs(x).tril())
        loud(ours)
