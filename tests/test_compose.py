"""A sweep reads each config file once, and its jobs are composed as if it had read them every time."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from posenc.jobs.compose import read_once
from tests.conftest import CONFIGS, Launch
from tests.test_training import WATCHED

JOBS = (
    ["encoding=rope", "dataset=induction"], ["encoding=none"], ["encoding=rope", "encoding.base=7", "model.dim=32"],
    ["experiment=quick_demo", "encoding=t5", "profile=smoke"], ["+callbacks.a._target_=a.B", "~callbacks.progress"],
    ["encoding=rope", "dataset=induction"],
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("order", [JOBS, JOBS[::-1]])
def test_jobs_are_composed_as_if_the_files_were_read_anew(order: tuple[list[str], ...]) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        wanted = [OmegaConf.to_container(compose("train", job, return_hydra_config=True)) for job in order]
        read_once()
        found = [compose("train", job, return_hydra_config=True) for job in order]
        assert [OmegaConf.to_container(each) for each in found] == wanted
        OmegaConf.update(found[0], "model.dim", 5)  # of one job alone
        again = compose("train", list(order[0]), return_hydra_config=True)
        assert OmegaConf.to_container(again) == wanted[0]


def test_a_file_is_read_once_and_a_folder_of_ones_own_is_searched(tmp_path: Path) -> None:
    (tmp_path / "encoding").mkdir()
    mine = tmp_path / "encoding" / "mine.yaml"
    mine.write_text("_target_: a.B\nx: 1\n")
    words = ["encoding=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        read_once()
        assert compose("train", ["encoding=rope"]).encoding.base > 0
        assert compose("train", words).encoding.x == 1
        mine.write_text("_target_: a.B\nx: 2\n")
        assert compose("train", words).encoding.x == 1
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        read_once()
        assert compose("train", words).encoding.x == 2


@pytest.mark.slow
def test_figures_are_drawn_for_a_single_run_and_in_a_sweep_where_they_are_asked_for(
    command: Launch, tmp_path: Path
) -> None:
    def drawn(folder: Path) -> bool:
        return b"attention" in b"".join(path.read_bytes() for path in folder.glob("events.*"))

    small = (*WATCHED, "encoding=none", "trainer.max_steps=1", "trainer.validate_every=1", "~callbacks.layers")
    assert command(*small, f"hydra.run.dir={tmp_path / 'one'}") == (0, "")
    assert drawn(tmp_path / "one")
    for name, more, wanted in (("plain", (), False), ("asked", ("callbacks.tensorboard.figures=true",), True)):
        assert command("-m", *small, *more, f"hydra.sweep.dir={tmp_path / name}") == (0, "")
        (folder,) = (path.parent for path in (tmp_path / name).rglob("result.json"))
        assert drawn(folder) == wanted
