"""Encodings that are added to the embeddings, or rotate q and k, agree with other implementations to 1e-5."""

import math
import warnings
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PoPE_pytorch import PoPE
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn
from transformers import BertConfig, GPTNeoXConfig, LlamaConfig
from transformers.models.bert.modeling_bert import BertEmbeddings
from transformers.models.gpt_neox import modeling_gpt_neox as gpt_neox
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.speecht5.modeling_speecht5 import SpeechT5ScaledPositionalEncoding

from posenc.positions.positions import Positions
from tests.conftest import CONFIGS
from tests.encodings.proofs import proves

with warnings.catch_warnings():
    # DeprecationWarning: `torch.jit.script` is deprecated (x_transformers/attend.py, on import)
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    from x_transformers import x_transformers

PLACES = [(1, 0), (2, 9), (7, 0), (16, 0), (17, 0), (33, 3)]  # (length, first position)
SIZES = [(1, 8), (2, 16), (4, 12), (6, 8)]  # (number of heads, width of a head)
BASES = [10_000.0, 500.0]


def build(name: str, heads: int, width: int, **options: Any) -> Any:
    """The encoding of configs/encoding/NAME.yaml with these options, without composing the other configs."""
    model = {"dim": heads * width, "num_heads": heads, "token_rms": 1.0}
    yaml = OmegaConf.merge(OmegaConf.load(CONFIGS / "encoding" / f"{name}.yaml"), options)
    return instantiate(OmegaConf.create({"model": model, "encoding": yaml}).encoding, _convert_="all")


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def at(length: int, offset: int) -> Positions:
    return Positions.arange(length).shifted(offset)


def queries_and_keys(heads: int, length: int, width: int) -> tuple[Tensor, Tensor]:
    q, k = torch.randn(2, 2, heads, length, width)
    return q, k


def logits_agree(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], width: int) -> None:
    (a, b), (c, d) = ours, theirs
    close(a @ b.mT * width**-0.5, c @ d.mT * width**-0.5)


def agree(encoding: Any, q: Tensor, k: Tensor, positions: Positions, theirs: tuple[Tensor, Tensor]) -> None:
    """Rotated queries agree, rotated keys agree, and their logits agree."""
    ours = encoding.rotate(q, q, k, positions)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other)
    logits_agree(ours, theirs, q.shape[-1])


@proves("transformers", "sinusoidal")
@pytest.mark.parametrize("rms", [math.sqrt(0.5), 0.3])
@pytest.mark.parametrize("dim", [2, 16, 64])
def test_sinusoidal_against_speecht5(dim: int, rms: float) -> None:
    """Their learned gain alpha is our rms·√2."""
    ours, theirs = build("sinusoidal", 1, dim, rms=rms), SpeechT5ScaledPositionalEncoding(0.0, dim, max_len=64)
    nn.init.constant_(theirs.alpha, rms * math.sqrt(2))
    for length, offset in PLACES:
        x = torch.randn(2, offset + length, dim)
        close(ours.embed(x[:, offset:], at(length, offset)), theirs(x)[:, offset:])


@proves("transformers", "sinusoidal_half")
@pytest.mark.parametrize("dim", [2, 16, 64])
def test_sinusoidal_half_against_marian(dim: int) -> None:
    ours, theirs = build("sinusoidal_half", 1, dim, rms="raw"), MarianSinusoidalPositionalEmbedding(64, dim)
    theirs.weight.data.copy_(theirs.create_weight())
    for length, offset in PLACES:
        x = torch.randn(2, length, dim)
        close(ours.embed(x, at(length, offset)), x + theirs(x.shape[:2], cache_length=offset))


@proves("x-transformers", "sinusoidal_half")
@pytest.mark.parametrize("base", BASES)
def test_sinusoidal_half_against_x_transformers(base: float) -> None:
    """Their learned gain, 1/√D at the start, is our rms·√2."""
    theirs = x_transformers.ScaledSinusoidalEmbedding(16, theta=int(base))
    rms = theirs.scale.item() / math.sqrt(2)
    ours = build("sinusoidal_half", 1, 16, rms=rms, base=base)
    for length, offset in PLACES:
        x = torch.randn(2, length, 16)
        close(ours.embed(x, at(length, offset)), x + theirs(x, offset=offset))


@proves("x-transformers", "learned_absolute")
def test_learned_absolute_against_x_transformers() -> None:
    """They divide their table by √D."""
    ours, theirs = build("learned_absolute", 1, 16), x_transformers.AbsolutePositionalEmbedding(16, 512)
    theirs.emb.weight.data.copy_(ours.table * 16**0.5)
    for length, offset in [*PLACES, (512, 0)]:
        x = torch.randn(2, length, 16)
        close(ours.embed(x, at(length, offset)), x + theirs(x, offset=offset))


