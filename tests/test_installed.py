"""posenc without its repository: the package with its configs inside, used from a folder of the user's."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from posenc.__main__ import main
from tests.conftest import CONFIGS, ROOT

FILES = ROOT / "posenc" / "catalog" / "start" / "files"


@pytest.mark.parametrize(
    ("page", "name", "group"), [("own_encoding", "my_encoding", "encoding"), ("own_task", "my_task", "dataset")]
)
def test_init_writes_what_the_page_shows(page: str, name: str, group: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert (FILES / f"{name}.py").read_text() == code
    assert (FILES / "configs" / group / f"{name}.yaml").read_text() == config.replace("mine.", f"{name}.")


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_task.py").write_text("mine")
    with pytest.raises(SystemExit) as end:
        main(["init", str(tmp_path)])
    assert end.value.code == 2
    assert "my_task.py exists already, and nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["my_task.py"]


@pytest.mark.slow
def test_an_installed_package_trains_in_a_folder_of_the_users(tmp_path: Path) -> None:
    """What a wheel holds is put together by hand, after the table of pyproject.toml by which it is built."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built == {"packages": ["posenc"], "force-include": {"configs": "posenc/configs"}}
    site, folder = tmp_path / "site", tmp_path / "folder"
    shutil.copytree(ROOT / "posenc", site / "posenc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CONFIGS, site / "posenc" / "configs")
    folder.mkdir()

    def posenc(*words: str) -> str:
        script = "import sys; from posenc.__main__ import main; main(sys.argv[1:])"
        # -P leaves this folder out of sys.path, as the script of an installed package does
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, *words], cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "posenc train -m encoding=my_encoding,none dataset=my_task" in posenc("init")
    small = ["model.dim=16", "model.num_layers=1", "data.batch_size=8", "data.eval_size=64", "trainer.max_steps=2"]
    posenc("train", "-m", "encoding=my_encoding", "dataset=my_task", *small, "hydra.sweep.dir=sweep")
    assert '"command": "posenc train encoding=my_encoding' in next(folder.glob("sweep/**/result.json")).read_text()
