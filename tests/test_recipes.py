"""Recipes: what each file sets, against the configs of transformers; runs and arms that are named after them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from omegaconf import OmegaConf

from posenc.catalog import recipes
from posenc.catalog.recipes import RecipeEntry
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.report.numbers.compare import compare
from posenc.report.reading.arms import OF_RECIPES
from posenc.runs.result import chosen
from posenc.trained.evaluate import Evaluation
from posenc.trained.load import record_of_run
from tests.conftest import CONFIGS, ROOT, Launch, options

NAMES = options("recipe")
SIZE = ("model.num_layers",)
"""Values that all recipes set alike."""


@pytest.fixture(scope="module")
def found() -> dict[str, RecipeEntry]:
    return {entry.name: entry for entry in recipes.entries()}


def layers(entry: RecipeEntry, count: int) -> list[tuple[str, float | None, int | None]]:
    """Encoding, base and window of each of the first layers."""
    encoding, window = entry.config.encoding, entry.config.model.window
    windows = [window] if window is None or isinstance(window, int) else list(window)
    parts = encoding.get("parts") if "layers" in encoding else None
    nodes = [encoding] if parts is None else [parts[name] for name in encoding.layers]
    words = [word.partition("@")[0] for word in entry.words]
    return [
        (words[layer % len(words)], nodes[layer % len(nodes)].get("base"), windows[layer % len(windows)])
        for layer in range(count)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_is_where_it_comes_from_and_what_is_left_out(name: str) -> None:
    text = (CONFIGS / "recipe" / f"{name}.yaml").read_text()
    first, *comment = (line for line in text.splitlines() if line.startswith("#"))
    assert first == "# @package _global_"
    prose = " ".join(comment)
    assert re.search(r"Source: https://", prose)
    assert "Left out: " in prose
    values = yaml.safe_load(text)
    assert set(values) <= {"defaults", "encoding", "model"}
    assert values["model"]["num_layers"] == 12
    kept = {f"model.{key}" for key in values["model"]} - {*SIZE}
    assert kept <= {*OF_RECIPES}, "a value in which recipes differ belongs to their names"


@pytest.mark.slow
def test_every_recipe_is_built_and_learns_from_every_layer(found: dict[str, RecipeEntry]) -> None:
    for entry in found.values():
        config = entry.config.copy()
        small = {"dataset.length": 24, "dataset.test_lengths": [24], "model.dim": 32}
        for key, value in small.items():
            OmegaConf.update(config, key, value)
        module = build_module(config, make(config, "dataset"))
        tokens, targets = module.task.sample(torch.Generator().manual_seed(0), 2, 24)
        module.answer((tokens, targets))[0].pow(2).sum().backward()
        assert len(module.encoder.blocks) == 12
        idle = [name for name, weight in module.encoder.named_parameters() if weight.grad is None]
        assert idle == [], entry.name


FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "llama4": (transformers.Llama4TextConfig, {}),
    "smollm3": (transformers.SmolLM3Config, {}),
    "gemma3": (transformers.Gemma3TextConfig, {}),
    "gemma4": (transformers.Gemma4TextConfig, {}),
    "gpt_oss": (transformers.GptOssConfig, {}),
    "olmo3": (transformers.Olmo3Config, {}),
    "cohere2": (transformers.Cohere2Config, {"num_key_value_heads": 16}),  # as Command R7B: four to one
    "exaone4": (transformers.Exaone4Config, {"num_key_value_heads": 8}),  # as the 32B: five to one of 40 heads
    "qwen3_next": (transformers.Qwen3NextConfig, {}),
    "ministral3": (transformers.Ministral3Config, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_layers_bases_and_windows_are_those_of_transformers(name: str, found: dict[str, RecipeEntry]) -> None:
    family, given = FAMILIES[name]
    theirs: Any = family(num_hidden_layers=12, **given)
    ours, model = layers(found[name], 12), found[name].config.model
    rope: Any = theirs.rope_parameters
    kinds = getattr(theirs, "layer_types", None) or ["full_attention"] * 12
    if name == "qwen3_next":
        assert "linear_attention" in kinds  # which is what is left out
        kinds = ["full_attention"] * 12
    if name == "llama4":
        assert "chunked_attention" in kinds
        kinds = ["full_attention"] * 12
    none = {  # layers without RoPE: said by the config, or by the code of the model
        "llama4": lambda layer: not theirs.no_rope_layers[layer],
        "smollm3": lambda layer: not theirs.no_rope_layers[layer],
        "cohere2": lambda layer: kinds[layer] == "full_attention",
        "exaone4": lambda layer: kinds[layer] == "full_attention",
    }.get(name, lambda layer: False)
    for layer, (encoding, base, window) in enumerate(ours):
        assert (window is not None) == (kinds[layer] == "sliding_attention"), layer
        assert (encoding == "none") == none(layer), layer
        if encoding != "none":
            there = rope.get(kinds[layer], rope)
            expected = there.get("rope_theta") or theirs.default_theta
            assert base == expected, layer
    groups = theirs.num_attention_heads // theirs.num_key_value_heads
    assert 4 // (model.num_kv_heads or 4) == min(4, groups)
    layered = isinstance(rope, dict) and "full_attention" in rope
    far = rope["full_attention"] if layered else rope
    part = far.get("partial_rotary_factor") or getattr(theirs, "partial_rotary_factor", None) or 1.0
    last: Any = found[name].config.encoding
    last = last.parts[last.layers[-1]] if "layers" in last else last
    assert last.get("rotated", 1.0) * last.get("kept", 1.0) == part
    assert model.sinks == (name == "gpt_oss")
    assert model.rms_norm == hasattr(theirs, "rms_norm_eps")


@pytest.mark.slow
def test_scales_are_those_of_transformers(found: dict[str, RecipeEntry]) -> None:
    """And β, which both have from Llama 4."""
    theirs = transformers.Llama4TextConfig(num_hidden_layers=4)
    assert theirs.attn_temperature_tuning
    assert theirs.attn_scale == transformers.Ministral3Config().rope_parameters["llama_4_scaling_beta"] == 0.1  # pyright: ignore
    ours = found["llama4"].config.model
    tuned = [not rope for rope in theirs.no_rope_layers]  # pyright: ignore
    assert [scale is not None for scale in ours.logit_scale] == tuned
    assert [norm is None for norm in ours.qk_norm] == tuned
    assert found["ministral3"].config.model.logit_scale == "temperature_tuning"


@pytest.mark.slow
def test_the_table_and_the_page(found: dict[str, RecipeEntry], capsys: pytest.CaptureFixture[str]) -> None:
    cells = found["gemma3"].cells
    assert cells[:5] == ("gemma3", "rope_half", "5 × 7, all", "5 × 10,000, 1,000,000", "1")
    assert found["llama4"].cells[1:5] == ("3 × rope, none", "all", "3 × 500,000, –", "3 × 1, temperature_tuning")
    assert all(entry.source.startswith("https://") for entry in found.values())
    assert recipes.page([*found.values()]) == (ROOT / "docs" / "recipes.md").read_text()
    recipes.show(["nape"])
    assert "slopes 1/h on half of the heads" in capsys.readouterr().out


S = (
    "dataset=copy", "dataset.length=4", "dataset.test_lengths=[4]", "model.dim=16", "trainer.max_steps=2",
    "trainer.validate_every=2", "data.eval_size=8", "data.batch_size=4", "threads=1", "callbacks=quiet",
    "~logger.tensorboard", "model.num_layers=4",
)  # fmt: skip


@pytest.mark.slow
def test_arms_are_named_after_recipes(command: Launch, tmp_path: Path) -> None:
    where = f"hydra.sweep.dir={tmp_path / 'runs'}"
    assert command("-m", "recipe=llama4,exaone4", *S, where) == (0, "")
    folders = sorted(path.parent for path in tmp_path.rglob("result.json"))
    assert [folder.relative_to(tmp_path / "runs").parts for folder in folders] == [
        ("copy", "exaone4", "seed0"), ("copy", "llama4", "seed0"),
    ]  # fmt: skip
    record = json.loads((folders[1] / "result.json").read_text())
    assert (record["recipe"], record["encoding"]) == ("llama4", "rope-rope-rope-none")
    assert compare([tmp_path], None, 0.01).facets[0].arms == ["exaone4", "llama4"]
    tested = [Evaluation(record_of_run(folders[1]), words).record for words in ((), ("encoding=none",))]
    assert [chosen(each) for each in tested] == [("recipe", "llama4"), ("encoding", "none")]
    assert command("-m", "recipe=llama4,exaone4", *S, where) == (0, "")  # which finds them finished
    more = ("encoding=rope", "model=llama", f"hydra.run.dir={tmp_path / 'beside'}")
    assert command(*S, *more) == (0, "")
    facet = compare([tmp_path], None, 0.01).facets[0]
    assert sorted(facet.arms) == ["exaone4", "llama4", "rope"]
    for number, word in enumerate(("encoding=nape", "recipe=nape")):
        assert command(*S, word, "model.causal=true", f"hydra.run.dir={tmp_path / 'names' / str(number)}") == (0, "")
    names = compare([tmp_path / "names"], None, 0.01).facets[0].arms
    assert [name.partition(" ")[0] for name in sorted(names)] == ["nape", "recipe=nape"]
    other = ("recipe=llama4", "model.qk_norm=null", f"hydra.run.dir={tmp_path / 'other'}")
    assert command(*S, *other) == (0, "")
    told = ["llama4", f"llama4 (model.qk_norm={['l2', 'l2', 'l2', None]})"]  # null is not said
    assert sorted(compare([tmp_path / "runs", tmp_path / "beside", tmp_path / "other"], None, 0.01).facets[0].arms) == [
        "exaone4",
        *told,
        "rope",
    ]


def test_a_recipe_has_an_encoding_of_its_own(command: Launch, tmp_path: Path) -> None:
    status, errors = command("recipe=llama4", "encoding=alibi", *S, f"hydra.run.dir={tmp_path}")
    assert status == 2
    assert "recipe=llama4 includes an encoding; leave encoding=alibi out" in errors
    status, errors = command("recipe=lama4", *S, f"hydra.run.dir={tmp_path}")
    assert status == 2
    assert "recipe=lama4 does not exist; the options are cohere2, deepseek_v3, exaone4," in errors
    assert "Did you mean llama4?" in errors
