"""Writes an analysis: analysis.csv, analysis.md and figures, each completely or not at all. Other files stay."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from posenc.analysis import figures, why, words
from posenc.analysis.measure import Analysis, analyse
from posenc.checks import ConfigError, positive
from posenc.figures.style import save
from posenc.runs.reading import read_table
from posenc.runs.writing import clear_parts, write_text
from posenc.statistics.measurements import KEY_COLUMNS
from posenc.trained.load import Finished, load

TABLE, TEXT, FOLDER = "analysis.csv", "analysis.md", "analysis"
NAMES = ("streams", "probes", "heads", "attention", "similarity", "bias", "frequencies", "position_vectors")
"""Names of the figures of an analysis. Figures of an earlier analysis that the new one does not have are removed."""


class WrittenAnalysis(NamedTuple):
    """The path of an analysis, and its text."""

    folder: Path
    text: str
    figures: list[str]


def write(
    folder: Path,
    output: Path | None = None,
    batch: int = 64,
    length: int | None = None,
    trust: bool = False,
    against: Path | None = None,
) -> WrittenAnalysis:
    """Analyse the run in `folder` and write it to `output`, by default the folder `analysis` in it.

    trust    whether the run is the user's own, so that every class in its config may be built (posenc.config.allowed)
    against  another run on the same data set for a comparison; None: the first test length at which the run fails is
             compared with the longest trained length

    Raises ConfigError if there is no such run, or if the output cannot be written.
    """
    positive("analyze", **{"--batch": batch})
    target = folder / FOLDER if output is None else output
    run = load(folder, trust)
    _check(target)
    other = None if against is None else _rival(run, against, trust)
    analysis = analyse(run, length, batch)
    text = words.render(analysis, _compared(analysis, other, batch))
    drawn = figures.draw(analysis)
    try:
        target.mkdir(parents=True, exist_ok=True)
        clear_parts(target)
        write_text(target / TABLE, analysis.found.csv())
        for name, figure in drawn.items():
            save(figure, target / name)
        for name in NAMES:
            for ending in (".png", ".svg"):
                if name not in drawn:
                    (target / f"{name}{ending}").unlink(missing_ok=True)
        write_text(target / TEXT, text)
    except OSError as error:
        raise ConfigError(
            f"the analysis cannot be written to {target} ({error.strerror}); choose another folder with --output."
        ) from error
    return WrittenAnalysis(target, text, list(drawn))


def _rival(run: Finished, against: Path, trust: bool) -> Finished:
    """The run to compare with. Raises ConfigError if it has another data set."""
    other = load(against, trust)
    ours, theirs = (str(each.result["dataset"]) for each in (run, other))
    if ours != theirs:
        raise ConfigError(f"--against {against} is a run on {theirs}, {run.folder} one on {ours}; give one on {ours}.")
    return other


def _compared(analysis: Analysis, other: Finished | None, batch: int) -> tuple[Analysis, Analysis] | None:
    """(before, after): another run and this run, or this run at its trained length and at a longer length.

    The longer length is the length of `analysis` or, if that is not longer, the first length at which the run fails.
    """
    if other is not None:
        return analyse(other, analysis.length, batch), analysis
    trained = analysis.run.module.task.length[1]
    if analysis.length > trained:
        return analyse(analysis.run, trained, batch), analysis
    fails = why.failing(analysis.run.result, trained)
    return None if fails is None else (analysis, analyse(analysis.run, fails, batch))


def _check(target: Path) -> None:
    """Raise ConfigError if the folder `target` cannot be used, or if its analysis.csv is not from an analysis."""
    if target.is_symlink():
        raise ConfigError(f"{target} is a link to another folder; choose --output, such as {target.resolve()}.")
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file, not a folder; choose another --output.")
    table = target / TABLE
    head = ",".join(KEY_COLUMNS).encode()
    try:
        known = read_table(table).startswith(head)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError):
        known = False
    if not known:
        raise ConfigError(f"{table} is no file of an analysis, so it is not replaced; choose another --output.")


def show(runs: Sequence[Path], output: Path | None = None, **options: Any) -> None:
    """`python -m posenc analyze`: analyse every run, print the text and the path of the files.

    options  as in `write`
    """
    for run, target in places(runs, output):
        done = write(run, target, **options)
        print(done.text)
        print(f"numbers     {done.folder}/analysis.csv")
        print(f"figures     {done.folder}/*.png, *.svg: {', '.join(done.figures)}", flush=True)


def places(folders: Sequence[Path], output: Path | None) -> list[tuple[Path, Path | None]]:
    """Each run once, with the folder for its analysis. Several runs get folders below `output`, named by path."""
    chosen = list({folder.resolve(): folder for folder in folders}.values())
    if output is None or len(chosen) == 1:
        return [(folder, output) for folder in chosen]
    shared = os.path.commonpath([folder.resolve() for folder in chosen])
    return [(folder, output / folder.resolve().relative_to(shared)) for folder in chosen]
