"""The command line: `python -m posenc.report RUNS...`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from posenc.jobs.launch import mistakes
from posenc.report.write import write
from posenc.terminal import printing


@printing()
def main(words: Sequence[str] | None = None) -> None:
    """Write the report and say where it is."""
    parser = argparse.ArgumentParser(
        "python -m posenc.report", description="From run folders to an answer: tables, figures and one page."
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or of sweeps, or a comparison_summary.csv"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (the first folder of RUNS)")
    parser.add_argument("--baseline", metavar="ENCODING", help="what others are compared with (none)")
    parser.add_argument("--delta", type=float, default=0.01, help="differences inside ±DELTA count as none (0.01)")
    asked = parser.parse_args(words)
    with mistakes(Path(__file__).resolve().parents[2] / "configs"):
        page, finding = write(asked.runs, asked.output, asked.baseline, asked.delta)
        print(finding)
        print(f"report      {page}")


if __name__ == "__main__":
    main()
