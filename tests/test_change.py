"""What `python -m posenc evaluate` asks for: changes of a run's config, and how many evaluations they are."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from posenc.__main__ import parser
from posenc.checks import ConfigError
from posenc.trained.change import changed, each_evaluation
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_choice_keeps_what_the_run_and_it_have_in_common(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded(*words: str) -> DictConfig:
        plain = OmegaConf.to_container(composed(*words, "callbacks=quiet", "~logger"), resolve=True)
        assert isinstance(plain, dict)
        return DictConfig(plain)

    run = recorded("encoding=rope", "encoding.base=500", "encoding.layout=half_split", "dataset=flip_flop")
    yarn = changed(run, ["encoding=rope_yarn", "encoding.factor=2"], [8]).encoding
    assert (yarn.base, yarn.layout, yarn.factor, yarn.dim, yarn.original_length) == (500, "half_split", 2, 64, None)
    assert changed(run, ["encoding.base=7", "encoding=rope_yarn"]).encoding.base == 7  # in whatever order
    assert changed(run, ["dataset.p_ignore=0.1"]).dataset.p_ignore == 0.1
    assert run.dataset.p_ignore == 0.8
    mixture = recorded("encoding=rope@far-none", "encoding.parts.far.base=500")
    now = changed(mixture, ["encoding=rope_linear@far-none"]).encoding
    assert (now.parts.far.base, now.parts.far.factor, list(now.layers)) == (500, 4, ["far", "none"])
    mine = tmp_path / "configs" / "encoding" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("_target_: mine.Mine\nbase: 3\nfactor: 7\n")
    monkeypatch.chdir(tmp_path)
    assert changed(run, ["encoding=mine"]).encoding == {"_target_": "mine.Mine", "base": 500, "factor": 7}


def test_the_commands_of_the_page_ask_for_evaluations() -> None:
    page = (ROOT / "docs" / "evaluate.md").read_text()
    commands = re.findall(r"^python -m posenc (evaluate .*?)(?:  #.*)?$", page, re.MULTILINE)
    assert len(commands) >= 7
    numbers = [len(each_evaluation(parser().parse_args(shlex.split(command)).words)) for command in commands]
    assert numbers[:5] == [1, 5, 1, 2, 3]


def test_lists_of_values_are_evaluations_of_each() -> None:
    assert each_evaluation([]) == [[]]
    assert each_evaluation(["encoding=rope,rope_yarn", "model.window=[4,null]"]) == [
        ["encoding=rope", "model.window=[4,null]"], ["encoding=rope_yarn", "model.window=[4,null]"],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="is read by training alone"):
        each_evaluation(["encoding=rope,rope_yarn", "data.batch_size=3"])