@proves("transformers", "learned_absolute")
def test_learned_absolute_against_bert() -> None:
    """BERT also adds a token type, and then applies a norm."""
    ours = build("learned_absolute", 1, 16)
    theirs = BertEmbeddings(BertConfig(vocab_size=3, hidden_size=16, num_attention_heads=2)).eval()
    assert theirs.position_embeddings.weight.shape == ours.table.shape
    theirs.position_embeddings.weight.data.copy_(ours.table)
    for length, offset in PLACES:
        x = torch.randn(2, length, 16)
        placed = ours.embed(x, at(length, offset)) + theirs.token_type_embeddings.weight[0]
        close(theirs.LayerNorm(placed), theirs(inputs_embeds=x, cache_length=offset))


@proves("rotary-embedding-torch", "rope")
@pytest.mark.parametrize("rotated", [1.0, 0.5])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_rope(heads: int, width: int, base: float, rotated: float) -> None:
    ours = build("rope", heads, width, base=base, rotated=rotated)
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        turn = RotaryEmbedding(int(width * rotated), theta=int(base)).rotate_queries_or_keys
        agree(ours, q, k, at(length, offset), (turn(q, offset=offset), turn(k, offset=offset)))


@proves("transformers", "rope")
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_rope_against_gptj(heads: int, width: int) -> None:
    """GPT-J's tensors are (B, N, H, d)."""
    ours = build("rope", heads, width)
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        sin, cos = gptj.create_sinusoidal_positions(64, width)[None, offset : offset + length].chunk(2, dim=-1)
        theirs = [gptj.apply_rotary_pos_emb(t.transpose(1, 2), sin, cos).transpose(1, 2) for t in (q, k)]
        agree(ours, q, k, at(length, offset), (theirs[0], theirs[1]))


@proves("transformers", "rope_partial")
@pytest.mark.parametrize("rotated", [0.25, 0.5])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width"), [(1, 8), (2, 16), (6, 8)])
def test_rope_partial(heads: int, width: int, base: float, rotated: float) -> None:
    ours = build("rope_partial", heads, width, base=base, rotated=rotated)
    config = GPTNeoXConfig(hidden_size=heads * width, num_attention_heads=heads)
    config.rope_parameters = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": rotated}
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        cos, sin = gpt_neox.GPTNeoXRotaryEmbedding(config)(q, at(length, offset).ids)
        agree(ours, q, k, at(length, offset), gpt_neox.apply_rotary_pos_emb(q, k, cos, sin))


LLAMA: list[tuple[str, str, dict[str, float]]] = [
    ("rope_half", "default", {}),
    *(("p_rope", "proportional", {"kept": p}) for p in (0.0, 0.25, 0.3, 0.5, 0.75, 1.0)),
    *(("rope_linear", "linear", {"factor": s}) for s in (4.0, 2.5)),
    *(("rope_dynamic_ntk", "dynamic", {"factor": s, "original_length": 16}) for s in (1.0, 4.0)),
    *(
        ("rope_yarn", "yarn", {"factor": s, "original_length": L, "beta_fast": fast, "beta_slow": slow})
        for s, L, fast, slow in ((4.0, 16, 32, 1), (4.0, 128, 32, 1), (8.0, 2048, 32, 1), (2.0, 512, 8, 2))
    ),
    *(
        ("rope_yarn", "yarn", {"factor": 40.0, "original_length": 4096, **more})
        for more in ({"attention_factor": 1.5}, {"mscale": 0.7, "mscale_all_dim": 1.0}, {"truncate": False})
    ),
    *(
        ("rope_llama3", "llama3", {"factor": s, "original_length": L, "low_turns": low, "high_turns": high})
        for s, L, low, high in ((4.0, 16, 1.0, 4.0), (8.0, 128, 1.0, 4.0), (8.0, 8192, 2.0, 16.0))
    ),
]

THEIR_NAMES = {
    "kept": "partial_rotary_factor",
    "original_length": "original_max_position_embeddings",
    "low_turns": "low_freq_factor",
    "high_turns": "high_freq_factor",
}


@proves("transformers", "rope_half", "p_rope", "rope_linear", "rope_dynamic_ntk", "rope_yarn", "rope_llama3")
@pytest.mark.parametrize("layout", ["half_split", "interleaved"])
@pytest.mark.parametrize(("heads", "width", "base"), [(2, 16, 10_000.0), (1, 64, 500_000.0), (6, 8, 500.0)])
@pytest.mark.parametrize(("name", "kind", "options"), LLAMA)
def test_llama(
    name: str, kind: str, options: dict[str, float], heads: int, width: int, base: float, layout: str
) -> None:
    """Frequencies, rotated q and k, and logits agree. Llama's pairs are half-split, so interleaved pairs are reordered.

    If the scaling has an attention factor f, they multiply q and k by f, and we multiply q by f². In both, dynamic
    scaling reads the largest position plus one.
    """
    ours = build(name, heads, width, base=base, layout=layout, **options)
    order = torch.arange(width) if layout == "half_split" else torch.arange(width).view(2, -1).T.flatten()
    rope: dict[str, Any] = {THEIR_NAMES.get(key, key): value for key, value in options.items()}
    trained = rope.pop("original_max_position_embeddings") if kind == "dynamic" else 64
    config = LlamaConfig(hidden_size=heads * width, num_attention_heads=heads, max_position_embeddings=trained)
    config.rope_parameters = {"rope_type": kind, "rope_theta": base, **rope}
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        theirs, positions = llama.LlamaRotaryEmbedding(config), at(length, offset)
        c, d = (t[..., order] for t in llama.apply_rotary_pos_emb(q, k, *theirs(q, positions.ids)))
        torch.testing.assert_close(ours.rates(positions, torch.float32), theirs.inv_freq, atol=0, rtol=1e-5)
        f = theirs.attention_scaling
        assert ours.temperature == pytest.approx(f**2)
        agree(ours, q[..., order], k[..., order], positions, (c * f, d / f))


