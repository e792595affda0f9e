"""Studies that train: their parts against oracles, and what they measure, on trainings of a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.diagnostics.position_mean import without_position_mean
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.sinusoidal import SinusoidalPositionalEncoding
from posenc.statistics.claims import OUTCOMES
from posenc.statistics.measurements import Measurements
from posenc.studies.locality import Locality, log2_size
from posenc.studies.method.base import Arm, Study
from posenc.studies.method.mixers import MIXERS, MixerArm
from posenc.studies.method.trainability import Trainability
from posenc.studies.method.trained import Recipe, fit, skill_now
from posenc.studies.method.workers import Ledger, Workers
from posenc.studies.position_fading import fade
from posenc.tasks.base import Task
from posenc.tasks.lookup import Lookup
from posenc.tasks.places import RelativePattern
from posenc.tasks.recall import Induction, Needle
from posenc.tasks.regular import Parity
from tests.spread_cases import add

Compose = Callable[..., DictConfig]
FEW = {
    "position_fading": ("study.batch=16", "study.length=8", "study.recipe.eval_size=32"),
    "locality": (),
    "length_extrapolation": ("study.layers=2", "dataset.test_lengths=[8,32]"),
}
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_study_measures_what_its_claims_need_and_draws_it(composed: Compose, name: str) -> None:
    config = composed(f"experiment={name}", "profile=smoke", "name=test", *FEW[name])
    study = make(config, "study", Study)
    study.workers = Workers(1)
    found = study.measure(0)
    judged = [claim.verdict(found) for claim in study.claims]
    assert {verdict.outcome for verdict in judged} <= set(OUTCOMES)
    assert len({verdict.statement for verdict in judged}) == len(judged) >= 6
    study.figure(found, judged).canvas.draw()
    assert all(table.row_count for table in study.tables(found))
    assert study.summary(found)
    if name == "length_extrapolation":
        places = found.along("sink_rate", study.names[0])
        assert {int(at) for at in places} == {1, 2}  # layers are counted from 1
        assert found.sample("sink_rate", study.names[0], 1.01)  # in the trained length
    assert all(np.isfinite(row[-1]) for row in found.rows())
    assert Measurements.read(found.csv()).csv() == found.csv()


@pytest.mark.slow
def test_spread_answers_in_order_with_one_thread_each() -> None:
    expected = [(case, 1) for case in range(5)]
    cases = [(case,) for case in range(5)]
    assert Workers(2).spread(add, cases, "") == Workers(1).spread(add, cases, "") == expected
    with pytest.raises(ConfigError, match="less than nothing"):
        Workers(1).spread(add, [(1,), (-1,)], "")


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    path, asked = tmp_path / "answers.jsonl", []

    def ask(case: tuple[str, float]) -> list[tuple[str, float, float]]:
        if case[1] == 3:
            raise KeyboardInterrupt
        asked.append(case)
        return [(case[0], case[1], case[1] / 3)]

    cases = [("a", 0.1), ("b", 1), ("a", 3), ("b", 4)]
    first = Ledger.open(path, "this")
    with pytest.raises(KeyboardInterrupt):
        Workers(1, first).spread(ask, cases, "title")
    assert asked == cases[:2]
    assert path.read_text().count("\n") == 3
    path.write_bytes(path.read_bytes()[:-4])  # as if it had been killed in the middle of the last line
    again = Ledger.open(path, "this")
    assert again is not None
    cases[2] = ("a", 5)
    answers = Workers(1, again).spread(ask, cases, "title")
    assert asked == [("a", 0.1), ("b", 1), ("b", 1), ("a", 5), ("b", 4)]
    assert answers == [(name, x, x / 3) for name, x in cases]
    whole = Ledger.open(path, "this")
    assert whole is not None
    assert Workers(1, whole).spread(ask, cases, "title") == answers
    assert len(asked) == 5
    assert Ledger.open(path, "that") is None


def encoder(encoding: PositionalEncoding, task: Task, seed: int = 0, **options: Any) -> Any:
    sizes = SIZES | {"vocab_size": task.vocab_size, "num_outputs": task.num_outputs, "readout": task.readout}
    return Arm(encoding, options).build(seed, **sizes).float()


LOOKUP = Lookup(length=5, test_lengths=[5], max_length=5, num_values=4)
RECIPE = Recipe(steps=150, batch_size=64, lr=1e-2, warmup_steps=10, eval_size=500)


@pytest.fixture(scope="module")
def first() -> Any:
    """A training that learns; whoever changes it takes a copy."""
    torch.set_num_threads(1)
    return fit(encoder(SinusoidalPositionalEncoding(16), LOOKUP), LOOKUP, 0, RECIPE)


@pytest.mark.slow
def test_a_training_learns_and_is_a_function_of_its_seed(first: Any) -> None:
    task, recipe = LOOKUP, RECIPE
    again, other = (fit(encoder(SinusoidalPositionalEncoding(16), task, s), task, s, recipe) for s in (0, 1))
    assert first.skills[5] > 0.9
    assert not first.diverged
    assert first.skills == again.skills
    assert not torch.equal(first.module.encoder.head.weight, other.module.encoder.head.weight)
    for a, b in zip(first.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert skill_now(first.module, 5, 500) == pytest.approx(first.skills[5], abs=1e-6)
    broken = fit(encoder(SinusoidalPositionalEncoding(16), task), task, 0, recipe, lr=1e30)
    assert broken.diverged
    assert broken.skills == {5: 0.0}


def test_a_task_without_skill_is_no_study() -> None:
    """A missing skill must not count as 0, because this would look like a failure of every arm."""
    task, recipe = Parity(length=6), Recipe(steps=1, batch_size=2, lr=1e-2, eval_size=8)
    with pytest.raises(ConfigError, match="Parity has no skill under this mask and read-out"):
        fit(encoder(SinusoidalPositionalEncoding(16), task), task, 0, recipe)


def test_taking_out_the_position_mean_takes_out_position_and_nothing_else() -> None:
    task = RelativePattern(length=8, test_lengths=[8])
    model, streams = encoder(SinusoidalPositionalEncoding(16), task), []
    tokens = torch.randint(task.vocab_size, (64, 8), generator=torch.Generator().manual_seed(0))
    for x in (torch.zeros_like(tokens), tokens):
        with torch.no_grad(), without_position_mean(model, 0):
            hook = model.blocks[0].register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0]))
            model(x)
            hook.remove()
    same, mixed = streams
    assert (same - same[0, 0]).abs().max() < 1e-5  # of equal tokens nothing but one vector is left
    vectors = model.tokens(tokens)
    torch.testing.assert_close(mixed - mixed.mean((0, 1)), (vectors - vectors.mean(0)).detach())


def test_without_position_anywhere_the_ablation_of_a_trained_model_is_felt(first: Any) -> None:
    with without_position_mean(first.module.encoder, 0):
        assert skill_now(first.module, 5, 500) < first.skills[5] - 0.3
    assert skill_now(first.module, 5, 500) == pytest.approx(first.skills[5], abs=1e-6)


@pytest.mark.parametrize(
    "task",
    [Induction(length=9), Needle(length=9), Needle(length=9, distance=3), Lookup(length=9, max_length=72)],
    ids=str,
)
@pytest.mark.parametrize("length", [5, 9, 30])
def test_the_answer_stands_at_the_source(task: Task, length: int) -> None:
    tokens, targets = task.sample(torch.Generator().manual_seed(0), 64, length)
    sources = task.sources(tokens)
    assert sources is not None
    assert (sources[:, :-1] == -1).all()
    assert torch.equal(tokens.gather(1, sources[:, -1:])[:, 0], targets)


def test_a_task_without_one_place_says_so() -> None:
    tokens, _ = (task := Lookup(length=6, num_values=None, hops=2)).sample(torch.Generator(), 4, 6)
    assert task.sources(tokens) is None
    assert RelativePattern(length=8).sources(tokens) is None


@pytest.mark.parametrize("mixer", MIXERS)
def test_mixers_are_about_as_large_as_attention_and_see_as_far_as_they_say(mixer: str) -> None:
    task = RelativePattern(length=12)
    sizes = {"vocab_size": task.vocab_size, "num_outputs": 1, "dim": 32, "num_heads": 4, "num_layers": 2}
    model, attention = MixerArm(mixer).build(0, **sizes), Arm().build(0, **sizes)
    count = [sum(p.numel() for p in each.parameters()) for each in (model, attention)]
    assert count[0] == pytest.approx(count[1], rel=0.08)
    assert torch.equal(model.tokens.weight, attention.tokens.weight)
    tokens = torch.zeros(1, 12, dtype=torch.long)
    changed = tokens.clone()
    changed[0, 6] = 1
    moved = (model.hidden(tokens) - model.hidden(changed)).abs().amax((0, 2)) > 1e-12
    reach = (moved.nonzero()[:, 0] - 6).abs().max()
    assert reach == (2 if mixer == "convolution" else 6)


def test_a_fade_is_the_slope_of_the_shares_that_are_there() -> None:
    """Shares below chance end the layers. They are not raised to a floor: with .01 the slope would be -.29, not -.5."""
    shares, chance = [(0.5 * 10 ** (-0.5 * layer), 0.4) for layer in range(7)], (1e-5, 1e-5)
    assert shares[-1][0] < 0.001
    assert fade(shares, chance) == pytest.approx(-0.5)
    assert fade([*shares[:4], (1e-6, 0.4), (0.3, 0.4)], chance) == pytest.approx(-0.5)
    assert fade([*shares[:2], (1e-6, 0.4), *shares], chance) is None


def test_the_size_at_which_a_curve_reaches_nine_tenths() -> None:
    logs = np.array([8.0, 10.0, 12.0])
    assert log2_size(logs, np.array([0.5, 0.7, 0.8])) == 13
    assert log2_size(logs, np.array([0.95, 0.5, 1.0])) is None  # it may be there with fewer
    assert log2_size(logs, np.array([0.1, 0.8, 1.0])) == pytest.approx(11)


@pytest.mark.slow
def test_trainability_counts_successes_and_picks_the_best_rate() -> None:
    recipe = Recipe(steps=100, batch_size=64, lr=1.0, warmup_steps=10, eval_size=200)
    arms = {"pre": Arm(SinusoidalPositionalEncoding(16))}
    study = Trainability(
        arms, LOOKUP, recipe, rates=[1e-2, 1e30], depths=[2], seeds=1, choosing_seeds=1, dim=16, num_heads=2
    )
    found = Measurements()
    study.measure(found, 0, workers=Workers(1))
    assert found.sample("success", "pre lr 0.01", 2) == {0: 1.0}
    assert found.sample("diverged", "pre lr 1e+30", 2) == {0: 1.0}
    assert found.sample("success", "pre best lr", 2) == {0: 1.0}
    assert [*study.rows(found)] == [("pre lr 0.01", ["1/1"]), ("pre lr 1e+30", ["0/1"])]


def test_what_does_not_fit_says_so_before_any_training() -> None:
    arms = {"rope": Arm(RotaryPositionalEncoding(64, 2))}
    with pytest.raises(ConfigError, match="was built for dim=64, the model has dim=16"):
        Locality(arms, [], 1, 16, 2, 2, 12, Recipe(1, 2, 1e-3), [1], [64])
    with pytest.raises(ConfigError, match="Recipe: lr must be"):
        Recipe(1, 2, 0.0)
    with pytest.raises(ConfigError, match="mixer"):
        MixerArm("pooling")
