"""What every encoding promises, over every yaml in configs/encoding."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.conftest import options

ENCODINGS = options("encoding")
SMALL = ("model.dim=16", "model.num_heads=2", "model.num_layers=2", "dataset.vocab_size=11")


def encoder(composed: Callable[..., DictConfig], name: str, causal: bool, *overrides: str) -> Encoder:
    """The model of `encoding=name`; causal where it says in words that it must be."""
    config = composed(f"encoding={name}", f"model.causal={str(causal).lower()}", *SMALL, *overrides)
    task = instantiate(config.dataset, _convert_="all")
    try:
        return build_module(config, task).encoder
    except ConfigError as error:
        refusal = str(error)
    assert not causal
    assert "model.causal=true" in refusal
    return encoder(composed, name, True, *overrides)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ENCODINGS)
def test_shapes_gradients_and_implementations(composed: Any, name: str, causal: bool) -> None:
    model = encoder(composed, name, causal, "model.readout=per_token")
    tokens = torch.randint(11, (3, 13))
    out = model(tokens)
    assert out.shape == (3, 13, 3)
    out.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    assert all(p.grad is not None and p.grad.any() for p in model.encodings.parameters()), "an untrained parameter"
    explicit = encoder(composed, name, causal, "model.readout=per_token", "model.attention=explicit")
    explicit.load_state_dict(model.state_dict())
    torch.testing.assert_close(explicit(tokens), out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 100])
@pytest.mark.parametrize("name", ENCODINGS)
def test_any_length_is_defined_or_refused_in_words(composed: Any, name: str, length: int) -> None:
    model = encoder(composed, name, False)
    assert model(torch.randint(11, (2, length))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ENCODINGS)
def test_dtypes(composed: Any, name: str, dtype: torch.dtype) -> None:
    model = encoder(composed, name, True)
    tokens = torch.randint(11, (2, 9))
    reference = model(tokens)
    out = copy.deepcopy(model).to(dtype)(tokens)
    assert out.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float64 else 0.3
    torch.testing.assert_close(out.float(), reference, atol=tolerance, rtol=tolerance)
    explicit = encoder(composed, name, True, "model.attention=explicit")
    explicit.load_state_dict(model.state_dict())
    written_out = explicit.to(dtype)(tokens)
    assert written_out.dtype == dtype
    torch.testing.assert_close(written_out.float(), reference, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_past_does_not_see_the_future(composed: Any, name: str) -> None:
    model = encoder(composed, name, True, "model.readout=per_token")
    tokens = torch.randint(11, (2, 12))
    changed = tokens.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 11
    torch.testing.assert_close(model(changed)[:, :8], model(tokens)[:, :8], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ENCODINGS)
def test_copies_pickles_and_repr(composed: Any, name: str) -> None:
    model = encoder(composed, name, False)
    encoding, tokens = model.encoding(0), torch.randint(11, (2, 9))
    assert isinstance(encoding, PositionalEncoding)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(tokens), model(tokens))
    assert type(encoding).__name__ in repr(encoding)
    assert type(encoding).__doc__


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_for_each_layer_has_weights_of_its_own(composed: Any, name: str) -> None:
    shared = encoder(composed, name, False, "model.encoding_per_layer=false")
    own = encoder(composed, name, False, "model.encoding_per_layer=true", "model.inject=every_layer")
    own(torch.randint(11, (2, 9))).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own.encodings.parameters())
    tied = shared.encoding(0).shared
    count = {part: p.numel() for part, p in shared.encoding(0).named_parameters()}
    expected = sum(n * (1 if part in tied else 2) for part, n in count.items())
    assert sum(p.numel() for p in own.encodings.parameters()) == expected


@pytest.mark.parametrize("name", ENCODINGS)
def test_sequences_of_a_batch_do_not_mix(composed: Any, name: str) -> None:
    model = encoder(composed, name, False)
    tokens = torch.randint(11, (4, 10))
    torch.testing.assert_close(model(tokens)[2:3], model(tokens[2:3]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODINGS)
def test_position_ids_of_any_kind(composed: Any, name: str) -> None:
    model = encoder(composed, name, False)
    tokens = torch.randint(11, (2, 6))
    ids = torch.tensor([[0, 3, 4, 7, 9, 10], [1, 2, 3, 5, 8, 11]])
    together = model(tokens, Positions(ids, span=12))
    for row in range(2):
        alone = model(tokens[row : row + 1], Positions(ids[row : row + 1], span=12))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    assert model(tokens, Positions(torch.arange(6)[None], span=6, scale=0.5)).isfinite().all()
