"""The encoder's knobs: strength of the skip connection, gain of the logits."""

import pytest
import torch

from posenc.attention.record import record_attention
from posenc.checks import ConfigError
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from posenc.streams import initialise

TOKENS = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))


def encoder(**options: object) -> Encoder:
    encoding = options.pop("encoding", PositionalEncoding())
    options = {"dim": 16, "num_heads": 2, "num_layers": 2} | options
    model = Encoder(encoding, 11, 3, **options)  # pyright: ignore[reportArgumentType]
    initialise(model, 0)
    return model.double()


@pytest.mark.parametrize(("word", "number"), [(True, 1), (True, 1.0), (False, 0), (False, 0.0)])
def test_true_and_false_are_skips_of_strength_1_and_0(word: bool, number: float) -> None:
    assert torch.equal(encoder(residual=word)(TOKENS), encoder(residual=number)(TOKENS))


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_a_skip_of_strength_gamma(norm: str) -> None:
    model = encoder(residual=0.7, norm=norm, num_layers=1)
    x = model.tokens(TOKENS)
    expected, block = x, model.blocks[0]
    for branch, layer in zip(block.branches, block.norms, strict=True):  # pyright: ignore[reportArgumentType]
        read = layer(expected) if norm == "pre" else expected
        y = branch(read) if branch is block.branches[1] else branch(read, PositionalEncoding(), Positions.arange(9))  # pyright: ignore[reportIndexIssue]
        expected = layer(0.7 * expected + y) if norm == "post" else 0.7 * expected + y
    torch.testing.assert_close(model.hidden(TOKENS), expected)


@pytest.mark.parametrize("attention", ["sdpa", "explicit", "auto"])
def test_logit_gain_multiplies_content_and_not_bias(attention: str) -> None:
    plain, loud = (encoder(encoding=SymmetricALiBi(2), logit_gain=g, attention=attention) for g in (1.0, 3.0))
    with record_attention(plain) as quiet:
        plain(TOKENS)
    with record_attention(loud) as raised:
        loud(TOKENS)
    assert quiet[0].bias is not None
    bias = quiet[0].bias.matrix(Positions.arange(9))
    torch.testing.assert_close(raised[0].logits - bias, 3 * (quiet[0].logits - bias))
    assert torch.equal(encoder(logit_gain=1)(TOKENS), encoder()(TOKENS))


def test_no_gain_is_uniform_attention() -> None:
    with record_attention(model := encoder(logit_gain=0)) as records:
        model(TOKENS)
    torch.testing.assert_close(records[1].weights, torch.full((3, 2, 9, 9), 1 / 9, dtype=torch.float64))


@pytest.mark.parametrize("value", [-0.5, "yes"])
def test_mistakes_are_named(value: object) -> None:
    with pytest.raises(ConfigError, match="residual must be a number ≥ 0, got"):
        encoder(residual=value)
    with pytest.raises(ConfigError, match="logit_gain must be a number ≥ 0, got"):
        encoder(logit_gain=value)
