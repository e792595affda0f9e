"""The command line: `python -m posenc.analysis RUN...`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from posenc.analysis.write import write
from posenc.jobs.launch import mistakes
from posenc.terminal import printing


@printing()
def main(words: Sequence[str] | None = None) -> None:
    """Analyse every run, print what it says and where the files are."""
    parser = argparse.ArgumentParser(
        "python -m posenc.analysis", description="From finished runs to what their models do with position."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run that has completed")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the analysis goes (RUN/analysis)")
    parser.add_argument("--batch", type=int, default=64, metavar="B", help="sequences that are measured (64)")
    parser.add_argument("--length", type=int, metavar="N", help="of the sequences (the longest of training)")
    parser.add_argument("--trust", action="store_true", help="the runs are yours: build whatever their configs name")
    asked = parser.parse_args(words)
    with mistakes(Path(__file__).resolve().parents[2] / "configs"):
        for run, target in places(asked.runs, asked.output):
            done = write(run, target, asked.batch, asked.length, asked.trust)
            print(done.text)
            print(f"numbers     {done.folder}/analysis.csv")
            print(f"figures     {done.folder}/*.png, *.svg: {', '.join(done.figures)}", flush=True)


def places(folders: Sequence[Path], output: Path | None) -> list[tuple[Path, Path | None]]:
    """Each run once, with the folder for its analysis; several get folders below `output`, by their paths."""
    chosen = list({folder.resolve(): folder for folder in folders}.values())
    if output is None or len(chosen) == 1:
        return [(folder, output) for folder in chosen]
    shared = os.path.commonpath([folder.resolve() for folder in chosen])
    return [(folder, output / folder.resolve().relative_to(shared)) for folder in chosen]


if __name__ == "__main__":
    main()
