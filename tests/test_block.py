"""Options of the block: norms and where they stand, gates, grouped keys and values, queries and keys of one length."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from posenc.attention.layer import SelfAttention
from posenc.checks import ConfigError
from posenc.diagnostics import gradient_norms
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.model.initialise import INITIALISATIONS
from posenc.positions.positions import Positions
from posenc.streams import initialise
from posenc.training.precision import LinearBfloat16

D, H = 16, 4
TOKENS = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))
PLACES = Positions.arange(9)


def encoder(**options: Any) -> Encoder:
    given: dict[str, Any] = {"encoding": SymmetricALiBi(H), "dim": D, "num_heads": H, "num_layers": 2} | options
    model = Encoder(vocab_size=11, num_outputs=3, **given)
    initialise(model, 0)
    return model.double()


@pytest.mark.parametrize("norm", ["peri", "reordered"])
def test_where_norms_stand(norm: str) -> None:
    model = encoder(norm=norm, rms_norm=True, num_layers=1)
    block: Any = model.blocks[0]
    expected = model.tokens(TOKENS)
    for index, branch in enumerate(block.branches):
        read = block.norms[index](expected) if norm == "peri" else expected
        y = branch(read) if index else branch(read, model.encoding(0), PLACES)
        after = block.norms_after if norm == "peri" else block.norms
        expected = expected + y * (y.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * after[index].weight
    torch.testing.assert_close(model.hidden(TOKENS), expected)
    last = expected * (expected.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    torch.testing.assert_close(model(TOKENS), model.head(last.mean(1)))


@pytest.mark.parametrize(("gate", "function"), [("silu", F.silu), ("gelu", lambda x: F.gelu(x, approximate="tanh"))])
def test_a_gated_mlp(gate: str, function: Any) -> None:
    mlp: Any = encoder(mlp_gate=gate, mlp_ratio=2).blocks[0].branches[1]  # pyright: ignore
    x = torch.randn(5, D, dtype=torch.float64)
    gates, values = (x @ mlp[0].weight.T + mlp[0].bias).chunk(2, -1)
    torch.testing.assert_close(mlp(x), (function(gates) * values) @ mlp[2].weight.T + mlp[2].bias)
    assert mlp[2].weight.shape == (D, 2 * D)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_keys_and_values_are_those_of_heads_that_share_them(groups: int) -> None:
    few, all_ = SelfAttention(D, H, num_kv_heads=groups).double(), SelfAttention(D, H).double()
    q, k, v = few.qkv.weight.detach().split(few.sizes)
    own = [part.unflatten(0, (groups, -1)).repeat_interleave(H // groups, 0).flatten(0, 1) for part in (k, v)]
    all_.load_state_dict({"qkv.weight": torch.cat((q, *own)), "out.weight": few.out.weight.detach()})
    x, encoding = torch.randn(2, 9, D, dtype=torch.float64), SymmetricALiBi(H)
    torch.testing.assert_close(few(x, encoding, PLACES), all_(x, encoding, PLACES))
    assert few.qkv.weight.shape == (D + 2 * groups * D // H, D)


@pytest.mark.parametrize("kind", ["l2", "rms"])
def test_queries_and_keys_of_one_length(kind: str) -> None:
    layer, x = SelfAttention(D, H, qk_norm=kind), 50 * torch.randn(2, 9, D)
    q, k, _ = layer.queries_keys_values(x, PositionalEncoding(), PLACES)
    for each in (q, k):
        torch.testing.assert_close(each.pow(2).mean(-1), torch.ones(2, H, 9))
    assert len([*layer.parameters()]) == (2 if kind == "l2" else 4)
    scaled = layer(3 * x, PositionalEncoding(), PLACES)
    torch.testing.assert_close(scaled, 3 * layer(x, PositionalEncoding(), PLACES), atol=1e-3, rtol=1e-3)


def test_qk_norm_by_layer() -> None:
    model = encoder(qk_norm=["rms", None])
    assert [block.branches[0].qk_norms is None for block in model.blocks] == [False, True]  # pyright: ignore


def test_defaults_are_the_encoder_of_before() -> None:
    plain = encoder()
    null = dict.fromkeys(("mlp_gate", "num_kv_heads", "qk_norm", "soft_cap", "logit_scale"))
    model = encoder(rms_norm=False, sinks=False, **null)
    assert torch.equal(model(TOKENS), plain(TOKENS))
    names = {name.removeprefix("blocks.0.") for name in plain.state_dict() if name.startswith("blocks.0.")}
    assert names == {
        "branches.0.qkv.weight", "branches.0.out.weight", "branches.1.0.weight", "branches.1.0.bias",
        "branches.1.2.weight", "branches.1.2.bias", "norms.0.weight", "norms.0.bias", "norms.1.weight", "norms.1.bias",
    }  # fmt: skip


MODERN: dict[str, Any] = {
    "norm": "peri", "rms_norm": True, "mlp_gate": "silu", "num_kv_heads": 2, "qk_norm": "rms", "sinks": True,
    "soft_cap": 20.0, "causal": True, "logit_scale": "scalable_softmax",
}  # fmt: skip


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_all_of_it_at_once_is_initialised_and_measured(initialisation: str) -> None:
    model = encoder(encoding=PositionalEncoding(), **MODERN)
    model.trained_at(9, 9)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    INITIALISATIONS[initialisation](model)
    ratio = model.blocks[0].branches[0].qkv.weight / before["blocks.0.branches.0.qkv.weight"]  # pyright: ignore
    by_part = [part.unique().round(decimals=6).unique() for part in ratio.detach().split((D, D // 2, D // 2))]
    fan_outs = {"xavier": [(2 * D / (D + rows)) ** 0.5 for rows in (D, D // 2, D // 2)], "small": [0.02 * D**0.5] * 3}
    for found, value in zip(by_part, fan_outs.get(initialisation, [1.0] * 3), strict=True):
        torch.testing.assert_close(found, torch.tensor([value]).double(), atol=1e-5, rtol=1e-5)
    model(TOKENS).pow(2).sum().backward()
    assert all(value > 0 for block in gradient_norms(model) for value in block.values())
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("encoding", [PositionalEncoding(), SymmetricALiBi(H)])
def test_all_of_it_at_once_in_bfloat16_layers(encoding: PositionalEncoding) -> None:
    model = encoder(encoding=encoding, **MODERN).float()
    model.trained_at(9, 9)
    exact = model(TOKENS)
    LinearBfloat16().convert_module(model)
    rounded = model(TOKENS)
    rounded.sum().backward()
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rms_norm": 1}, "rms_norm must be true or false, got 1"),
        ({"norm": "perri"}, "norm=perri is not one of pre, post, none, peri, reordered. Did you mean"),
        ({"mlp_gate": "swiglu"}, "mlp_gate=swiglu is not one of silu, gelu"),
        ({"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3; set model.num_kv_heads to"),
        ({"num_kv_heads": 0}, "num_kv_heads must be a whole number ≥ 1, got 0"),
        ({"qk_norm": "rmsnorm"}, "qk_norm=rmsnorm is not one of l2, rms"),
        ({"qk_norm": ["l2", None, None]}, "model.qk_norm is a pattern of 3 layers and does not fill 2"),
        ({"sinks": "yes"}, "sinks must be true or false, got 'yes'"),
        ({"soft_cap": 0}, "soft_cap must be a number > 0, got 0"),
    ],
)
def test_mistakes_are_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        encoder(**options)
    assert message in str(error.value)