@proves("rotary-embedding-torch", "rope_ntk", "rope_linear")
@pytest.mark.parametrize("factor", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width", "rotated"), [*((*size, None) for size in SIZES), (2, 16, 0.5)])
def test_rope_stretched(heads: int, width: int, rotated: float | None, base: float, factor: float) -> None:
    for name, option in {"rope_ntk": "theta_rescale_factor", "rope_linear": "interpolate_factor"}.items():
        ours = build(name, heads, width, base=base, factor=factor, rotated=rotated)
        for length, offset in PLACES:
            q, k = queries_and_keys(heads, length, width)
            turned = int(width * (rotated or 1))
            turn = RotaryEmbedding(turned, theta=int(base), **{option: factor}).rotate_queries_or_keys  # type: ignore
            agree(ours, q, k, at(length, offset), (turn(q, offset=offset), turn(k, offset=offset)))


@proves("rotary-embedding-torch", "rope_learned")
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_rope_learned(heads: int, width: int) -> None:
    """The initial frequencies agree; with random frequencies, so do logits and the gradient of the frequencies."""
    ours, theirs = build("rope_learned", heads, width), RotaryEmbedding(width, learned_freq=True)
    close(ours.theta, theirs.freqs)
    nn.init.uniform_(ours.theta)
    theirs.freqs.data.copy_(ours.theta)
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        turned = (theirs.rotate_queries_or_keys(q, offset=offset), theirs.rotate_queries_or_keys(k, offset=offset))
        agree(ours, q, k, at(length, offset), turned)
        a, b = ours.rotate(q, q, k, at(length, offset))
        probe = torch.randn(2, heads, length, length) / length
        (mine,) = torch.autograd.grad((a @ b.mT * probe).sum(), ours.theta)
        (other,) = torch.autograd.grad((turned[0] @ turned[1].mT * probe).sum(), theirs.freqs)
        close(mine, other)


@proves("x-transformers", "xpos")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_xpos_against_x_transformers(heads: int, width: int, base: float) -> None:
    """Logits agree; they count positions from ⌊N/2⌋ and we from the middle of the range, which cancels."""
    for scale in (512, 64):
        ours = build("xpos", heads, width, base=base, scale=scale)
        theirs = x_transformers.RotaryEmbedding(width, use_xpos=True, scale_base=scale, base=int(base))
        for length, offset in PLACES:
            q, k = queries_and_keys(heads, length, width)
            freqs, decay = theirs(torch.arange(offset, offset + length))
            a = x_transformers.apply_rotary_pos_emb(q, freqs, decay)
            b = x_transformers.apply_rotary_pos_emb(k, freqs, decay**-1)
            logits_agree(ours.rotate(q, q, k, at(length, offset)), (a, b), width)


@proves("rotary-embedding-torch", "xpos")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_xpos(heads: int, width: int, base: float) -> None:
    """Logits agree, as above. Their cache keeps the middle of the longest length, so each length has a new module."""
    ours = build("xpos", heads, width, base=base)
    for length, offset in PLACES:
        q, k = queries_and_keys(heads, length, width)
        turned = RotaryEmbedding(width, use_xpos=True, theta=int(base)).rotate_queries_and_keys(q, k)
        logits_agree(ours.rotate(q, q, k, at(length, offset)), turned, width)


@proves("PoPE-pytorch", "pope")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("heads", "width"), SIZES)
def test_pope(heads: int, width: int, base: float) -> None:
    """Logits agree; they interleave cosines and sines. Both clamp phases to [−2π, 0]."""
    ours = build("pope", heads, width, base=base)
    theirs = PoPE(width, heads=heads, theta=int(base))
    for lowest, highest in ((-2 * math.pi, 0.0), (-9.0, 2.0)):
        nn.init.uniform_(theirs.bias, lowest, highest)
        ours.phase.data.copy_(theirs.bias)
        for length, offset in PLACES:
            q, k = queries_and_keys(heads, length, width)
            turned = theirs.apply_pope_to_qk(theirs(length, offset=offset), q, k)
            logits_agree(ours.rotate(q, q, k, at(length, offset)), turned, width)
