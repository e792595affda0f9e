"""A capture records what the encoder computes, changes nothing, and ends; its gradients are those of autograd."""

import pytest
import torch

from posenc.attention.layer import SelfAttention
from posenc.diagnostics import capture, gradient_norms, stream_gradients
from posenc.encodings.sinusoidal import SinusoidalPositionalEncoding
from posenc.model.encoder import Encoder


def encoder(**options: object) -> Encoder:
    options = {"dim": 16, "num_heads": 2, "num_layers": 3} | options
    return Encoder(SinusoidalPositionalEncoding(16), 11, 5, **options).double()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("inject", ["input", "every_layer", "attention"])
def test_streams_are_those_of_the_forward_pass(norm: str, inject: str) -> None:
    model, tokens = encoder(norm=norm, inject=inject), torch.randint(11, (2, 7))
    before = model(tokens)
    with capture(model) as seen:
        torch.testing.assert_close(model(tokens), before)
    assert len(seen.streams) == 4
    assert len(seen.attention) == 3
    torch.testing.assert_close(seen.streams[-1], model.hidden(tokens))
    torch.testing.assert_close(seen.normed[0], model.norm(seen.streams[-1]))
    assert (seen.streams[0] - model.tokens(tokens)).abs().max().item() == pytest.approx(
        0 if inject == "attention" else 2**0.5, abs=0.02
    )
    model(tokens)
    assert len(seen.streams) == 4


def test_gradients_by_layer_and_matrix() -> None:
    model, tokens = encoder(), torch.randint(11, (2, 7))
    with capture(model) as seen:
        model(tokens).square().sum().backward()
    flow = stream_gradients(seen.streams)
    assert flow.shape == (4,)
    assert flow[-1] == 1
    norms = gradient_norms(model)
    assert [*norms[0]] == ["query", "key", "value", "output", "mlp_in", "mlp_out"]
    block = model.blocks[1]
    attention = block.branches[0]  # pyright: ignore[reportIndexIssue]
    assert isinstance(attention, SelfAttention)
    qkv = attention.qkv.weight.grad
    assert qkv is not None
    assert norms[1]["key"] == pytest.approx(float(qkv[16:32].norm()))
    total = sum(value**2 for layer in norms for value in layer.values())
    expected = sum(float(p.grad.square().sum()) for n, p in model.named_parameters() if "blocks" in n and p.ndim == 2)  # pyright: ignore[reportOptionalMemberAccess]
    assert total == pytest.approx(expected)


def test_a_stack_that_does_nothing_passes_the_gradient_on() -> None:
    model = encoder(norm="none")
    with torch.no_grad():
        for block in model.blocks:
            for branch in block.branches:  # pyright: ignore[reportGeneralTypeIssues]
                (branch.out if isinstance(branch, SelfAttention) else branch[2]).weight.zero_()
    with capture(model) as seen:
        model(torch.randint(11, (2, 7))).square().sum().backward()
    torch.testing.assert_close(stream_gradients(seen.streams), torch.ones(4, dtype=torch.float64))
