"""Mistakes on the command line: whatever is typed trains, or gets one message and leaves nothing behind.

`python -m tests.reliability.overrides` gives thousands of drawn commands; here are a few, and every mistake that was
found so.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.conftest import Launch
from tests.reliability.commands import SMALL, commands
from tests.reliability.judgement import GOOD, REFUSED, TRAINED, Outcome, judge, observe

Give = Callable[..., Outcome]


@pytest.fixture
def give(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Give a command in an empty folder; what came of it."""
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 400)
    folder = tmp_path / "here"

    def run(*words: str) -> Outcome:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        monkeypatch.chdir(folder)
        status, errors = command(*words)
        return observe(status, "", errors, folder)

    return run


@pytest.mark.slow
def test_drawn_commands_train_or_are_refused(give: Give) -> None:
    @settings(
        max_examples=25, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(commands())
    def check(words: tuple[str, ...]) -> None:
        outcome = give(*words)
        assert judge(outcome) in GOOD, (words, outcome)

    check()


HUGE = 10**30

MISTAKES = [
    ("callbacks=quiet callbacks.foo=1", "callbacks.foo does not exist; callbacks has"),
    ("seed=é", "seed=é cannot be read; write it as KEY=VALUE"),
    ("dataset=4.0", "does not make a config: Config group override must be a string or a list"),
    ("trainer=[1,2,3]", "does not make a config"),
    ("model.dim=${nowhere}", "^error: .*Interpolation key 'nowhere' not found[^\n]*\n$"),
    ("~seed", "the config has no seed, and a run needs it; leave ~seed out"),
    ("~trainer.precision", "trainer has no precision, and a run needs it; leave ~trainer.precision out"),
    ("start_from=${nowhere}", "^error: .*Interpolation key 'nowhere' not found[^\n]*\n$"),
    ("data=0.5", "data must be a group of options, got 0.5, .*; write data.OPTION=VALUE"),
    ("model=3", "does not make a config: Config group override must be"),
    ("optimizer=[1]", "Cannot merge DictConfig with ListConfig"),
    ("callbacks.layers=3", "callbacks.layers must be a group of options, got 3"),
    ("positions._target_=3", "positions._target_ must be the name of a class or function, got 3"),
    ("positions._target_=posenc.nothing.At.All", "positions: .*cannot be imported"),
    ("study=3", "study must be a group of options, got 3"),
    ("ckpt_path=3", "ckpt_path must be the path of a checkpoint or null, got 3"),
    ("optimizer._partial_=nan", "optimizer: .*_partial_ flag must be a bool"),
    ("logger.tensorboard.save_dir=inf", "Board: save_dir must be the name of a folder, got inf"),
    ("logger.tensorboard.name=-1", "Board: name must be the name of a folder, got -1"),
    ("logger.tensorboard.ceilings=3", "ceilings must be true or false, got 3"),
    ("+logger.tensorboard.flush_secs=0", "flush_secs must be a whole number ≥ 1, got 0"),
    ("logger.csv.save_dir=/dev/null", "logger: /dev/null cannot be made in /dev/null"),
    ("threads=1000000000", "threads must be a whole number ≤ 1024, got 1000000000"),
    ("trainer.accelerator=[32]", r"accelerator must be a word such as auto, cpu or gpu, got \[32\]"),
    ("trainer.devices=1000000000", "devices must be at most [0-9]+ on this machine, got 1000000000"),
    (f"trainer.max_steps={HUGE}", f"max_steps must be a whole number ≤ {2**63 - 1}"),
    (f"model.logit_gain={HUGE}", "logit_gain is too large for a whole number, .*; write it as 1e20"),
    ("model.dim=1000000000", "dim must be a whole number ≤ 16384, got 1000000000"),
    ("model.num_layers=1000000000", "num_layers must be a whole number ≤ 4096"),
    ("model.mlp_ratio=1e308", "mlp_ratio must be a number ≥ 0 and ≤ 1e[+]06"),
    ("model.mlp_ratio=1e-9", "mlp_ratio=1e-09 times dim 16 gives no hidden unit; set model.mlp_ratio=0 for no MLP"),
    (
        "encoding=learned_absolute encoding.max_length=1000000000",
        "a tensor of .* is too large.*; lower encoding.max_length",
    ),
    ("encoding=continuous encoding.period=1e300", "period must be a number ≥ 0 and ≤ 1.67772e[+]07"),
    ("encoding=fire encoding.hidden=1000000000", "hidden must be a whole number ≤ 16384"),
    ("encoding=rope_ntk encoding.factor=1e300", "factor must be a number ≥ 1 and ≤ 1e[+]06"),
    ("positions=randomized positions.span=1000000000", "span must be a whole number ≤ 16777216"),
    ("data.batch_size=1000000000", "a tensor of .* is too large.*; lower data.batch_size"),
    ("data.train_size=1000000000", "a tensor of .* is too large.*; lower data.train_size"),
    ("dataset.length=1000000000", "length must be a whole number ≤ 1048576"),
    ("dataset.vocab_size=1000000000", "vocab_size must be a whole number ≤ 1048576"),
    ("dataset.test_lengths=[[1,2]]", r"each of dataset.test_lengths must be a whole number ≥ 1, got \[1, 2\]"),
    ("dataset.causal=3", "causal must be true or false, got 3"),
    ("dataset.readout=3", "readout=3 is not one of mean, last, query, per_token"),
    ("dataset=chained_lookup dataset.hops=1000000000", "hops must be a whole number ≤ 1024"),
    ("dataset=markov dataset.order=1000000000", "order must be a whole number ≤ 12"),
    ("dataset=copy dataset.copies=1000000000", "at length [0-9]+ a model reads [0-9]+ tokens, but at most 1048576"),
    (f"dataset=rel_pattern dataset.offsets=[1,{HUGE}]", "offsets must be a whole number ≤ 1048576"),
    ("dataset=text dataset.path=3", "dataset.path must be a file, a folder or null, got 3"),
    ("++lr=0.001", "lr is a key that nothing reads; leave it out. Did you mean optimizer.lr[?]"),
    ("++enc=rope", "enc is a key that nothing reads; leave it out. Did you mean encoding=[?]"),
    ("+lr=0.001", "Did you mean optimizer.lr[?]"),
    ("lr=0.001", "lr does not exist.* Did you mean optimizer.lr[?]"),
    ("enc=rope", "enc does not exist.* Did you mean encoding=[?]"),
    ("model.lr=0.001", "model.lr does not exist.* Did you mean optimizer.lr[?]"),
    ("++model.foo=1", "model.foo does not exist: the options are dim, num_heads"),
    ("+dataset.foo=1", "dataset.foo does not exist: the options are length"),
    ("++trainer.foo=1", "trainer.foo does not exist: the options are max_steps"),
    ("++optimizer.foo=1", "optimizer.foo does not exist: the options are"),
    ("+callbacks.gradient_norm.foo=1", "callbacks.gradient_norm.foo does not exist: it has no options"),
    ("++logger.csv.foo=1", "logger.csv.foo does not exist: the options are save_dir"),
    ("+logger.tensorboard.foo=1", "logger.tensorboard.foo does not exist: the options are save_dir, .*flush_secs"),
    ("+logger.tensorboard.log_dir=x", "logger.tensorboard.log_dir does not exist"),
    (
        "+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging +callbacks.ema.foo=1",
        "callbacks.ema.foo does not exist: the options are .*use_buffers",
    ),
    (
        "+callbacks.t._target_=lightning.pytorch.callbacks.ThroughputMonitor +callbacks.t.foo=1",
        "callbacks.t.foo does not exist: the options are .*window_size",
    ),
    (
        "+callbacks.s._target_=lightning.pytorch.callbacks.ModelSummary +callbacks.s.foo=1",
        "callbacks.s.foo does not exist: the options are max_depth",
    ),
    ("++module.seed=7", "module.seed is set by posenc itself; leave it out"),
    ("++trainer.stop=1", "trainer.stop is set by posenc itself; leave it out"),
    ("+study.foo=1", "study"),
    ("profile=smoke", "profile=smoke has no effect: a run without an experiment has no profiles"),
    ("launcher=joblib", "launcher=joblib starts the runs of a sweep, but this is one run; add -m"),
    ("--encoding rope", "^error: --encoding is no option of python train.py; .*: write encoding=rope[.]\n$"),
    ("optimizer=adam", "optimizer must be a group of options, got 'adam'.*; write optimizer._target_=torch.optim.Adam"),
    ("optimizer=torch.optim.Adam", "write optimizer._target_=torch.optim.Adam[.]"),
    ("encoding_per_layer=true", "Did you mean model.encoding_per_layer[?]"),
    ("dataset.test_lengths=[]", "test_lengths is empty; list a length, or write null"),
    ("data.train_size=2", "a batch of 4 sequences exceeds train_size 2"),
    ("data.train_size=10 dataset.length=[24,32]", "needs one length, .*; set dataset.length=32"),
    ("dataset=text dataset.mask=0.5", "dataset.mask has no effect: with dataset.causal=true the next byte is asked"),
    ("dataset.readout=last model.readout=mean", "dataset.readout has no effect: model.readout is set by itself"),
    ("data=x", "data must be a group of options, got 'x'.*; write data.OPTION=VALUE"),
    ("dataset=text dataset.path=''", "dataset.path must be a file, a folder or null, got ''"),
]


def test_the_folder_of_a_run_is_not_ignored_in_a_sweep(give: Give) -> None:
    outcome = give("-m", "seed=0,1", "hydra.run.dir=run")
    assert judge(outcome) == REFUSED, outcome
    assert "write hydra.sweep.dir=" in outcome.errors


def test_a_search_without_validations_is_refused(give: Give) -> None:
    words = "experiment=search_rope_base trainer.validate_every=100 trainer.max_steps=50 hydra.sweeper.n_trials=2"
    outcome = give(*words.split(), "hydra.sweep.dir=run")
    assert judge(outcome) == REFUSED, outcome
    assert re.match("error: a search compares trials by their validation loss, and with [^\n]*\n$", outcome.errors)


@pytest.mark.parametrize("word", ["seed=range(0)", "encoding=glob(zzz*)"])
def test_a_sweep_without_runs_is_refused(give: Give, word: str) -> None:
    outcome = give("-m", word, "hydra.sweep.dir=run")
    assert judge(outcome) == REFUSED, outcome
    assert "the sweep has no runs" in outcome.errors


@pytest.mark.slow
@pytest.mark.parametrize("word", ["~logger", "~callbacks"])
def test_what_only_watches_may_be_left_out(give: Give, word: str) -> None:
    assert judge(give(*SMALL, word, "hydra.run.dir=run")) == TRAINED


def test_a_word_with_an_interpolation_is_kept_as_it_was_typed(give: Give) -> None:
    word = "data.eval_size=${data.batch_size}"
    outcome = give(*SMALL, word, "hydra.run.dir=run")
    assert judge(outcome) == TRAINED, outcome
    assert word in shlex.split(json.loads(Path("run/result.json").read_text())["command"])


def test_a_corpus_that_cannot_be_read_leaves_nothing(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("posenc.tasks.parts.corpus.read_bytes", refused)
    outcome = give(*SMALL, "dataset=text", "dataset.path=../book.txt", "hydra.run.dir=run")
    assert judge(outcome) == REFUSED, outcome
    assert "book.txt cannot be written or read (Permission denied)" in outcome.errors


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake[:60] for mistake, _ in MISTAKES])
def test_a_mistake_that_was_found_so(give: Give, mistake: str, message: str) -> None:
    outcome = give(*SMALL, *mistake.split(), "hydra.run.dir=run")
    assert judge(outcome) == REFUSED, outcome
    assert outcome.status == 2
    assert re.search(message, outcome.errors), outcome.errors
