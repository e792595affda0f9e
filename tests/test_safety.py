"""Nothing let in: whoever writes a checkpoint, a config, a record or a name, what they wrote is data."""

import ast
import csv
import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from posenc import report
from posenc.analysis.write import write as analyse
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.encodings.base import PositionalEncoding
from posenc.jobs import summary
from posenc.runs import reading
from posenc.runs.result import is_result
from posenc.trained.load import load
from tests.conftest import ROOT
from tests.reliability import crafted, inputs
from tests.reliability.crafted import Bench

CODE = sorted([*(ROOT / "posenc").rglob("*.py"), ROOT / "train.py"])
IMPORTS = {
    "pickle": set(), "marshal": set(), "shelve": set(), "dill": set(), "cloudpickle": set(), "socket": set(),
    "urllib": set(), "requests": set(), "http": set(), "ftplib": set(), "code": set(),
    "subprocess": {"slurm.py", "answers.py", "outcome.py"},  # scontrol; our own answers again; git for the commit
}  # fmt: skip
"""Modules that run or fetch what others wrote, and the files that may import them."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def became(tried: Iterator[crafted.Tried]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for what, which, how in tried:
        found.setdefault(how, []).append(f"{what}: {which}")
    return found


def test_the_gadgets_work_where_nothing_refuses_them(bench: Bench) -> None:
    for name in ("os.system, raw", "old INST opcode", "subprocess, raw"):
        pickle.loads(inputs.pickles(bench.mark)[name])
        assert bench.mark.exists()
        bench.mark.unlink()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 5", "ignore:.*TorchScript")
def test_crafted_pickles_are_refused_and_not_run(bench: Bench) -> None:
    assert bench.analyze() == "harmless"  # as it is when nobody touched it
    assert set(became(crafted.pickles(bench))) == {"refused"}


@pytest.mark.slow
def test_targets_of_others_are_not_built(bench: Bench) -> None:
    assert set(became(crafted.targets(bench, ("encoding", "callbacks")))) == {"refused"}


def test_a_record_builds_what_is_not_posencs_only_where_the_user_trusts_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_idea.py").write_text(
        "from posenc.encodings.base import PositionalEncoding\n"
        "class Mine(PositionalEncoding): pass\ndef build(): return Mine()\ndef other(): return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def built(target: str) -> object:
        return make(OmegaConf.create({"encoding": {"_target_": target}}), "encoding")

    assert isinstance(built("own_idea.Mine"), PositionalEncoding)  # a config is its user's code
    assert isinstance(built("own_idea.build"), PositionalEncoding)
    with pytest.raises(ConfigError, match="must build a PositionalEncoding, got 1"):
        built("own_idea.other")
    folder = tmp_path / "run"
    inputs.write(folder, bench.config | {"encoding": {"_target_": "own_idea.Mine"}}, bench.result)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"own_idea.Mine, which posenc does not define.*--trust"):
        load(folder)
    with pytest.raises(ConfigError, match="not a whole checkpoint"):  # the encoding was built
        load(folder, trust=True)


MISSPELT = {
    "no target": ({"width": 2}, "_target_ is missing; it names the class that is built, a PositionalEncoding"),
    "no module": (
        {"_target_": "nowhere.Mine"},
        r"nowhere.Mine cannot be imported .*your own file, write its folder in PYTHONPATH",
    ),
    "no class": (
        {"_target_": "posenc.encodings.rope.RotaryPositionalEncodin"},
        "Did you mean RotaryPositionalEncoding",
    ),
    "a module": ({"_target_": "posenc.encodings"}, "is not a class or function"),
    "a number": ({"_target_": 3}, "must be the name of a class with its module"),
    "another kind": (
        {"_target_": "torch.nn.Identity"},
        "must build a PositionalEncoding, which torch.nn.Identity is not",
    ),
}


@pytest.mark.parametrize("how", MISSPELT)
def test_a_group_builds_its_kind_or_says_why_not(how: str) -> None:
    node, message = MISSPELT[how]
    with pytest.raises(ConfigError, match=message):
        make(OmegaConf.create({"encoding": node}), "encoding")


def test_yaml_of_others_is_data(bench: Bench) -> None:
    found = became(crafted.records(bench))
    assert set(found) == {"refused", "harmless"}
    assert all("report" in each for each in found["harmless"])  # which leaves out what it cannot read, and says so


@pytest.mark.slow
def test_names_of_others_are_text_in_every_file(bench: Bench) -> None:
    assert set(became(crafted.names(bench))) == {"harmless"}
    page, table, text = (
        (bench.root / "page" / name).read_text(encoding="utf-8")
        for name in ("index.html", "comparison_summary.csv", "comparison_summary.md")
    )
    for raw in ("<script>alert", "<img src=x", "<b>bold"):
        assert raw not in page
        assert raw not in text.partition("## Commands")[0]  # after it, between fences, it stands as it is
    for each in (page, table, text):
        assert not {"\x1b", "\x00", "\u202e", "\u2066", "\x07"} & set(each)
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "+") or (cell[:1] == "-" and len(cell) > 20)]
    written = {path.relative_to(bench.root) for path in bench.root.rglob("*") if "page" not in path.parts}
    assert not any("etc" in path.parts for path in written)


def test_values_of_others_never_break_the_reader(bench: Bench) -> None:
    assert set(became(crafted.values(bench, 61))) <= {"refused", "harmless"}


def test_names_are_text_in_the_terminal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("[red]x[/red]", "[/]", "[link=https://example.org]x[/link]"):
        words = dict.fromkeys(("encoding", "dataset", "error"), name)
        result = bench.result | words
        summary.print_run(bench.run, result)
        summary.print_sweep(bench.root, [(bench.run, result), (bench.run, result | {"dataset": "other"})])
        Console().print(summary.line(bench.run, result))
        assert name in capsys.readouterr().out


def test_a_link_in_a_folder_leads_nothing_out_of_it(bench: Bench, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "run"
    inputs.write(folder, bench.config, bench.result)
    for name in ("index.html", "index.html.part", "comparison_summary.csv.part", "comparison_summary.md"):
        (folder / name).symlink_to(precious)
    report.write([folder])
    assert precious.read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    for name, attempt in {
        "figures": lambda: report.write([folder]), "analysis": lambda: analyse(folder),
    }.items():  # fmt: skip
        if (folder / name).is_dir():
            (folder / name).rename(tmp_path / "before")
        (folder / name).symlink_to(tmp_path / "elsewhere")
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").write_bytes((bench.run / "checkpoints" / "last.ckpt").read_bytes())
        with pytest.raises(ConfigError, match="is a link to another folder"):
            attempt()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_never_ends_is_not_read(bench: Bench, tmp_path: Path) -> None:
    inputs.write(tmp_path / "run", bench.config, bench.result)
    for name in (".hydra/config.yaml", "metrics.csv", "by_position.csv", "multirun.yaml"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / "run" / name)
    report.write([tmp_path / "run"])
    with pytest.raises(ValueError, match="too deeply"):
        reading.read_json(_file(tmp_path, "[" * 100_000))
    with pytest.raises(ConfigError):
        load(tmp_path / "run")


def _file(folder: Path, text: str) -> Path:
    (folder / "file").write_text(text)
    return folder / "file"


def test_a_result_is_one_only_if_it_can_be_told(bench: Bench) -> None:
    assert is_result(json.loads(json.dumps(bench.result)))
    for _, result in inputs.spoiled(bench.result):
        if is_result(result):
            summary.line(bench.run, result)
            summary.print_run(bench.run, result)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str:
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), "")


FORBIDDEN: dict[str, Callable[[str, ast.Call], bool]] = {
    "code from text": lambda name, call: name in ("eval", "exec", "compile", "__import__"),
    "a shell": lambda name, call: name in ("os.system", "os.popen") or keyword(call, "shell") not in ("", "False"),
    "a pickle": lambda name, call: name == "torch.load" and keyword(call, "weights_only") != "True",
    "a pickle of numpy or pandas": lambda name, call: "allow_pickle" in ast.unparse(call) or "read_pickle" in name,
    "a checkpoint": lambda name, call: keyword(call, "ckpt_path") != "" and keyword(call, "weights_only") != "True",
    "unsafe YAML": lambda name, call: name == "yaml.load" and [ast.unparse(a) for a in call.args[1:]] != ["LOADER"],
    "a module by name": lambda name, call: name.endswith("import_module"),
    "the network": lambda name, call: name.startswith(("torch.hub", "hub.")),
}

ALLOWED = {name: {"a module by name"} for name in ("allowed.py", "former.py", "__init__.py", "__main__.py")}
"""posenc.encodings imports its own files, posenc.runs.former and posenc.__main__ those of their own tables."""


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_runs_or_fetches_what_others_wrote(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        for name in names:
            if name == "pickle" and ast.unparse(node) == "from pickle import UnpicklingError":
                continue
            assert path.name in IMPORTS.get(name.partition(".")[0], {path.name}), ast.unparse(node)
    for name, call in calls(tree):
        found = {what for what, forbidden in FORBIDDEN.items() if forbidden(name, call)}
        assert found <= ALLOWED.get(path.name, set()), ast.unparse(call)
