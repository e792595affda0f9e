"""What docs/own_encoding.md says works, in a folder outside the package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from posenc.__main__ import main
from tests.commands import TRAIN, forked
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "own_encoding.md").read_text()


@pytest.fixture
def idea(tmp_path: Path) -> Path:
    """The page's two files."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "configs" / "encoding").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "configs" / "encoding" / "mine.yaml").write_text(config)
    return tmp_path


def run(idea: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return forked(*words, PYTHONPATH=str(idea), COLUMNS="200")


@pytest.mark.slow
def test_two_files_make_a_row_of_a_sweep(idea: Path) -> None:
    small = (
        "model.dim=16 model.num_heads=2 model.num_layers=1 data.batch_size=8 data.eval_size=64 trainer.max_steps=6 "
        "trainer.validate_every=6 callbacks=quiet"
    )
    done = run(
        idea, TRAIN, f"--config-dir={idea / 'configs'}", "-m", "encoding=mine,none",
        *small.split(),
        f"hydra.sweep.dir={idea / 'runs'}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    results = {path.parts[-3]: json.loads(path.read_text()) for path in (idea / "runs").rglob("result.json")}
    assert {name: result["status"] for name, result in results.items()} == {"mine": "completed", "none": "completed"}
    assert results["mine"]["encoding_parameters"] == 2
    assert re.search(r"^ *mine +\d", done.stdout, re.MULTILINE)


BROKEN = {
    "a target that does not exist": "_target_: mine.Nothing",
    "no target": "width: 2.0",
    "not an encoding": "_target_: torch.nn.Identity",
    "misspelt": "_target_: mine.FavoriteDistance",
    "an option that does not exist": "_target_: mine.FavouriteDistance\nnum_heads: 4\nwidht: 2.0",
    "another kind of thing, by a function": "_target_: os.getcwd",
    "not yaml": "width: [2.0",
    "a list": "- _target_: mine.FavouriteDistance",
    "a key that does not exist": "_target_: mine.FavouriteDistance\nnum_heads: ${model.numheads}",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_config_is_answered_in_words(
    idea: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (idea / "configs" / "encoding" / "mine.yaml").write_text(BROKEN[how] + "\n")
    monkeypatch.syspath_prepend(idea)
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # that of another folder
    with pytest.raises(SystemExit) as stop:
        main(["encodings", "mine", "--config-dir", str(idea / "configs")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_the_tests_of_every_encoding_take_it_in(idea: Path) -> None:
    """The page's command for files that lie elsewhere; of its 23 tests the few that find it in different ways."""
    (command,) = re.findall(r"python (-m pytest \S+ -k mine --config-dir=\S+)", PAGE)
    words = command.replace("$HOME/idea", str(idea)).split()
    words[words.index("tests/encodings")] = "tests/encodings/test_contract.py"
    words[words.index("mine")] = "mine and (copies or dtypes or ids)"
    line = [sys.executable, *words, "-n", "0", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(idea)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\.{4,} ", done.stdout), done.stdout


@pytest.mark.slow
def test_the_catalogue_lists_and_draws_it(idea: Path) -> None:
    done = run(
        idea,
        "-m",
        "posenc",
        "encodings",
        "mine",
        "--config-dir",
        str(idea / "configs"),
        "--pictures",
        str(idea),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "bias[h](t) = −|t − μ_h| / width" in done.stdout
    assert "H = 4 (D = 64, H = 4, 2 layers)" in done.stdout
    assert (idea / "mine.png").read_bytes().startswith(b"\x89PNG")
