"""What is logged of every layer: equal to what is computed by hand, and without a trace in training."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from posenc.callbacks.layers import probe, quantities
from posenc.config.build import build, build_module
from posenc.config.make import make
from posenc.diagnostics import QUANTITIES, capture, position_share
from posenc.tasks.base import Task
from posenc.training.module import SequenceModule
from tests.conftest import Launch, options
from tests.test_sweeps import rows
from tests.test_training import SMALL, result, weights

TWO = ("model.num_layers=2", "trainer.log_every=1", "module.warmup_steps=100", "dataset.test_lengths=[32]")
TWO += ("trainer.precision=32-true",)  # what is measured is compared with float32
RANDOM = ("encoding=rope", "positions=randomized", "model.readout=query", "model.dropout=0.2")
PLAIN = tuple(word for word in SMALL if not word.startswith("~"))


def by_hand(module: SequenceModule, tokens: Tensor) -> dict[str, list[float]]:
    """Each quantity of each layer from its definition, one sequence, head and query at a time."""
    module.eval()
    with torch.no_grad(), capture(module.encoder) as seen:
        module(tokens)
    found: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for record in seen.attention:
        A, S = record.weights.double().numpy(), record.logits.double().numpy()
        heads, length = A.shape[1], A.shape[-1]
        far = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        each_query = A.reshape(-1, length)
        entropy = [-sum(p * math.log(p) for p in row if p > 0) / math.log(length) for row in each_query]
        found["attention_entropy"].append(float(np.mean(entropy)))
        found["attention_distance"].append(float((A * far).sum(-1).mean()))
        found["sink_rate"].append(float(np.mean([a[:, 0].mean() > 0.3 for a in A.reshape(-1, length, length)])))
        S = S - S.mean(-1, keepdims=True)
        explained = []
        for h in range(heads):
            flat, total = S[:, h], S[:, h].var()
            means = [np.diagonal(flat, k, 1, 2) for k in range(1 - length, length)]
            explained.append(sum(d.size * (d.mean() - flat.mean()) ** 2 for d in means) / flat.size / total)
        found["toeplitzness"].append(float(np.mean(explained)))
    for stream in seen.streams:
        x = stream[:, : tokens.shape[1]].double()
        found["position_share"].append(position_share(x, tokens)["position"])
        X = x.numpy()
        size = [math.sqrt(np.abs(y).sum(0).max() * np.abs(y).sum(1).max()) for x in X for y in (x - x.mean(0), x)]
        ratios = [math.log(size[i] / size[i + 1]) for i in range(0, len(size), 2)]
        found["dong_ratio"].append(math.exp(np.mean(ratios)))
        unit = X / np.linalg.norm(X, axis=-1, keepdims=True)
        off = ~np.eye(X.shape[1], dtype=bool)
        found["token_cosine"].append(float(np.mean([(u @ u.T)[off].mean() for u in unit])))
        shares = [s / s.sum() for s in (np.linalg.svd(x, compute_uv=False) for x in X[:8])]
        found["effective_rank"].append(float(np.mean([np.exp(-(p * np.log(p)).sum()) for p in shares])))
    return found


def module_of(composed: Callable[..., DictConfig], *overrides: str) -> SequenceModule:
    config = composed(*overrides)
    return build_module(config, make(config, "dataset"))


def layered(folder: Path) -> list[dict[str, float]]:
    """The rows of the probe: quantities and the step."""
    kept = ("step", *(f"{name}/" for name in QUANTITIES))
    found = [{k: float(v) for k, v in row.items() if k.startswith(kept)} for row in rows(folder) if row[FIRST]]
    return [dict(sorted(row.items())) for row in found]


FIRST = "dong_ratio/layer_0"


@pytest.mark.slow
def test_training_does_not_notice_and_resumes(command: Launch, tmp_path: Path, composed: Any) -> None:
    """Bit-equal to callbacks=quiet; the last row is what the weights give; those of a resumed run are the same."""
    more = (*RANDOM, *SMALL, *TWO)
    assert command(*RANDOM, *PLAIN, *TWO, "callbacks=quiet", f"hydra.run.dir={tmp_path / 'without'}") == (0, "")
    assert command(*more, f"hydra.run.dir={tmp_path / 'with'}") == (0, "")
    assert command(*more, "trainer.max_steps=6", f"hydra.run.dir={tmp_path / 'half'}") == (0, "")
    resumed = (f"ckpt_path={tmp_path / 'half' / 'checkpoints' / 'last.ckpt'}", f"hydra.run.dir={tmp_path / 'rest'}")
    assert command(*more, *resumed) == (0, "")
    a, b = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert result(tmp_path / "with")["test"] == result(tmp_path / "without")["test"]
    assert not any("/layer_" in key for key in rows(tmp_path / "without")[0])
    plain, full = rows(tmp_path / "without"), [row for row in rows(tmp_path / "with") if not row[FIRST]]
    assert plain == [{key: row[key] for key in plain[0]} for row in full]
    whole, half, rest = (layered(tmp_path / name) for name in ("with", "half", "rest"))
    assert [row["step"] for row in whole] == [0, 3, 7, 11]  # the start, and after every fourth step
    assert [row["step"] for row in half] == [0, 3, 5]  # and at an end without validation
    assert rest == whole[2:]
    module = module_of(composed, *more)
    module.load_state_dict(a)
    expected = by_hand(module, probe(module.task))
    assert len(whole[-1]) == 1 + 4 * 2 + 4 * 3
    for name, values in expected.items():
        for layer, value in enumerate(values, start=3 - len(values)):
            assert whole[-1][f"{name}/layer_{layer}"] == pytest.approx(value, rel=1e-4, abs=1e-5), (name, layer)


@pytest.mark.slow
def test_gradients_are_those_of_autograd_before_clipping(command: Launch, tmp_path: Path, composed: Any) -> None:
    more = ("encoding=t5", *SMALL, *TWO, "trainer.max_steps=1", "trainer.gradient_clip=0.01")
    assert command(*more, f"hydra.run.dir={tmp_path / 'r'}") == (0, "")
    (row,) = (row for row in rows(tmp_path / "r") if row["train/loss"])
    config = composed("encoding=t5", *PLAIN, *TWO, "~callbacks", "~logger")
    parts = build(config, tmp_path)
    tokens, targets = next(iter(parts.data.train_dataloader()))
    F.cross_entropy(parts.module(tokens), targets).backward()
    gradients = {name: p.grad for name, p in parts.module.encoder.named_parameters() if p.grad is not None}
    total = 0.0
    for layer in (1, 2):
        of = f"blocks.{layer - 1}.branches"
        qkv = gradients[f"{of}.0.qkv.weight"]
        mlp = torch.cat([gradients[f"{of}.1.{i}.weight"].flatten() for i in (0, 2)])
        expected = {"query": qkv[:16], "key": qkv[16:32], "value": qkv[32:], "mlp": mlp}
        expected["output"] = gradients[f"{of}.0.out.weight"]
        for group, gradient in expected.items():
            value = float(row[f"gradient_{group}/layer_{layer}"])
            assert value == pytest.approx(float(gradient.norm()), rel=1e-5), (group, layer)
            total += value**2
    assert 0.1 < total / float(row["gradient/norm"]) ** 2 <= 1


CAUSAL = (
    *SMALL, "model.num_layers=2", "model.readout=query", "dataset.length=21", "dataset.test_lengths=[21]",
    "model.causal=true",
)  # fmt: skip
"""A small model under a causal mask, which every encoding allows."""


@pytest.mark.parametrize("name", options("encoding"))
def test_every_encoding_is_measured_and_left_as_it_was(composed: Callable[..., DictConfig], name: str) -> None:
    config = composed(*CAUSAL, f"encoding={name}")
    module = build_module(config, make(config, "dataset"))
    tokens, state = probe(module.task), torch.get_rng_state()
    found = quantities(module, tokens)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert not any(p.grad is not None for p in module.parameters())
    layers = {quantity: [*values] for quantity, values in found.items()}
    assert layers == {quantity: [1, 2] if quantity in QUANTITIES[:4] else [0, 1, 2] for quantity in QUANTITIES}
    top = {"attention_entropy": 1, "attention_distance": 20, "sink_rate": 1, "toeplitzness": 1, "token_cosine": 1}
    for quantity, values in found.items():
        for value in values.values():
            assert -0.1 < value <= top.get(quantity, 21) + 1e-5, quantity


class Drawn(Task):
    """Tokens of any length."""

    num_outputs = 2

    def sample(self, generator: torch.Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(9, (batch, length), generator=generator)
        return tokens, tokens.new_zeros(batch)


@pytest.mark.parametrize(("length", "shape"), [(5, (32, 5)), (32, (32, 32)), (128, (8, 128)), (3000, (2, 512))])
def test_a_probe_stays_small(length: int, shape: tuple[int, int]) -> None:
    tokens = probe(Drawn(length=[1, length], test_lengths=None, vocab_size=9))
    assert tokens.shape == shape
    assert torch.equal(tokens, probe(Drawn(length=length, test_lengths=None, vocab_size=9)))


def test_what_is_not_finite_or_all_alike_is_nan_and_no_error(composed: Callable[..., DictConfig]) -> None:
    causal = composed(*CAUSAL)
    module = build_module(causal, make(causal, "dataset"))
    for value in (0.0, math.nan, math.inf):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(value)
        found = quantities(module, probe(module.task))
        assert math.isnan(found["position_share"][1])
        assert math.isnan(found["effective_rank"][1])


@pytest.mark.filterwarnings("ignore:Encountered `nan` values")  # torchmetrics, of the validation loss
def test_a_run_that_diverges_is_measured_until_it_does(command: Launch, tmp_path: Path) -> None:
    more = ("optimizer.lr=1e38", "trainer.gradient_clip=null", "trainer.validate_every=1", *TWO)
    assert command(*SMALL, *more, f"hydra.run.dir={tmp_path / 'r'}")[0] == 1
    assert result(tmp_path / "r")["status"] == "diverged"
    assert math.isfinite(float(rows(tmp_path / "r")[0][FIRST]))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_every_precision(command: Launch, tmp_path: Path, precision: str) -> None:
    more = (f"trainer.precision={precision}", "trainer.max_steps=2", "dataset.test_lengths=[32]")
    assert command(*SMALL, *more, f"hydra.run.dir={tmp_path / 'r'}") == (0, "")
    first, last = layered(tmp_path / "r")
    assert all(map(math.isfinite, [*first.values(), *last.values()]))
