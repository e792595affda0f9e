"""`python -m posenc panel FOLDER ...` draws finished studies in one picture: a chart and the first verdict of each."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.figures.marks import sheet
from posenc.figures.style import look
from posenc.runs import reading
from posenc.runs.former import command
from posenc.runs.result import CONFIG_FILE, STUDY
from posenc.runs.writing import write_picture
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Study

PANEL_COLUMNS = 2
STUDY_LIMIT = 16 * 2**20
"""Upper limit of the size of study.csv in bytes; usually it is a few hundred thousand."""


def read(folder: Path, trust: bool = False) -> tuple[Study, Measurements, list[dict[str, str]]]:
    """The study in a folder, its measurements and its verdicts.

    trust  whether the folder is the user's own; if so, its config may build any class (posenc.config.allowed)
    """
    if not (folder / STUDY).is_file():
        raise ConfigError(f"{folder} is not the folder of a finished study, because it has no {STUDY}.")
    lost = [name for name in (".hydra/config.yaml", "study.csv", "verdict.json") if not (folder / name).is_file()]
    if lost:
        raise ConfigError(f"{folder} has lost {', '.join(lost)}; run its study again in another folder.")
    try:
        config = reading.read_config(folder / CONFIG_FILE)
        judged = reading.read_json(folder / "verdict.json")
        if not isinstance(judged, list) or not judged or not all({"statement", "outcome"} <= {*one} for one in judged):
            raise ValueError("no verdict")
        judged = [{key: str(reading.plain_text(one[key])) for key in ("statement", "outcome")} for one in judged]
        found = Measurements.read(reading.read_table(folder / "study.csv", STUDY_LIMIT).decode("utf-8"))
        if OmegaConf.select(config, "study._target_") is None:
            raise ValueError("its config has no study")
        return make(config, "study", Study, trusted=trust), found, judged
    except (OSError, ValueError, TypeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ConfigError(f"the study in {folder} cannot be read ({why}).") from error


@look()
def draw(folders: Sequence[Path], trust: bool = False) -> Figure:
    """One chart for each folder, with the first outcome and claim as its title; `trust` as in `read`."""
    figure, axes = sheet(len(folders), PANEL_COLUMNS, 3.3)
    for axis, folder in zip(axes, folders, strict=True):
        study, found, judged = read(folder, trust)
        study.headline(axis, found)
        first = judged[0]
        axis.set_title(textwrap.fill(f"{first['outcome']}: {first['statement']}", 50))
    return figure


def show(folders: Sequence[Path], output: Path = Path("panel.png"), trust: bool = False) -> None:
    """Draw the picture, and print its path."""
    write_picture(output, draw(folders, trust), dpi=150)
    print(output)


if __name__ == "__main__":
    command("posenc.studies.panel")
