"""Mixtures over layers, over heads and sums equal encoders written by hand; wrong mixtures raise ConfigError."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from posenc.attention.kernels.choose import OPTIONS
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.config.mixtures import is_mixture, name_of, node
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_heads import ByHeads
from posenc.encodings.by_layers import ByLayers
from posenc.encodings.learned_absolute import LearnedAbsolutePositionalEncoding
from posenc.encodings.learned_relative import LearnedRelativePositionalBias
from posenc.encodings.pope import PolarPositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.rope_yarn import YarnRotaryPositionalEncoding
from posenc.encodings.sinusoidal import SinusoidalPositionalEncoding
from posenc.encodings.sums import Sum
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves

D, H, N, d = 16, 4, 9, 4
RNOPE = ["rope", "rope", "rope", "none"]


def model(encoding: PositionalEncoding, layers: int = 4, **options: Any) -> Encoder:
    """A small encoder in float64 whose weights are not zero."""
    torch.manual_seed(0)
    encoder = Encoder(encoding, 11, 3, dim=D, num_heads=H, num_layers=layers, readout="per_token", **options).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


def turned(x: Tensor, base: float = 1e4) -> Tensor:
    """RoPE by complex numbers, on (..., N, d)."""
    rate = base ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rate
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def parts(block: nn.Module) -> tuple[Any, Any]:
    """Attention and MLP of a block."""
    attention, mlp = block.branches  # pyright: ignore[reportGeneralTypeIssues]
    return attention, mlp


Turn = Callable[[int, Tensor], Tensor]
Logits = Callable[[int], Tensor | float]


def by_hand(encoder: Encoder, tokens: Tensor, turn: Turn, added: Logits, causal: bool) -> Tensor:
    """The encoder written out; `turn` rotates q and k of a layer, and `added` is added to its logits."""
    x = encoder.tokens.weight[tokens]
    for layer, block in enumerate(encoder.blocks):
        attention, mlp = parts(block)
        y = F.layer_norm(x, (D,), block.norms[0].weight, block.norms[0].bias)  # pyright: ignore
        q, k, v = (y @ attention.qkv.weight.T).unflatten(-1, (3, H, d)).permute(2, 0, 3, 1, 4)
        logits = turn(layer, q) @ turn(layer, k).mT / d**0.5 + added(layer)
        if causal:
            logits = logits.masked_fill(torch.ones(N, N).triu(1).bool(), float("-inf"))
        x = x + (logits.softmax(-1) @ v).transpose(1, 2).flatten(2) @ attention.out.weight.T
        y = F.layer_norm(x, (D,), block.norms[1].weight, block.norms[1].bias)  # pyright: ignore
        x = x + F.gelu(y @ mlp[0].weight.T + mlp[0].bias) @ mlp[2].weight.T + mlp[2].bias
    x = F.layer_norm(x, (D,), encoder.norm.weight, encoder.norm.bias)  # pyright: ignore
    return x @ encoder.head.weight.T + encoder.head.bias


def agree(encoder: Encoder, attention: str, causal: bool, turn: Turn, added: Logits) -> None:
    """The encoder and `by_hand` agree to 1e-6: outputs and, if the implementation can train here, gradients."""
    tokens, probe = torch.randint(11, (3, N)), torch.randn(3, N, 3, dtype=torch.float64)
    expected = by_hand(encoder, tokens, turn, added, causal)
    if attention == "flex":
        with torch.no_grad():
            torch.testing.assert_close(encoder(tokens), expected.detach(), atol=1e-6, rtol=1e-6)
        return
    found = encoder(tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    weights = list(encoder.parameters())
    ours, theirs = (torch.autograd.grad((out * probe).sum(), weights) for out in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", OPTIONS)
def test_rope_in_three_layers_of_four_is_as_by_hand(attention: str, causal: bool) -> None:
    encoding = ByLayers({"rope": RotaryPositionalEncoding(D, H), "none": PositionalEncoding()}, RNOPE)
    encoder = model(encoding, attention=attention, causal=causal)
    agree(encoder, attention, causal, lambda layer, x: x if layer == 3 else turned(x), lambda layer: 0.0)


def test_bases_windows_and_gains_by_layer() -> None:
    parts = {"near": RotaryPositionalEncoding(D, H, base=100), "far": RotaryPositionalEncoding(D, H, base=1e6)}
    encoder = model(ByLayers(parts, ["near", "far"]), window=[2, None], logit_gain=[1.0, 3.0])
    distance = torch.arange(N) - torch.arange(N)[:, None]
    near = torch.zeros(N, N, dtype=torch.float64).masked_fill(distance.abs() > 2, float("-inf"))
    bases, gains = (100, 1e6), (1.0, 3.0)
    agree(
        encoder, "auto", False,
        lambda layer, x: turned(x, bases[layer % 2]) * gains[layer % 2] ** 0.5, lambda layer: (near, 0.0)[layer % 2],
    )  # fmt: skip
    assert encoder.windows == (2, None, 2, None)
    assert encoder.window is None


def learned(own: bool | None = None) -> ByLayers:
    parts = {"table": LearnedRelativePositionalBias(H, 8), "none": PositionalEncoding()}
    return ByLayers(parts, ["table", "none"], {"table": own})


@pytest.mark.parametrize(
    ("own", "every", "tables"), [(None, None, 1), (True, None, 2), (None, True, 2), (True, False, 1), (False, None, 1)]
)
def test_layers_of_a_part_share_its_weights_or_not_as_asked(own: bool | None, every: bool | None, tables: int) -> None:
    encoder = model(learned(own), encoding_per_layer=every)
    assert sum(p.numel() for p in encoder.encodings.parameters()) == tables * H * 17
    assert (encoder.encoding(0) is encoder.encoding(2)) == (tables == 1)
    encoder(torch.randint(11, (2, N))).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.encodings.parameters())


def test_an_embedding_enters_once_before_the_first_layer_that_has_it() -> None:
    sinusoidal = SinusoidalPositionalEncoding(D)
    encoder = model(ByLayers({"none": PositionalEncoding(), "sinusoidal": sinusoidal}, ["none", "sinusoidal"]))
    assert encoder.embeds == (True, True, False, False)  # none's own does nothing
    tokens, positions = torch.randint(11, (2, N)), Positions.arange(N)
    x = encoder.tokens(tokens)
    for layer, block in enumerate(encoder.blocks):
        x = sinusoidal.embed(x, positions) if layer == 1 else x
        x = block(x, PositionalEncoding(), positions)
    torch.testing.assert_close(encoder.hidden(tokens), x)


def test_patterns_that_do_not_fit_are_refused() -> None:
    rope, none = RotaryPositionalEncoding(D, H), PositionalEncoding()
    with pytest.raises(ConfigError, match=r"4 layers and does not fill 6 .*multiple of 4, or give 6"):
        model(ByLayers({"rope": rope, "none": none}, RNOPE), layers=6)
    with pytest.raises(ConfigError, match=r"layers names nope, but the parts are rope, none"):
        ByLayers({"rope": rope, "none": none}, ["rope", "nope"])
    with pytest.raises(ConfigError, match=r"no layer has the part none"):
        ByLayers({"rope": rope, "none": none}, ["rope"])
    with pytest.raises(ConfigError, match=r"rope for num_heads=4 and alibi for num_heads=2"):
        ByLayers({"rope": rope, "alibi": SymmetricALiBi(2)}, ["rope", "alibi"])
    with pytest.raises(ConfigError, match=r"window is a pattern of 3 layers"):
        model(none, window=[1, 2, 3])
    table = {"rope": rope, "table": LearnedAbsolutePositionalEncoding(D, N)}
    once = ByLayers(table, ["rope", "table"], {"table": True})
    with pytest.raises(ConfigError, match=r"copies for other layers would never learn"):
        model(once)
    with pytest.raises(ConfigError, match=r"mixture over layers, which must be the outermost"):
        ByLayers({"inner": once}, ["inner"])


def test_a_word_is_a_file_of_parts_whose_options_are_set_as_usual(composed: Callable[..., DictConfig]) -> None:
    config = composed("encoding=rope-rope@far-none", "encoding.parts.far.base=1e6", "encoding.own.rope=true")
    found = OmegaConf.to_container(config.encoding, resolve=True)
    rope = OmegaConf.to_container(composed("encoding=rope").encoding, resolve=True)
    none = OmegaConf.to_container(composed("encoding=none").encoding, resolve=True)
    assert isinstance(rope, dict)
    assert found == {
        "_target_": "posenc.encodings.by_layers.ByLayers", "layers": ["rope", "far", "none"],
        "parts": {"rope": rope, "far": rope | {"base": 1e6}, "none": none},
        "own": {"rope": True, "far": None, "none": None},
    }  # fmt: skip
    assert isinstance(make(config, "encoding"), ByLayers)


def test_a_new_name_alone_is_the_encoding_itself(composed: Callable[..., DictConfig]) -> None:
    named = composed("encoding=rope@far", "encoding.base=1e6").encoding
    assert named == composed("encoding=rope", "encoding.base=1e6").encoding


def test_words() -> None:
    assert all(map(is_mixture, ("rope-none", "rope+forgetting:none-t5@x")))
    assert not any(map(is_mixture, ("rope", "rope-", "-rope", "rope--none", "a/b-c")))
    assert node("a-a-b")["layers"] == ["a", "a", "b"]
    assert name_of("a+b:c-d") == "a_and_b_or_c_then_d"
    with pytest.raises(ConfigError, match=r"two parts x; name one of them anew"):
        node("a@x-b@x")


# Heads


def half(part: PositionalEncoding) -> ByHeads:
    """The part on the first half of the heads, and no encoding on the others."""
    return ByHeads({"part": part, "none": PositionalEncoding()}, H, ["part", "none"])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", OPTIONS)
def test_rope_on_half_of_the_heads_is_as_by_brute_force(attention: str, causal: bool) -> None:
    encoder = model(half(RotaryPositionalEncoding(D // 2, H // 2)), 2, attention=attention, causal=causal)
    turn: Turn = lambda layer, x: torch.cat((turned(x[:, :2]), x[:, 2:]), 1)  # noqa: E731
    agree(encoder, attention, causal, turn, lambda layer: 0.0)


def distances() -> Tensor:
    return (torch.arange(N) - torch.arange(N)[:, None]).double()


@proves(FORMULA, "nape")
@pytest.mark.parametrize("attention", OPTIONS)
def test_nape_has_slopes_of_one_over_h_on_half_of_the_heads(build_encoding: Any, attention: str) -> None:
    encoding = build_encoding("nape", f"model.dim={D}", f"model.num_heads={H}")
    slopes = torch.tensor([1, 1 / 2, 0, 0], dtype=torch.float64)[:, None, None]
    encoder = model(encoding, 2, attention=attention, causal=True)
    agree(encoder, attention, True, lambda layer, x: x, lambda layer: slopes * -distances().abs())


@proves(FORMULA, "rope_forgetting")
@pytest.mark.parametrize("attention", OPTIONS)
def test_rope_and_a_forgetting_gate_are_both_there(build_encoding: Any, attention: str) -> None:
    encoding = build_encoding("rope_forgetting", "model.causal=true", f"model.dim={D}", f"model.num_heads={H}")
    encoder = model(encoding, 1, attention=attention, causal=True)
    gate: Any = encoder.encoding(0).get_submodule("parts.forgetting.gate")

    def added(layer: int) -> Tensor:
        norm: Any = encoder.blocks[0].norms[0]  # pyright: ignore[reportIndexIssue]
        x = F.layer_norm(encoder.tokens.weight[seen[0]], (D,), norm.weight, norm.bias)
        forget = (x @ gate.weight.T + gate.bias).sigmoid().log().transpose(1, 2)  # (B, H, N)
        rows = [[forget[..., n + 1 : m + 1].sum(-1) for n in range(N)] for m in range(N)]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    seen: list[Tensor] = []
    encoder.tokens.register_forward_pre_hook(lambda module, given: seen.insert(0, given[0]))
    torch.manual_seed(1)
    with torch.no_grad():
        encoder(torch.randint(11, (3, N)))
    torch.manual_seed(1)
    agree(encoder, attention, True, lambda layer, x: turned(x), added)


@pytest.mark.parametrize("name", ["rope_yarn:none", "rope_yarn+t5", "rerope+t5", "fope:none", "rope_llama3:none"])
def test_a_part_learns_the_length_that_was_trained_as_a_model_does(build_encoding: Any, name: str) -> None:
    """The mixture is built before the length is known; then it equals a mixture that was given the length."""
    part = name.replace("+", ":").split(":")[0]
    words = ("dataset.length=24", "model.causal=true", f"model.dim={4 * D}", f"model.num_heads={H}")
    told, given = (
        build_encoding(name, *words, *more) for more in ((), (f"++encoding.parts.{part}.original_length=24",))
    )
    given.load_state_dict(told.state_dict())
    q, x, positions = torch.randn(1, H, 30, 4 * d), torch.randn(1, 30, 4 * D), Positions.arange(30)
    for found, expected in zip(*(each.rotate(x, q, q, positions) for each in (told, given)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    found, expected = (each.bias(x, q, q, positions) for each in (told, given))
    if expected is not None:
        torch.testing.assert_close(found.matrix(positions), expected.matrix(positions), rtol=0, atol=0)


def test_a_part_that_does_not_fit_is_refused_before_the_length_is_known() -> None:
    with pytest.raises(ConfigError, match="widened"):
        Sum({"pope": PolarPositionalEncoding(D, H), "yarn": YarnRotaryPositionalEncoding(D, H)})
