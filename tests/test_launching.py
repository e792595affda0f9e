"""What is typed of Hydra's own options has an effect or is refused, and choices of groups are answered in words."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from posenc.checks import ConfigError
from posenc.config import launching
from posenc.config.explain import explain
from posenc.config.typed import check_options, check_overrides
from posenc.runs.sweep_journal import HYDRAS, Journal
from tests.conftest import CONFIGS

OURS = [f"{key}={value}" for key, value in zip(launching.ADDED, ("[]", "runs/sweep"), strict=True)]
SEARCH = ("experiment=search_rope_base", "hydra.mode=MULTIRUN")


def composed(*words: str) -> Any:
    """As posenc.jobs.launch would hand them to Hydra."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=[*OURS, *words], return_hydra_config=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hydra.sweep.dir=X", "hydra.sweep.dir is read in a sweep, but this is one run; add -m, .* is hydra.run.dir"),
        ("hydra.sweep.subdir=X", "hydra.sweep.subdir is read in a sweep, but this is one run"),
        ("hydra.sweeper.max_batch_size=2", "hydra.sweeper.max_batch_size is read in a sweep"),
        ("hydra/launcher=joblib", "hydra/launcher is read in a sweep"),
        ("hydra.mode=MULTIRUN hydra.run.dir=X", "hydra.run.dir is the folder of one run.*write hydra.sweep.dir="),
        ("++hydra.foo=1", "hydra.foo is a key that nothing reads"),
        ("++hydra.job.foo=1", "hydra.job.foo is a key that nothing reads"),
    ],
)
def test_an_option_of_hydras_without_effect_is_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launching.check(composed(*words.split()).hydra)


def test_options_of_hydras_that_are_read_are_taken() -> None:
    for words in ("hydra.run.dir=X", "hydra.job.chdir=true", "++hydra.job.env_set.A=1", "hydra.mode=MULTIRUN"):
        launching.check(composed(*words.split()).hydra)
    launching.check(composed("hydra.mode=MULTIRUN", "hydra.sweep.dir=X", "launcher=joblib").hydra)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hydra.sweeper.n_trials=0", "n_trials must be a whole number ≥ 1, got 0"),
        ("hydra.sweeper.n_jobs=-1", "n_jobs must be a whole number ≥ 1, got -1"),
        ("hydra.sweeper.direction=maximize", "direction=maximize does not fit"),
        ("hydra.sweeper.params=null", "nothing to search for"),
        ("encoding.base=5", "nothing to search for"),
        ("trainer.max_steps=100 trainer.validate_every=101", "with trainer.validate_every=101 there is no validation"),
    ],
)
def test_a_search_that_could_find_nothing_is_refused(words: str, message: str) -> None:
    config = composed(*SEARCH, *words.split())
    with pytest.raises(ConfigError, match=message):
        launching.check_sweep(config, config.hydra)


def test_a_search_and_a_sweep_are_taken() -> None:
    for words in (SEARCH, (*SEARCH, "trainer.max_steps=100", "trainer.validate_every=100"), ("hydra.mode=MULTIRUN",)):
        config = composed(*words)
        launching.check_sweep(config, config.hydra)
    config = composed("hydra.mode=MULTIRUN", "hydra.sweeper.max_batch_size=0")
    with pytest.raises(ConfigError, match="max_batch_size must be ≥ 1 or null, got 0"):
        launching.check_sweep(config, config.hydra)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+encoding=rope", "encoding is chosen once; write encoding=rope, without [+]"),
        ("++launcher=joblib", "write launcher=joblib, without [+]"),
        ("encoding=", "encoding= chooses nothing; the options are abacus, alibi"),
        ("dataset=null", "dataset=null chooses nothing; the options are abs_pattern"),
        ("callbacks=null", "chooses nothing; ~callbacks leaves it out, the options are default, quiet"),
        ("experiment=null", "chooses nothing; leave experiment out"),
        ("~profile", "a run needs profile; leave ~profile out"),
        ("~encoding=rope", "a run needs encoding; leave ~encoding=rope out"),
        ("encoding=[none,rope]", "encoding is one of abacus, .*; for a run of each leave the brackets out and add -m"),
        ("encoding=./rope", "encoding=./rope names a file; write encoding=rope"),
        ("encoding=none,rope.yaml", "encoding=rope.yaml names a file; write encoding=rope"),
        ("name=../x", "name must name a folder in runs/, got '../x'"),
        ("name=null", "name must name a folder in runs/, got None"),
        ('name="it\'s"', "name must name a folder in runs/"),
        ("name=a hydra.run.dir=b", "name and hydra.run.dir both name the folder"),
        ("hydra.callbacks.summary=null", "summary reports the runs of a command; leave it"),
    ],
)
def test_a_choice_that_chooses_nothing(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_overrides(OverridesParser.create().parse_overrides(word.split()), CONFIGS)


def test_choices_that_are_options() -> None:
    words = ["encoding=none,rope", "dataset=glob(*)", "~callbacks", "logger=[default,wandb]", "name=a", "seed=1"]
    check_overrides(OverridesParser.create().parse_overrides(words), CONFIGS)


def test_options_of_the_command() -> None:
    check_options(["--version"])
    check_options(["--cfg", "job", "--package", "model"])
    with pytest.raises(ConfigError, match="--package model only changes what --cfg shows"):
        check_options(["--package", "model"])


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What is answered to a command that Hydra cannot compose."""
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            compose("train", overrides=[*words])
    except Exception as error:
        return explain(error, CONFIGS)
    raise AssertionError(words)


@pytest.mark.slow
def test_what_hydra_refuses_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "+seed=1": "seed has a value already; write seed=1, without +.",
        "model.dim =32": "model.dim cannot be read; write model.dim=32, without spaces.",
        "hydra.launcher.n_jobs=2": "hydra.launcher has no options; launcher=joblib, slurm or ray brings others.",
        "encoding=none encoding.base=3": "encoding.base does not exist; encoding has no options.",
        "encoding=ROPE": "Did you mean rope?",
        "hydra/sweeper=foo": "hydra/sweeper=foo does not exist; the options are basic",
        "seed=range(3)": "seed=range(3) asks for several runs; add -m.",
    }
    for words, answer in answers.items():
        assert re.search(re.escape(answer), said(monkeypatch, *words.split())), words
    monkeypatch.setattr("sys.argv", ["train.py", "-m", "encoding=none,rope"])
    error = Exception("Could not override 'encoding.bse'.")
    assert explain(error, CONFIGS).startswith("encoding.bse does not exist; encoding has num_heads")
    error = Exception("Could not override 'encoding.base'.")
    assert "write ++encoding.base= to set it in the whole sweep" in explain(error, CONFIGS)


def test_a_sweep_that_comes_to_no_job_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "sweep" / ".sweeps" / "now")
    journal.plan(2, [])
    (tmp_path / "sweep" / HYDRAS).touch()
    journal.discard()
    assert not [*tmp_path.iterdir()]
    journal.plan(2, [])
    (tmp_path / "sweep" / "majority").mkdir()
    journal.discard()
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["majority"]
