"""One reader for what others wrote, with limits; one writer, which leaves no folder; no module does otherwise."""

import ast
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posenc.__main__ import main
from posenc.checks import ConfigError
from posenc.runs.folder import lock_folder
from posenc.runs.lock import HOLDER, LOCK, locked
from posenc.runs.writing import clear_parts, write_bytes, write_text
from posenc.studies.method.workers import Ledger
from posenc.trained.load import load
from posenc.training.checkpoint_file import DurableFiles, read
from posenc.training.checkpoints import check_weights
from tests.commands import python
from tests.conftest import ROOT, Launch

CODE = sorted([*(ROOT / "posenc").rglob("*.py"), ROOT / "train.py"])
FILES = (
    "open", "read_text", "read_bytes", "read_csv", "read_table", "read_json", "read_pickle", "load", "loadtxt",
    "fromfile", "rglob", "ZipFile", "write_text", "write_bytes", "savefig", "to_csv", "touch", "symlink_to", "save",
    "dump", "copyfile", "tofile", "imsave", "print_png", "print_svg",
)  # fmt: skip
"""What reads or writes a file by its path, in the standard library, torch, numpy, pandas and matplotlib."""
ALLOWED: dict[str, set[str]] = {
    "posenc/runs/files.py": {"open"},  # the reader
    "posenc/runs/writing.py": {"open", "savefig"},  # the writer
    "posenc/runs/reading.py": {"load"},  # of a text that was read
    "posenc/trained/exported.py": {"load", "save"},  # of bytes that were read; into bytes that are written
    "posenc/training/checkpoint_file.py": {"ZipFile", "save"},  # of bytes that were read, into bytes that are written
    "posenc/report/numbers/series.py": {"read_csv"},  # of bytes that were read
    "posenc/answers/recommend.py": {"read_text"},  # asks.toml of the package
    "posenc/figures/style.py": {"read_text", "print_png", "print_svg"},  # families.toml; into bytes that are written
    "posenc/report/pages/page.py": {"read_text"},  # page.css and page.js of the package
    "posenc/catalog/page.py": {"load", "read_text"},  # configs of the package, and those of its user
    "posenc/catalog/start/__init__.py": {"rglob", "copyfile"},  # files of the package, into a folder of its user
    "posenc/benchmark/answers.py": {"rglob"},  # in a folder that it has just made
    "posenc/tasks/parts/corpus.py": {"rglob", "open"},  # of its user
    "posenc/terminal.py": {"open"},  # /dev/null
    "posenc/jobs/summary.py": {"rglob"},  # names of event files, which are counted
    "posenc/answers/web.py": {"read_text"},  # style and script of the package
    "posenc/jobs/plan.py": {"rglob"},  # names of results, which read_json reads
    "posenc/report/pages/overview.py": {"rglob"},  # names of event files of its own, which it renews
    "posenc/jobs/sweep.py": {"rglob"},  # names of results, which read_json reads
}


