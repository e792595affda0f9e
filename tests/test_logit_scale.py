"""Logits scaled by the number of keys that a query sees."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from transformers.models.ministral3.modeling_ministral3 import get_llama_4_attn_scale

from posenc.attention.kernels.choose import OPTIONS
from posenc.attention.mask import Mask
from posenc.attention.record import record_attention
from posenc.attention.scale import FORMS, LogitScale, LogN, ScalableSoftmax, TemperatureTuning
from posenc.checks import ConfigError
from posenc.config import resume
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.pope import PolarPositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from posenc.streams import initialise

N, L = 9, 4
TOKENS = torch.randint(11, (3, N), generator=torch.Generator().manual_seed(0))
KEYS = torch.arange(1, 40)


def encoder(**options: Any) -> Encoder:
    encoding = options.pop("encoding", PositionalEncoding())
    options = {"dim": 16, "num_heads": 2, "num_layers": 2} | options
    model = Encoder(encoding, 11, 3, **options)
    model.trained_at(L, L)
    initialise(model, 0)
    return model.double()


def scales(model: Encoder) -> list[LogitScale]:
    return [each for each in model.modules() if isinstance(each, LogitScale)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 0, 3, 20])
def test_a_query_sees_as_many_keys_as_the_mask_allows(causal: bool, window: int | None) -> None:
    mask = Mask(causal, window)
    allowed = mask.allowed(N)
    seen = torch.full((N,), N) if allowed is None else allowed.sum(-1)
    assert torch.equal(mask.keys_seen(Positions.arange(N)), seen)


def test_the_formulas() -> None:
    n = KEYS.double()
    softmax = ScalableSoftmax(2, L)
    assert softmax(KEYS)[:, L - 1].flatten().tolist() == pytest.approx([1, 1])
    softmax.s.data = torch.tensor([1.0, 0.25])
    by_head = softmax.s.double()[:, None] * n.log() / math.log(L)
    torch.testing.assert_close(softmax(KEYS)[..., 0].double(), by_head)
    expected = torch.tensor([max(1.0, math.log(x, L)) for x in n.tolist()])
    torch.testing.assert_close(LogN(2, L)(KEYS)[:, 0], expected)
    steps = torch.tensor([1 + 0.1 * math.log(1 + (x - 1) // L) for x in KEYS.tolist()])
    torch.testing.assert_close(TemperatureTuning(2, L)(KEYS)[:, 0], steps)


def test_ministral_3_in_transformers() -> None:
    theirs = get_llama_4_attn_scale((KEYS - 1)[None], 0.2, L)
    torch.testing.assert_close(TemperatureTuning(2, L, beta=0.2)(KEYS)[None, None], theirs)


@pytest.mark.parametrize(
    "encoding", [SymmetricALiBi(2), PolarPositionalEncoding(16, 2), RotaryPositionalEncoding(16, 2)]
)
@pytest.mark.parametrize("form", FORMS)
def test_it_scales_content_and_not_bias(form: str, encoding: PositionalEncoding) -> None:
    plain, scaled = (encoder(encoding=encoding, logit_scale=scale, causal=True, num_layers=1) for scale in (None, form))
    with record_attention(plain) as before, record_attention(scaled) as after:
        plain(TOKENS)
        scaled(TOKENS)
    bias = 0 if before[0].bias is None else before[0].bias.matrix(Positions.arange(N))
    scale = scales(scaled)[0](torch.arange(1, N + 1))
    seen = torch.ones(N, N).tril().bool().expand(3, 2, N, N)
    expected = scale.double() * (before[0].logits - bias)
    torch.testing.assert_close((after[0].logits - bias)[seen], expected[seen])


@pytest.mark.parametrize("causal", [False, True])
def test_every_implementation_of_attention_has_it(causal: bool) -> None:
    truth = encoder(encoding=SymmetricALiBi(2), logit_scale=["log_n", None], attention="explicit", causal=causal)
    with torch.no_grad():
        expected = truth(TOKENS)
        assert (expected - encoder(encoding=SymmetricALiBi(2), causal=causal)(TOKENS)).abs().max() > 1e-3
        for attention in OPTIONS:
            given = {"attention": attention, "causal": causal}
            model = encoder(encoding=SymmetricALiBi(2), logit_scale=["log_n", None], **given)
            torch.testing.assert_close(model(TOKENS), expected)


def test_a_window_bounds_what_is_seen() -> None:
    """Under a causal window of L − 1 no query sees more than L keys, and nothing is scaled."""
    given = {"causal": True, "window": L - 1}
    for form in ("log_n", "temperature_tuning"):
        assert torch.equal(encoder(logit_scale=form, **given)(TOKENS), encoder(**given)(TOKENS))
    with record_attention(model := encoder(logit_scale="log_n", window=2)) as records:
        model(TOKENS)
    assert model.blocks[0].branches[0].mask.keys_seen(Positions.arange(N)).tolist() == [3, 4, 5, 5, 5, 5, 5, 4, 3]  # pyright: ignore
    assert len(records) == 2


def test_each_layer_learns_its_own_and_the_others_are_as_without() -> None:
    model, plain = encoder(logit_scale=["scalable_softmax", None]), encoder()
    more = set(model.state_dict()) - set(plain.state_dict())
    assert more == {"blocks.0.branches.0.logit_scale.s"}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in plain.state_dict().items())
    model(TOKENS).sum().backward()
    assert scales(model)[0].get_parameter("s").grad is not None


def test_l_is_the_trained_length_in_tokens_unless_it_is_given(composed: Callable[..., DictConfig]) -> None:
    words = ("dataset=copy", "dataset.length=[4,6]", "dataset.test_lengths=[8]", "model.dim=16", "encoding=none")
    for scale, length in (("log_n", None), ("{form:temperature_tuning,original_length:5,beta:0.3}", 5)):
        config = composed(*words, f"model.logit_scale={scale}")
        module = build_module(config, make(config, "dataset"))
        assert [each.trained for each in scales(module.encoder)] == [length or module.trained_tokens] * 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("logn", "logit_scale=logn is not one of scalable_softmax, temperature_tuning, log_n. Did you mean log_n?"),
        ({"form": "log_n", "beta": 1}, "logit_scale=log_n has no option beta; it has original_length"),
        ({"form": "log_n", "original_length": 0}, "original_length must be a whole number ≥ 1, got 0"),
        ({"form": "temperature_tuning", "beta": -1}, "beta must be a number ≥ 0, got -1"),
        ({"original_length": 3}, "logit_scale=None is not one of"),
        (["log_n", None, None], "model.logit_scale is a pattern of 3 layers and does not fill 2"),
    ],
)
def test_mistakes_are_named(value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        encoder(logit_scale=value)
    assert message in str(error.value)


def test_a_length_that_nobody_has_said_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="the trained length is unknown; give original_length"):
        Encoder(PositionalEncoding(), 11, 3, logit_scale="log_n")(TOKENS)


def test_a_run_that_was_begun_without_the_key_goes_on_without_it(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """A run that was begun with the key goes on with it, whether a file or an override has set it."""
    config, file = composed("model.logit_scale=log_n", "~callbacks", "~logger"), tmp_path / ".hydra" / "config.yaml"
    file.parent.mkdir()
    record: Any = OmegaConf.to_container(config, resolve=True)
    for has, words, expected in (
        (True, (), "log_n"),
        (False, (), None),
        (False, ("model.logit_scale=log_n",), "log_n"),
    ):
        held = {key: value for key, value in record["model"].items() if has or key != "logit_scale"}
        OmegaConf.save(OmegaConf.create(record | {"model": held}), file)
        assert resume.as_begun(config, tmp_path, words).model.logit_scale == expected
