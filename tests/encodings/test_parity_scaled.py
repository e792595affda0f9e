"""Frequencies of scaled RoPE agree with transformers to 1e-6, also if only a part of each head is rotated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from transformers import DeepseekV3Config, GPTNeoXConfig, Qwen2VLTextConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek
from transformers.models.gpt_neox import modeling_gpt_neox as gpt_neox
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl

from posenc.positions.positions import Positions
from tests.encodings.proofs import proves
from tests.encodings.test_parity_rotary import (
    THEIR_NAMES,
    agree,
    at,
    build,
    close,
    logits_agree,
    queries_and_keys,
    x_transformers,
)

HEADS, WIDTH, L = 2, 32, 16
FORMS: list[tuple[str, str, dict[str, Any]]] = [
    ("rope_linear", "linear", {"factor": 3.0}),
    ("rope_dynamic_ntk", "dynamic", {"factor": 2.0, "original_length": L}),
    ("rope_yarn", "yarn", {"factor": 4.0, "original_length": L}),
    ("rope_yarn", "yarn", {"factor": 40.0, "original_length": 4096, "mscale": 1.0, "mscale_all_dim": 0.5}),
    ("rope_yarn", "yarn", {"factor": 32.0, "original_length": 4096, "truncate": False}),
    ("rope_llama3", "llama3", {"factor": 8.0, "original_length": L, "low_turns": 1.0, "high_turns": 4.0}),
    ("rope_longrope", "longrope", {"factor": 4.0, "original_length": L}),
    ("rope_longrope", "longrope", {"factor": 4.0, "original_length": L, "attention_factor": 1.2}),
]


@proves("transformers", "rope_longrope")
@pytest.mark.parametrize("length", [9, 40])
@pytest.mark.parametrize("rotated", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("base", [10_000.0, 500.0])
@pytest.mark.parametrize(("name", "kind", "options"), FORMS)
def test_scaled_and_partly_turned(
    name: str, kind: str, options: dict[str, Any], base: float, rotated: float, length: int
) -> None:
    """For lengths up to L and above. Logits are those of GPT-NeoX, which scales only the rotated part by the factor."""
    options = {**options}
    if kind == "longrope":
        draw = np.random.default_rng(0).uniform(1, 5, (2, int(WIDTH * rotated) // 2))
        options |= {"short_factor": draw[0].tolist(), "long_factor": draw[1].tolist()}
    ours, positions = (
        build(name, HEADS, WIDTH, base=base, layout="half_split", rotated=rotated, **options),
        at(length, 0),
    )
    rope = {THEIR_NAMES.get(key, key): value for key, value in options.items()}
    trained = rope.pop("original_max_position_embeddings") if kind == "dynamic" else 64
    config = GPTNeoXConfig(hidden_size=HEADS * WIDTH, num_attention_heads=HEADS, max_position_embeddings=trained)
    config.rope_parameters = {"rope_type": kind, "rope_theta": base, "partial_rotary_factor": rotated, **rope}
    theirs, f = ROPE_INIT_FUNCTIONS[kind](config, seq_len=length)
    torch.testing.assert_close(ours.rates(positions, torch.float64).float(), theirs, atol=1e-6, rtol=1e-6)
    assert ours.temperature == pytest.approx(f**2, rel=1e-6)
    q, k = queries_and_keys(HEADS, length, WIDTH)
    cos, sin = gpt_neox.GPTNeoXRotaryEmbedding(config)(q, positions.ids)
    logits_agree(ours.rotate(q, q, k, positions), gpt_neox.apply_rotary_pos_emb(q, k, cos, sin), WIDTH)


def test_longrope_asks_each_sequence_and_begins_as_ntk() -> None:
    ours = build("rope_longrope", HEADS, WIDTH, factor=4.0, original_length=L)
    ids = torch.stack((torch.arange(8), torch.arange(8) * 3))
    short, long = ours.rates(Positions(ids, span=22), torch.float64)
    torch.testing.assert_close(short, build("rope", HEADS, WIDTH).rates(at(8, 0), torch.float64))
    torch.testing.assert_close(long, build("rope_ntk", HEADS, WIDTH, factor=4.0).rates(at(8, 0), torch.float64))


def test_xpos_decays_where_it_turns() -> None:
    ours = build("xpos", HEADS, WIDTH, rotated=0.5)
    theirs = x_transformers.RotaryEmbedding(WIDTH // 2, use_xpos=True, scale_base=512)
    q, k = queries_and_keys(HEADS, 17, WIDTH)
    freqs, decay = theirs(torch.arange(17))
    assert isinstance(decay, torch.Tensor)
    a = x_transformers.apply_rotary_pos_emb(q, freqs, decay)  # pyright: ignore[reportArgumentType]
    b = x_transformers.apply_rotary_pos_emb(k, freqs, decay**-1)  # pyright: ignore[reportArgumentType]
    logits_agree(ours.rotate(q, q, k, at(17, 0)), (a, b), WIDTH)


@pytest.mark.parametrize(("words", "columns"), [(("dataset=grid_crossing", "dataset.columns=5"), 5), ((), 8)])
def test_the_columns_are_those_of_the_grid_where_a_task_has_one(
    composed: Callable[..., DictConfig], words: tuple[str, ...], columns: int
) -> None:
    assert composed("encoding=rope_axial", *words).encoding.columns == columns


@proves("rotary-embedding-torch", "rope_axial")
@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (4, 3), (3, 8)])
def test_axial(rows: int, columns: int) -> None:
    ours = build("rope_axial", HEADS, WIDTH, columns=columns)
    theirs = RotaryEmbedding(WIDTH // 2, freqs_for="lang").get_axial_freqs(rows, columns).flatten(0, 1)
    q, k = queries_and_keys(HEADS, rows * columns, WIDTH)
    turned = apply_rotary_emb(theirs, q), apply_rotary_emb(theirs, k)
    agree(ours, q, k, at(rows * columns, 0), turned)


@proves("transformers", "rope_multimodal")
@pytest.mark.parametrize(("frames", "rows", "columns"), [(1, 4, 3), (3, 2, 5), (2, 1, 7)])
@pytest.mark.parametrize("sections", [[4, 6, 6], [8, 0, 8], [1, 3, 12]])
def test_multimodal_against_qwen2_vl(frames: int, rows: int, columns: int, sections: list[int]) -> None:
    """For an image or a video, at the places on three axes that their model gives it; [4, 6, 6] is our default."""
    ours = build(
        "rope_multimodal", HEADS, WIDTH, columns=columns, rows=None if frames == 1 else rows,
        sections=None if sections == [4, 6, 6] else sections,
    )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections}
    config = Qwen2VLTextConfig(hidden_size=HEADS * WIDTH, num_attention_heads=HEADS, rope_parameters=rope)
    axes = torch.meshgrid(*(torch.arange(size) for size in (frames, rows, columns)), indexing="ij")
    places = torch.stack([axis.flatten() for axis in axes])[:, None]
    q, k = queries_and_keys(HEADS, frames * rows * columns, WIDTH)
    turns = qwen2_vl.Qwen2VLRotaryEmbedding(config)  # pyright: ignore[reportArgumentType] # of a text, as in their model
    cos, sin = turns(q, places)
    agree(ours, q, k, at(q.shape[2], 0), qwen2_vl.apply_rotary_pos_emb(q, k, cos, sin))


@proves("transformers", "rope_decoupled")
@pytest.mark.parametrize(("heads", "rotated"), [(2, 0.5), (1, 1.0)])
def test_decoupled_against_deepseek(heads: int, rotated: float) -> None:
    """Logits of heads of d + r numbers agree, with the same weights and the same queries and keys of content."""
    sizes = DeepseekV3Config()
    assert sizes.qk_rope_head_dim / sizes.qk_nope_head_dim == 0.5  # the default
    ours, positions = build("rope_decoupled", heads, WIDTH, rotated=rotated), at(17, 3)
    x, (q, k) = torch.randn(2, 17, heads * WIDTH), queries_and_keys(heads, 17, WIDTH)
    where = ours.queries(x).view(2, 17, heads, -1).transpose(1, 2)
    r = where.shape[-1]
    angle = positions.ids[..., None] * 10_000.0 ** (-torch.arange(0, r, 2) / r)
    cos, sin = (torch.cat((y, y), -1) for y in (angle.cos(), angle.sin()))
    where, shared = deepseek.apply_rotary_pos_emb_interleave(where, ours.key(x)[:, None], cos, sin)
    theirs = (torch.cat((q, where), -1), torch.cat((k, shared.expand_as(where)), -1))
    a, b = ours.rotate(x, q, k, positions)
    close(a @ b.mT * WIDTH**-0.5, theirs[0] @ theirs[1].mT * (WIDTH + r) ** -0.5)
