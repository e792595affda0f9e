"""Whatever is typed has an effect or is refused: misspelt keys, options that a study does not read."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from posenc.checks import ConfigError
from posenc.config import allowed, effect, shape
from posenc.config.make import KINDS, make
from tests.conftest import CONFIGS, Launch

FREE = ("callbacks.tensorboard.hparams", "callbacks.tensorboard.usual")
"""Options with keys of any name."""


def leaves(node: object, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items():
            if not str(key).startswith("_") and not path.startswith(FREE):
                yield f"{path}{key}"
                yield from leaves(child, f"{path}{key}.")


def wrong(keys: list[str]) -> set[str]:
    """Each key with a letter lost, one doubled, and moved: to the top, into another group, one level down."""
    found = set[str]()
    for key in keys:
        parent, dot, last = key.rpartition(".")
        found |= {f"{parent}{dot}{last[:-1]}", f"{parent}{dot}{last[0]}{last}", f"{parent}{dot}{last}_x"}
        found |= {last, f"optimizer.{last}", f"model.{last}", f"encoding.{last}", f"trainer.{last}", f"wrong.{last}"}
    return {key for key in found - {*keys} if key and not key.endswith(".")}


GIVEN = {
    "data": ("task", "seed"),
    "model": ("encoding", "vocab_size", "num_outputs"),
    "module": ("encoder", "positions", "task", "optimizer", "seed"),
    "trainer": ("folder", "callbacks", "logger", "stop", "environment"),
}


@pytest.mark.slow
def test_no_key_is_added_that_nothing_reads(composed: Callable[..., DictConfig]) -> None:
    """As `++KEY=1`."""
    config = composed("logger=default", "name=x", "callbacks=quiet", "logger.csv.save_dir=x", "~logger.tensorboard")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    tried = sorted(wrong([*leaves(plain)]))[::2]
    assert len(tried) > 150
    accepted, refused = [], []
    for key in tried:
        group, _, rest = key.partition(".")
        try:
            if group not in plain:
                with open_dict(config):
                    OmegaConf.update(config, key, 1)
                try:
                    effect.check_keys(config)
                finally:
                    with open_dict(config):
                        config.pop(group)
            elif group in KINDS and rest:
                node = OmegaConf.create(plain[group])
                OmegaConf.update(node, rest, 1, force_add=True)
                allowed.check(OmegaConf.to_container(node), group, KINDS[group], GIVEN.get(group, ()))
            else:
                continue
        except ConfigError as error:
            refused.append((key, str(error)))
        else:
            accepted.append(key)
    assert not accepted
    assert all(key.partition(".")[0] in message for key, message in refused)


def test_a_key_that_an_interpolation_reads_is_read(composed: Callable[..., DictConfig]) -> None:
    effect.check_keys(composed("+width=8", "model.dim=${width}"))
    with pytest.raises(ConfigError, match="width is a key that nothing reads"):
        effect.check_keys(composed("+width=8"))


def check(*words: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[*words], return_hydra_config=True)
    effect.check(config, config.hydra)


@pytest.mark.slow
def test_a_study_refuses_what_it_does_not_read() -> None:
    for word in ("encoding=fire", "dataset=copy", "trainer.max_steps=5", "data.batch_size=4", "~logger"):
        key = word.partition("=")[0].lstrip("~")
        message = f"experiment=rank_collapse does not read {key}, which would have no effect; it reads study.*, seed"
        with pytest.raises(ConfigError, match=re.escape(message)):
            check("experiment=rank_collapse", word)
    check("experiment=rank_collapse", "model.dim=32", "study.layers=4", "seed=3", "profile=smoke", "threads=1")
    check("experiment=rank_collapse", "encoding@study.arms.rope.encoding=fire")
    check("experiment=gradient_flow", "dataset=copy")  # its trained arms read it


@pytest.mark.slow
def test_a_file_without_its_package_line(command: Launch, tmp_path: Path) -> None:
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text("trainer:\n  max_steps: 2\n")
    run = f"hydra.run.dir={tmp_path / 'run'}"
    status, errors = command(f"--config-dir={tmp_path / 'configs'}", "experiment=mine", run)
    assert status == 2
    assert "the file of experiment=mine would set experiment.* alone" in errors
    assert "`# @package _global_`" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_what_watches_may_be_left_out(composed: Callable[..., DictConfig], group: str) -> None:
    assert make(composed(f"~{group}"), group) == {}
    node = composed(f"~{group}", "~callbacks" if group == "logger" else "~logger")  # they resolve outside of a run only
    assert group not in shape.check(node)
