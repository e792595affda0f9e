"""Finished studies on one picture, the chart that stands for each and its first verdict.

python -m posenc panel runs/rank_collapse_quick_... runs/locality_quick_... --output panel.png
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.figures.style import INK
from posenc.runs import reading
from posenc.runs.former import command
from posenc.runs.result import STUDY
from posenc.runs.writing import write_picture
from posenc.statistics.claims import CONTRADICTED, DIRECTION_ONLY, REPRODUCED
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Study

INKS = {REPRODUCED: "#2e7d32", DIRECTION_ONLY: "#b8860b", CONTRADICTED: "#c62828"}
COLUMNS = 3
TABLE = 16 * 2**20
"""Bytes of a study.csv; they have some hundred thousand."""


def read(folder: Path, trust: bool = False) -> tuple[Study, Measurements, list[dict[str, str]]]:
    """The study of a finished run, its numbers and its verdicts.

    trust  the run is the user's own: build whatever its config names (posenc.config.allowed)
    """
    if not (folder / STUDY).is_file():
        raise ConfigError(f"{folder} is not the folder of a finished study; it would hold {STUDY}.")
    lost = [name for name in (".hydra/config.yaml", "study.csv", "verdict.json") if not (folder / name).is_file()]
    if lost:
        raise ConfigError(f"{folder} has lost {', '.join(lost)}; run its study again in another folder.")
    try:
        config = reading.read_config(folder / ".hydra" / "config.yaml")
        judged = reading.read_json(folder / "verdict.json")
        if (
            not isinstance(judged, list)
            or not judged
            or not all({"statement", "outcome"} <= set(one) for one in judged)
        ):
            raise ValueError("no verdict")
        judged = [{key: str(reading.plain_text(one[key])) for key in ("statement", "outcome")} for one in judged]
        found = Measurements.read(reading.read_table(folder / "study.csv", TABLE).decode("utf-8"))
        if OmegaConf.select(config, "study._target_") is None:
            raise ValueError("its config has no study")
        return make(config, "study", Study, trusted=trust), found, judged
    except (OSError, ValueError, TypeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ConfigError(f"the study in {folder} cannot be read ({why}).") from error


def draw(folders: Sequence[Path], trust: bool = False) -> Figure:
    """One chart a folder, three in a row; above each the first claim and what came out; `trust` as in `read`."""
    rows = -(-len(folders) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 4.7 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, folder in zip(axes, folders, strict=False):
        study, found, judged = read(folder, trust)
        study.headline(axis, found)
        first = judged[0]
        statement = "\n".join(textwrap.wrap(first["statement"], 66))
        axis.set_title(statement, fontsize=8.5, color=INK, loc="left", parse_math=False)
        outcome = first["outcome"]
        axis.annotate(outcome, (1, 0), (0, -34), xycoords="axes fraction", textcoords="offset points", fontsize=9,
                      fontweight="bold", color=INKS.get(outcome, INK), ha="right")  # fmt: skip
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in axes[len(folders) :]:
        axis.axis("off")
    return figure


def show(folders: Sequence[Path], output: Path = Path("panel.png"), trust: bool = False) -> None:
    """`python -m posenc panel`: draw it, print where it is."""
    write_picture(output, draw(folders, trust), dpi=110)
    print(output)


if __name__ == "__main__":
    command("posenc.studies.panel")
