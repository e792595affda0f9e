"""bfloat16 where it pays and nowhere else: its parts, what `auto` stands for, how close the answers stay."""

import copy
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from posenc.attention.kernels.choose import KEEP_UP_TO, PRODUCTS_UP_TO
from posenc.attention.record import record_attention
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_relative import LearnedRelativePositionalBias
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.model.encoder import Encoder
from posenc.training import precision
from posenc.training.precision import LinearBfloat16, automatic
from tests.conftest import Launch

ENCODINGS = {
    "none": PositionalEncoding(),
    "rope": RotaryPositionalEncoding(32, 4),
    "bias": LearnedRelativePositionalBias(4),
}


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["mean", "per_token"])
@pytest.mark.parametrize("N", [9, KEEP_UP_TO + 1, PRODUCTS_UP_TO + 1])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_answers_and_gradients_stay_close(encoding: str, norm: str, N: int, readout: str) -> None:
    """The answers of all five models are close. For gradients the median of the largest differences is, because some
    gradients are nearly 0 by chance."""
    furthest: list[float] = []
    for _ in range(5):
        full = Encoder(copy.deepcopy(ENCODINGS[encoding]), 11, 3, dim=32, norm=norm, readout=readout)
        narrowed = LinearBfloat16().convert_module(copy.deepcopy(full))
        tokens = torch.randint(11, (4, N))
        a, b = full(tokens), narrowed(tokens)
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)
        a.square().sum().backward()
        b.square().sum().backward()
        off = [0.0]
        for (name, one), other in zip(full.named_parameters(), narrowed.parameters(), strict=True):
            assert one.grad is not None, name
            assert other.grad is not None, name
            assert other.grad.dtype == torch.float32
            off.append(float(((one.grad - other.grad).norm() - 1e-3) / one.grad.norm()))
        furthest.append(max(off))
    assert statistics.median(furthest) <= 0.03, furthest


@pytest.mark.parametrize(("encoding", "exact"), [("none", False), ("rope", True), ("bias", True)])
def test_encodings_see_exact_queries(encoding: str, exact: bool) -> None:
    module = copy.deepcopy(ENCODINGS[encoding])
    encoder = LinearBfloat16().convert_module(Encoder(module, 11, 3, dim=32))
    assert module.in_attention == exact
    seen: list[torch.dtype] = []
    rotate = module.rotate

    def watched(x: torch.Tensor, q: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(q.dtype)
        return rotate(x, q, *rest)

    module.rotate = watched  # pyright: ignore[reportAttributeAccessIssue]
    encoder(torch.randint(11, (2, 5)))
    assert seen == [torch.float32 if exact else torch.bfloat16] * 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_recorded_attention_stays_in_float32(encoding: str) -> None:
    encoder = LinearBfloat16().convert_module(Encoder(copy.deepcopy(ENCODINGS[encoding]), 11, 3, dim=32))
    with record_attention(encoder) as records:
        encoder(torch.randint(11, (2, 70)))
    for record in records:
        assert record.logits.dtype == record.weights.dtype == torch.float32
        torch.testing.assert_close(record.weights.sum(-1), torch.ones(2, 4, 70))


def test_without_a_residual_the_stream_stays_float32() -> None:
    encoder = Encoder(PositionalEncoding(), 11, 3, dim=32, residual=False, norm="none")
    LinearBfloat16().convert_module(encoder)
    assert encoder.hidden(torch.randint(11, (2, 5))).dtype == torch.float32


@pytest.mark.parametrize(
    ("accelerator", "cuda", "cpu_units", "gpu_units", "expected"),
    [
        ("auto", False, True, False, "bf16-linear"),
        ("cpu", True, True, True, "bf16-linear"),
        ("auto", False, False, False, "32-true"),
        ("auto", True, True, True, "bf16-mixed"),
        ("gpu", True, True, False, "32-true"),
        ("mps", False, True, False, "32-true"),
    ],
)
def test_auto_follows_the_machine(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, cuda: bool, cpu_units: bool, gpu_units: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_units)
    monkeypatch.setattr(precision, "bfloat16_units", lambda: cpu_units)
    assert automatic(accelerator) == expected


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["bf16-linear", "auto"])
def test_the_result_says_which_was_used(command: Launch, tmp_path: Path, asked: str) -> None:
    more = (f"trainer.precision={asked}", "trainer.max_steps=2", "dataset.test_lengths=[32]", "data.eval_size=64")
    assert command(*more, f"hydra.run.dir={tmp_path}") == (0, "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "completed"
    assert result["precision"] == (asked if asked != "auto" else automatic("auto"))
