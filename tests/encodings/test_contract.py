"""What every encoding promises, over every yaml in configs/encoding."""

import copy
import pickle
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from posenc.catalog.encodings import EncodingEntry
from posenc.config.build import build_module
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.conftest import options

SMALL = (
    "model.dim=16",
    "model.num_heads=2",
    "model.num_layers=2",
    "dataset.vocab_size=11",
    "dataset.test_lengths=[32]",
)
Build = Callable[..., Encoder]

# of the module, so that pytest runs all tests of one encoding in a row, for which its models are built once
every_encoding = pytest.mark.parametrize("name", options("encoding"), scope="module")


@pytest.fixture(scope="module")
def encoder(composed: Callable[..., DictConfig], catalogue: dict[str, EncodingEntry]) -> Build:
    """The model of `encoding=name` as train.py builds it; causal where the encoding is declared to need it."""

    @cache
    def once(name: str, causal: bool, *overrides: str) -> Encoder:
        config = composed(f"encoding={name}", f"model.causal={str(causal).lower()}", *SMALL, *overrides)
        return build_module(config, instantiate(config.dataset, _convert_="all")).encoder

    def build(name: str, causal: bool, *overrides: str) -> Encoder:
        return copy.deepcopy(once(name, causal or catalogue[name].causal, *overrides))

    return build


@pytest.mark.parametrize("causal", [False, True])
@every_encoding
def test_shapes_gradients_and_implementations(encoder: Build, name: str, causal: bool) -> None:
    model = encoder(name, causal, "model.readout=per_token")
    tokens = torch.randint(11, (3, 13))
    out = model(tokens)
    assert out.shape == (3, 13, 3)
    out.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    assert all(p.grad is not None and p.grad.any() for p in model.encodings.parameters()), "an untrained parameter"
    explicit = encoder(name, causal, "model.readout=per_token", "model.attention=explicit")
    explicit.load_state_dict(model.state_dict())
    torch.testing.assert_close(explicit(tokens), out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 100])
@every_encoding
def test_any_length_is_defined_or_refused_in_words(encoder: Build, name: str, length: int) -> None:
    model = encoder(name, False)
    assert model(torch.randint(11, (2, length))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@every_encoding
def test_dtypes(encoder: Build, name: str, dtype: torch.dtype) -> None:
    model = encoder(name, True)
    tokens = torch.randint(11, (2, 9))
    reference = model(tokens)
    out = copy.deepcopy(model).to(dtype)(tokens)
    assert out.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float64 else 0.3
    torch.testing.assert_close(out.float(), reference, atol=tolerance, rtol=tolerance)
    explicit = encoder(name, True, "model.attention=explicit")
    explicit.load_state_dict(model.state_dict())
    written_out = explicit.to(dtype)(tokens)
    assert written_out.dtype == dtype
    torch.testing.assert_close(written_out.float(), reference, atol=tolerance, rtol=tolerance)


@every_encoding
def test_the_past_does_not_see_the_future(encoder: Build, name: str) -> None:
    model = encoder(name, True, "model.readout=per_token")
    tokens = torch.randint(11, (2, 12))
    changed = tokens.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 11
    torch.testing.assert_close(model(changed)[:, :8], model(tokens)[:, :8], atol=1e-6, rtol=1e-6)


@every_encoding
def test_copies_pickles_and_repr(encoder: Build, name: str) -> None:
    model = encoder(name, False)
    encoding, tokens = model.encoding(0), torch.randint(11, (2, 9))
    assert isinstance(encoding, PositionalEncoding)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(tokens), model(tokens))
    assert type(encoding).__name__ in repr(encoding)
    assert type(encoding).__doc__


@every_encoding
def test_an_encoding_for_each_layer_has_weights_of_its_own(encoder: Build, name: str) -> None:
    shared = encoder(name, False, "model.encoding_per_layer=false")
    own = encoder(name, False, "model.encoding_per_layer=true", "model.inject=every_layer")
    own(torch.randint(11, (2, 9))).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own.encodings.parameters())
    tied = shared.encoding(0).shared
    count = {part: p.numel() for part, p in shared.encoding(0).named_parameters()}
    expected = sum(n * (1 if part in tied else 2) for part, n in count.items())
    assert sum(p.numel() for p in own.encodings.parameters()) == expected


@every_encoding
def test_sequences_of_a_batch_do_not_mix(encoder: Build, name: str) -> None:
    model = encoder(name, False)
    tokens = torch.randint(11, (4, 10))
    torch.testing.assert_close(model(tokens)[2:3], model(tokens[2:3]), atol=1e-5, rtol=1e-5)


@every_encoding
def test_position_ids_of_any_kind(encoder: Build, name: str) -> None:
    model = encoder(name, False)
    tokens = torch.randint(11, (2, 6))
    ids = torch.tensor([[0, 3, 4, 7, 9, 10], [1, 2, 3, 5, 8, 11]])
    together = model(tokens, Positions(ids, span=12))
    for row in range(2):
        alone = model(tokens[row : row + 1], Positions(ids[row : row + 1], span=12))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    assert model(tokens, Positions(torch.arange(6)[None], span=6, scale=0.5)).isfinite().all()
