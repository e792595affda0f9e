"""What a run is: what is compared, skipped, gone on with and averaged, and where it lies."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.jobs.launch import WATCHING_CALLBACKS, sweep_name
from posenc.report.numbers.compare import compare
from posenc.report.reading.read import Run
from posenc.report.reading.saved import read_table
from posenc.runs import identity
from posenc.trained.load import load
from tests.conftest import CONFIGS, ROOT, Launch
from tests.test_training import result, weights

S = (
    "dataset=majority", "dataset.length=8", "dataset.test_lengths=[8]", "model.dim=16", "model.num_heads=2",
    "model.num_layers=1", "trainer.max_steps=4", "trainer.validate_every=2", "data.eval_size=32", "data.batch_size=4",
    "threads=1", "callbacks=quiet", "~logger.tensorboard",
)  # fmt: skip
AVERAGE = (
    "+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "+callbacks.ema.decay=0.5",
    "+callbacks.ema.update_every_n_steps=1",
)  # fmt: skip
GROUPS = ("data", "trainer", "module", "optimizer", "model", "dataset", "encoding", "positions")


def plain(config: DictConfig) -> dict[str, Any]:
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


@pytest.fixture(scope="module")
def default(composed: Callable[..., DictConfig]) -> dict[str, Any]:
    return plain(composed("~callbacks", "~logger"))


def test_every_value_is_in_the_identity_or_named_as_harmless(default: dict[str, Any]) -> None:
    before = identity.config_hash(default)
    for group in GROUPS:
        for key in [*default[group], "a_key_of_tomorrow"]:
            changed = default | {group: default[group] | {key: "another value"}}
            harmless = f"{group}.{key}" in identity.HARMLESS
            assert (identity.config_hash(changed) == before) == harmless, f"{group}.{key}"
    for key, value in {"force": True, "threads": 3, "name": "x", "logger": {}, "study": None, "start": None}.items():
        assert identity.config_hash(default | {key: value}) == before
    for key, value in {"seed": 1, "ckpt_path": "x", "another": 1}.items():
        assert identity.config_hash(default | {key: value}) != before


def test_how_a_run_ends_is_in_the_identity_and_none_is_as_before(composed: Callable[..., DictConfig]) -> None:
    configs = [plain(composed(f"stop={name}", "~callbacks", "~logger")) for name in ("none", "solved", "plateau")]
    assert len({identity.config_hash(config) for config in configs}) == 3
    former = {key: value for key, value in configs[0].items() if key != "stop"}
    assert identity.config_hash(former) == identity.config_hash(configs[0])
    assert identity.former_hashes(former) == identity.former_hashes(configs[0])
    for key in configs[1]["stop"]:
        changed = configs[1] | {"stop": configs[1]["stop"] | {key: "another value"}}
        assert identity.config_hash(changed) != identity.config_hash(configs[1]), key


def test_keys_that_are_newer_than_a_run_count_unless_they_say_what_was_done_before(default: dict[str, Any]) -> None:
    for key in identity.NEWER:
        group, _, name = key.partition(".")
        former = default | {group: {other: value for other, value in default[group].items() if other != name}}
        null, other = (default | {group: default[group] | {name: value}} for value in (None, "another value"))
        assert identity.config_hash(null) == identity.config_hash(former) != identity.config_hash(other)
        assert identity.former_hashes(null) == identity.former_hashes(former)
    for key, value in identity.BEFORE.items():
        group, _, name = key.partition(".")
        same, other = (default | {group: default[group] | {name: each}} for each in (value, "another value"))
        assert identity.config_hash(same) == identity.config_hash(default) != identity.config_hash(other)


def test_parts_of_a_mixture_have_newer_keys_too(default: dict[str, Any]) -> None:
    def mixed(**more: Any) -> str:
        parts = {"one": {"_target_": "mine.One", "base": 10.0} | more, "two": {"_target_": "mine.Two"}}
        return identity.config_hash(default | {"encoding": {"_target_": "mine.Mixture", "parts": parts}})

    assert mixed(rotated=None, truncate=True) == mixed()
    assert len({mixed(), mixed(rotated=0.5), mixed(truncate=False), mixed(base=20.0)}) == 4


def test_callbacks_count_unless_they_are_known_to_watch(default: dict[str, Any]) -> None:
    before, names = identity.config_hash(default), set[str]()
    for path in (CONFIGS / "callbacks").glob("*.yaml"):
        watching = yaml.safe_load(path.read_text())
        names |= set(watching)
        assert identity.config_hash(default | {"callbacks": watching}) == before
    assert names == set(WATCHING_CALLBACKS)
    for name in ("EMAWeightAveraging", "EarlyStopping", "GradientAccumulationScheduler", "Timer", "LambdaCallback"):
        node = {"mine": {"_target_": f"lightning.pytorch.callbacks.{name}"}}
        assert identity.config_hash(default | {"callbacks": node}) != before, name
    for name in ("LearningRateMonitor", "lr_monitor.LearningRateMonitor"):
        node = {"mine": {"_target_": f"lightning.pytorch.callbacks.{name}"}, "left_out": None}
        assert identity.config_hash(default | {"callbacks": node}) == before, name
    assert identity.config_hash(default | {"callbacks": {"m": {"_target_": "mine.LearningRateMonitor"}}}) != before


@pytest.mark.slow
def test_what_is_harmless_changes_no_bit(command: Launch, tmp_path: Path) -> None:
    quiet = [word for word in S if "callbacks" not in word]
    assert command(*quiet, "model.dropout=0.1", f"hydra.run.dir={tmp_path / 'a'}") == (0, "")
    more = (
        "trainer.log_every=1",
        "trainer.checkpoint_every=1",
        "data.eval_tokens_per_batch=64",
        "~callbacks",
    )
    assert command(*quiet, "model.dropout=0.1", *more, f"hydra.run.dir={tmp_path / 'b'}") == (0, "")
    a, b = result(tmp_path / "a"), result(tmp_path / "b")
    assert a["config_hash"] == b["config_hash"]
    assert a["test"]["8"] == pytest.approx(b["test"]["8"], rel=1e-6)
    for x, y in zip(weights(tmp_path / "a").values(), weights(tmp_path / "b").values(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.slow
def test_a_callback_that_changes_training_is_another_run(command: Launch, tmp_path: Path) -> None:
    folders = [tmp_path / name / "seed0" for name in ("plain", "averaged")]
    for folder, more in zip(folders, ((), AVERAGE), strict=True):
        assert command(*S, *more, f"hydra.run.dir={folder}") == (0, "")
    assert result(folders[0])["test"] != result(folders[1])["test"]
    status, errors = command(*S, *AVERAGE, f"hydra.run.dir={folders[0]}")
    assert status == 2
    assert "already contains a run of another config" in errors
    facet = compare([tmp_path], None, 0.01).facets[0]
    assert len(facet.arms) == 2
    assert sum("EMAWeightAveraging" in arm for arm in facet.arms) == 1, facet.arms


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["callbacks=quiet", "~callbacks.progress", "callbacks.layers.every=3"], "sweep"),
        (["+callbacks.a._target_=lightning.pytorch.callbacks.LearningRateMonitor", "+callbacks.a.x=1"], "sweep"),
        (["callbacks=mine"], "sweep_callbacks=mine"),
        ([*AVERAGE], "sweep_callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging_callbacks.*"),
    ],
)
def test_a_sweep_with_other_callbacks_has_another_folder(words: list[str], name: str) -> None:
    assert re.fullmatch(name, sweep_name(OverridesParser.create().parse_overrides(words)))


def test_a_record_that_still_allows_is_the_same_run() -> None:
    config = {"encoding": {"_target_": "a.B"}, "seed": 0}
    assert identity.config_hash(config | {"allow": []}) == identity.config_hash(config)
    assert "allow" not in identity.HARMLESS


@pytest.mark.slow
def test_a_folder_of_a_former_posenc_is_recognised(command: Launch, tmp_path: Path) -> None:
    """Finished and failed ones, by their recorded config: the digest in them is another."""
    line = (*S, f"hydra.run.dir={tmp_path}")
    assert command(*line) == (0, "")
    record = result(tmp_path)
    config = plain(OmegaConf.load(tmp_path / ".hydra" / "config.yaml"))  # pyright: ignore[reportArgumentType]
    former = identity.former_hashes(config)[-1]
    assert former != record["config_hash"]
    (tmp_path / ".hydra" / "identity.json").unlink()
    (tmp_path / "result.json").write_text(json.dumps(record | {"config_hash": former}))
    assert command(*line) == (0, "")
    assert result(tmp_path)["config_hash"] == former  # it was shown, not trained
    assert command(*line, *AVERAGE)[0] == 2
    failed = {key: record[key] for key in ("schema", "encoding", "dataset", "seed")}
    failed |= {"status": "failed", "error": "x", "config_hash": former}
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "result.json").write_text(json.dumps(failed))
    assert command(*S, f"hydra.run.dir={tmp_path / 'early'}") == (0, "")
    assert result(tmp_path / "early")["status"] == "completed"


@pytest.mark.slow
def test_data_that_changed_are_another_run(command: Launch, tmp_path: Path) -> None:
    corpus = tmp_path / "c.txt"
    corpus.write_text("the cat sat on the mat. " * 100)
    folders = [tmp_path / "text" / "learned_relative" / f"seed{seed}" for seed in range(3)]

    def train(seed: int) -> tuple[int, str]:
        where = f"hydra.run.dir={folders[seed]}"
        return command("dataset=text", f"dataset.path={corpus}", *S[1:], f"seed={seed}", where)

    assert train(0) == train(1) == (0, "")
    before = [(folder / "result.json").read_bytes() for folder in folders[:2]]
    (folders[1] / "result.json").unlink()  # as if it had been killed
    checkpoint = (folders[1] / "checkpoints" / "last.ckpt").read_bytes()
    corpus.write_text("another text, of other words. " * 100)
    for seed in (0, 1):
        status, errors = train(seed)
        assert status == 2
        assert "contains a run on other data: the data at dataset.path had the digest" in errors
    assert train(2) == (0, "")
    assert (folders[0] / "result.json").read_bytes() == before[0]
    assert (folders[1] / "checkpoints" / "last.ckpt").read_bytes() == checkpoint
    facets = compare([tmp_path], None, 0.01).facets
    assert len({facet.dataset for facet in facets if facet.arms}) == 2
    with pytest.raises(ConfigError, match="was trained on other data"):
        load(folders[0])
    corpus.write_text("the cat sat on the mat. " * 100)
    assert train(0) == train(1) == (0, "")
    assert (folders[0] / "result.json").read_bytes() == before[0]
    assert result(folders[1])["test"] == json.loads(before[1])["test"]


@pytest.mark.parametrize("schema", [1, 3, 99, None, "2"])
def test_a_result_of_another_layout_is_not_touched(command: Launch, tmp_path: Path, schema: Any) -> None:
    content = json.dumps({"schema": schema, "status": "failed", "encoding": "rope", "dataset": "majority", "seed": 0})
    (tmp_path / "result.json").write_text(content)
    status, errors = command(*S, f"hydra.run.dir={tmp_path}")
    assert status == 2
    assert "and this posenc reads and writes layout 2" in errors
    assert (tmp_path / "result.json").read_text() == content
    assert not [path for path in tmp_path.iterdir() if path.name != "result.json"]
    with pytest.raises(ConfigError, match=r"no run of posenc.*reads and writes layout 2"):
        compare([tmp_path], None, 0.01)


@pytest.mark.slow
def test_a_value_that_no_run_can_have_is_a_row(command: Launch, tmp_path: Path) -> None:
    swept = ("-m", "force=false,maybe", *S, f"hydra.sweep.dir={tmp_path}")
    assert command(*swept)[0] == 1
    (journal,) = (tmp_path / ".sweeps").glob("*.json")
    jobs = json.loads(journal.read_text())["jobs"]
    assert [job["state"] for job in jobs] == ["completed", "failed"]
    assert jobs[1]["result"]["error"] == "force must be true or false, got 'maybe'."
    assert (tmp_path / "index.html").exists()


@pytest.mark.slow
def test_a_run_whose_layers_shared_their_weights_is_not_one_in_which_each_has_its_own(
    command: Launch, tmp_path: Path, composed: Callable[..., DictConfig]
) -> None:
    """The default has changed and the config has not: the digest that an earlier posenc recorded tells them apart."""
    words = ("encoding=t5", "~callbacks", "~logger", "model.encoding_per_layer=null")
    config = plain(composed(*words))
    assert identity.former_hashes(config)
    assert not identity.shared_before(config, identity.former_hashes(config)[0])
    config = plain(composed("encoding=shaw", *words[1:]))
    explicit = config | {"model": config["model"] | {"encoding_per_layer": False}}
    recorded = identity._former(config)[0]
    assert identity.former_hashes(config) == []
    assert identity.former_hashes(explicit)
    assert identity.shared_before(config, recorded)
    assert not identity.shared_before(config, identity.config_hash(config))
    line = (*S, "encoding=shaw", "model.num_layers=2", f"hydra.run.dir={tmp_path}")
    assert command(*line) == (0, "")
    assert command(*line) == (0, "")
    record, saved = result(tmp_path), plain(OmegaConf.load(tmp_path / ".hydra" / "config.yaml"))  # pyright: ignore[reportArgumentType]
    now = Run(tmp_path, tmp_path, record, saved)
    (tmp_path / "result.json").write_text(json.dumps(record | {"config_hash": identity._former(saved)[0]}))
    status, errors = command(*line)
    assert status == 2
    assert "contains a run of an earlier posenc, in which all layers shared" in errors
    before = Run(tmp_path, tmp_path, result(tmp_path), saved)
    assert before.settings != now.settings
    assert before.identity != now.identity


@pytest.mark.parametrize("table", sorted((ROOT / "docs" / "results").rglob("*.csv")), ids=lambda path: path.parent.name)
def test_published_runs_whose_layers_have_their_own_weights_are_not_taken_for_former_ones(table: Path) -> None:
    for run in read_table(table)[0]:
        if run.config is not None and run.config_hash == identity.config_hash(run.config):
            assert run.settings.get("model.encoding_per_layer") != "false before", run.name