def by_other_means(path: Path) -> set[str]:
    """Functions of FILES that a module calls and that are neither its own nor of posenc."""
    tree = ast.parse(path.read_text())
    ours = {"self", "cls"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            ours.add(node.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("posenc"):
            ours |= {alias.asname or alias.name for alias in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and (node.args or node.keywords)]
    names = [(call, ast.unparse(call.func)) for call in calls]
    return {
        name.rpartition(".")[2]
        for call, name in names
        if name.rpartition(".")[2] in FILES
        and name.partition(".")[0] not in ours
        and not (name.endswith(".to_csv") and not call.args)  # which then returns a text
    }


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_or_writes_by_other_means(path: Path) -> None:
    assert by_other_means(path) <= ALLOWED.get(str(path.relative_to(ROOT)), set())


@pytest.mark.slow
def test_hostile_files_are_refused_in_time_and_memory() -> None:
    """In one process, which the system may end."""
    done = python("-m", "tests.reliability.hostile", "--mutants", "500")
    assert done.returncode == 0, done.stdout + done.stderr[-200:]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(min_size=1, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = (torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8)


@given(PLAIN, st.sampled_from(KINDS), st.booleans())
def test_a_checkpoint_is_read_as_torch_reads_it(value: Any, kind: torch.dtype, parameter: bool) -> None:
    whole = torch.arange(12).reshape(3, 4).to(kind)
    tensors = [whole, whole.t(), whole[1:, ::2], whole[0, 0], torch.empty(0, dtype=kind)]
    if parameter and kind.is_floating_point:
        tensors.append(torch.nn.Parameter(whole.clone()))
    content = {"value": value, "tensors": tensors, "module": torch.nn.BatchNorm1d(2).state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ckpt"
        DurableFiles().save_checkpoint(content, path)
        mine, theirs = read(path), torch.load(path, weights_only=True)
    assert repr(mine["value"]) == repr(theirs["value"])
    assert list(mine["module"]) == list(theirs["module"])
    assert mine["module"]._metadata == theirs["module"]._metadata
    for a, b in zip(mine["tensors"], theirs["tensors"], strict=True):
        assert (type(a), a.dtype, a.shape, a.stride(), a.requires_grad) == (
            type(b), b.dtype, b.shape, b.stride(), b.requires_grad,
        )  # fmt: skip
        assert torch.equal(a, b)
    assert mine["tensors"][0].data_ptr() == mine["tensors"][1].data_ptr()  # still one storage


def test_names_of_tensors_are_text(tmp_path: Path) -> None:
    name = "\x1b[31mw\u202e\n" + "x" * 500
    DurableFiles().save_checkpoint({"state_dict": {name: torch.zeros(1)}}, tmp_path / "x.ckpt")
    module: Any = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError) as caught:
        check_weights(str(tmp_path / "x.ckpt"), module)
    said = str(caught.value)
    assert said.isprintable()
    assert r"\x1b[31mw\u202e" in said
    assert len(said) < 600


@pytest.mark.parametrize(
    "name",
    [".lock", "length.png", "by_position.png", "figure.svg", "metrics.csv", "result.json", "traceback.txt", "rank1.log",
     "study.csv", "checkpoints", ".hydra", ".hydra/config.yaml", "checkpoints/next.ckpt", "events.out.tfevents.1"],
)  # fmt: skip
def test_a_run_folder_with_a_link_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere" / ("" if name in ("checkpoints", ".hydra") else "precious"))
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(ConfigError, match="is a link, so files would be written"),
        lock_folder(tmp_path / "run", wait=False),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "elsewhere" / "precious").read_text() == "mine"


@pytest.mark.parametrize("words", [("hydra.run.dir=d",), ("-m", "seed=0", "hydra.sweep.dir=d")])
def test_a_command_ends_with_a_sentence_at_a_link(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").write_text("precious")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ("multirun.yaml" if "-m" in words else ".lock")).symlink_to("../v")
    status, said = command(*words)
    assert status == 2
    assert "is a link" in said
    assert said.count("\n") == 1
    assert (tmp_path / "v").read_text() == "precious"
    assert len([*(tmp_path / "d").iterdir()]) == 1


def test_a_run_folder_may_be_named_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "latest").symlink_to("run")
    with lock_folder(tmp_path / "latest", wait=False):
        write_text(tmp_path / "latest" / ".hydra" / "config.yaml", "a: 1\n")
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == "a: 1\n"


def test_many_may_write_one_name(tmp_path: Path) -> None:
    def write(k: int) -> None:
        write_bytes(tmp_path / "index.html", bytes([k]) * 1000)
        clear_parts(tmp_path)  # and of nobody who is at work

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write, k) for k in range(100)]:
            done.result()
    assert len({*(tmp_path / "index.html").read_bytes()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_what_a_killed_process_left_of_a_file_goes(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".result.json.{dead.pid}-abc.part").write_text("{")
    (tmp_path / f".result.json.{os.getpid()}-abc.part").write_text("of one that lives")
    (tmp_path / "kept.part").write_text("of its user")
    with lock_folder(tmp_path, wait=False):
        left = {"kept.part", f".result.json.{os.getpid()}-abc.part"}
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, HOLDER, *left}


def test_lines_of_a_ledger_that_are_no_answers_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('"this"\n5\n["t", [1], [["a", 2]]]\n["t", [2], [[{}]]]\n["t", 3]\nnot\n["t", [4]')
    found = Ledger.open(path, "this")
    assert found is not None
    assert found.known == {'["t", [1]]': [("a", 2)]}
    assert "4 of 6 lines are no answers; their cases are computed again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [("study.csv", b""), ("study.csv", b"\xff\xfe"), ("verdict.json", b"[5]"), (".hydra/config.yaml", b""),
     (".hydra/config.yaml", b"study:\n  arms"), ("verdict.json", b'[{"statement": {"a": 1}, "outcome": "\x1b"}')],
)  # fmt: skip
def test_a_study_that_cannot_be_read_is_a_sentence(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "study.json": b"{}", "study.csv": b"quantity,arm,at,seed,value\n", ".hydra/config.yaml": b"study: {}\n",
        "verdict.json": b'[{"statement": "a", "outcome": "b"}]',
    }  # fmt: skip
    (tmp_path / ".hydra").mkdir()
    for each, text in (files | {name: content}).items():
        (tmp_path / each).write_bytes(text)
    with pytest.raises(SystemExit) as stop:
        main(["panel", str(tmp_path), "--output", str(tmp_path / "panel.png")])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith(f"error: the study in {tmp_path} cannot be read (")
    assert said.count("\n") == 1
    assert not (tmp_path / "panel.png").exists()


def test_the_words_of_a_lock_are_text(tmp_path: Path) -> None:
    with locked(tmp_path / LOCK, wait=False):
        (tmp_path / HOLDER).write_text("process 1 on \x1b[2J, since \u202e: \x07")
        with pytest.raises(ConfigError) as caught, locked(tmp_path / LOCK, wait=False):
            pass
    assert str(caught.value).isprintable()


def test_a_link_below_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").symlink_to("../fifo")
    with pytest.raises(ConfigError, match="it is a link"):
        load(tmp_path)
