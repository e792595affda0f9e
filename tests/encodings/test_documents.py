"""For every encoding, a sequence has the same answer alone, packed with others, and padded on either side."""

from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.catalog.encodings import EncodingEntry
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.convolution import TokenConvolution
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.conftest import options
from tests.encodings.test_contract import SMALL

LENGTHS, PAD = (5, 1, 7), 3


def model(composed: Callable[..., DictConfig], entry: EncodingEntry, *overrides: str) -> Encoder:
    """A random model of `encoding=NAME` in float64; it is causal if the encoding needs a causal mask."""
    causal = f"model.causal={str(entry.causal).lower()}"
    config = composed(f"encoding={entry.name}", causal, "model.readout=per_token", *SMALL, *overrides)
    encoder = build_module(config, instantiate(config.dataset, _convert_="all")).encoder.double()
    for parameter in encoder.encodings.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


def alone(encoder: Encoder, rows: list[Tensor]) -> Tensor:
    return torch.cat([encoder(row[None])[0] for row in rows])


@pytest.mark.parametrize("name", options("encoding"))
def test_packed_and_padded_is_alone(
    composed: Callable[..., DictConfig], catalogue: dict[str, EncodingEntry], name: str
) -> None:
    """Up to rounding in float64. An encoding that depends on the extent is left out."""
    encoder = model(composed, catalogue[name])
    if any("extent" in leaf.depends_on for each in encoder.encodings for leaf in each.leaves):  # pyright: ignore
        return
    rows = [torch.randint(11, (length,)) for length in LENGTHS]
    expected, number = alone(encoder, rows), torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor(LENGTHS))
    padding, mark = torch.zeros(PAD, dtype=torch.long), torch.full((PAD,), -1)
    tokens = torch.stack((torch.cat((padding, *rows)), torch.cat((*rows, padding))))
    documents = torch.stack((torch.cat((mark, number)), torch.cat((number, mark))))
    for attention in ("auto", "explicit", "flex"):
        for layer in encoder.modules():
            if isinstance(layer, SelfAttention):
                layer.attention = attention
        with torch.no_grad():
            left, right = encoder(tokens, Positions.of_documents(documents))
        torch.testing.assert_close(left[PAD:], expected, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(right[:-PAD], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("form", ["scalable_softmax", "temperature_tuning", "log_n"])
@pytest.mark.parametrize("window", ["null", "2"])
def test_windows_and_scales_count_within_a_document(
    composed: Callable[..., DictConfig], catalogue: dict[str, EncodingEntry], form: str, window: str
) -> None:
    options = (f"model.window={window}", f"model.logit_scale={{form:{form},original_length:2}}", "model.sinks=true")
    encoder = model(composed, catalogue["rope"], *options)
    rows = [torch.randint(11, (length,)) for length in LENGTHS]
    documents = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor(LENGTHS))[None]
    packed = encoder(torch.cat(rows)[None], Positions.of_documents(documents))[0]
    torch.testing.assert_close(packed, alone(encoder, rows), atol=1e-9, rtol=1e-9)


def test_gradients_stay_in_their_document() -> None:
    convolution, x = TokenConvolution(3, 4).double(), torch.randn(1, 9, 3, dtype=torch.float64, requires_grad=True)
    positions = Positions.of_documents(torch.tensor([[0] * 4 + [1] * 5]))
    convolution.over(x, positions)[..., 4:].sum().backward()
    assert x.grad is not None
    assert not x.grad[:, :4].any()
    assert x.grad[:, 4:].all()
    assert torch.autograd.gradcheck(lambda x: convolution.over(x, positions), x)


def test_places_within_documents() -> None:
    positions = Positions.of_documents(torch.tensor([[7, 7, 7, 4, 4, -1], [1, 2, 2, 2, 2, 2]]))
    assert positions.ids.tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]]
    seen = Mask(causal=True).seen(positions)
    assert seen is not None
    assert seen.shape == (2, 1, 6, 6)
    assert seen.sum(-1)[0, 0].tolist() == [1, 2, 3, 1, 2, 1]


def test_what_does_not_fit_is_refused() -> None:
    ids = torch.arange(4)[None]
    with pytest.raises(ConfigError, match=r"ids \(1, 4\) and documents \(1, 3\) must have one shape"):
        Positions(ids, span=4, documents=torch.zeros(1, 3))
    encoder = Encoder(PositionalEncoding(), vocab_size=3, num_outputs=2, dim=8, num_heads=2, readout="mean")
    with pytest.raises(ConfigError, match="readout=mean gives one answer for each sequence"):
        encoder(torch.zeros(1, 4, dtype=torch.long), Positions.of_documents(torch.zeros(1, 4, dtype=torch.long)))
