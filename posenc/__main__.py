"""`python -m posenc COMMAND`: all commands and their options."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from posenc.terminal import TRAIN, printing

SHOWN_BY = {
    "init": "catalog.start", "encodings": "catalog.encodings", "tasks": "catalog.tasks", "recipes": "catalog.recipes",
    "report": "report.write", "claims": "published.registry", "ledger": "report.reading.ledger",
    "recommend": "answers.recommend", "analyze": "analysis.write", "evaluate": "jobs.evaluate",
    "export": "trained.export", "panel": "studies.panel", "benchmark": "benchmark.measure",
    "coverage": "statistics.simulation",
}  # fmt: skip
"""The module of each command. Its function `show` takes the options of the command and runs it."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. A command's module is imported when it runs, because torch takes seconds."""
    root = argparse.ArgumentParser(
        "python -m posenc", description="Which positional encoding should my transformer use, and why?",
        epilog=f"{TRAIN} --help says how to train.",
    )  # fmt: skip
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    command("train", f"train one encoder or a sweep, with options of Hydra: {TRAIN} --help")
    one = command("init", "write files for your own encoding and task into a folder")
    one.add_argument("folder", nargs="?", type=Path, metavar="DIR", default=Path(), help="the folder (this one)")

    one = command("encodings", "list all positional encodings, or draw the card of each NAME")
    one.add_argument("names", nargs="*", metavar="NAME", help="encodings to draw; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")
    one.add_argument("--gallery", type=Path, metavar="FILE", help="write one picture of all encodings")
    one.add_argument("--config-dir", type=Path, metavar="DIR", help="your own config folder")
    pictures = Path("runs", "catalog")
    one.add_argument(
        "--pictures", type=Path, metavar="DIR", default=pictures, help=f"the folder for cards ({pictures})"
    )

    one = command("tasks", "list all tasks with their ceilings, or explain each NAME")
    one.add_argument("names", nargs="*", metavar="NAME", help="tasks to explain; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("recipes", "list how released models encode position, or explain each NAME")
    one.add_argument("names", nargs="*", metavar="NAME", help="recipes to explain; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("report", "compare runs in tables, figures and one page")
    one.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or of sweeps, or a comparison_summary.csv"
    )
    one.add_argument("--output", type=Path, metavar="DIR", help="folder of the report (the first folder of RUNS)")
    one.add_argument("--baseline", metavar="ENCODING", help="compare the others with this encoding (none)")
    one.add_argument("--delta", type=float, default=0.01, help="differences inside ±DELTA count as none (0.01)")
    one.add_argument("--metric", metavar="NAME", help="skill, bits, accuracy, exact_match or loss (the first known)")
    one.add_argument("--length", type=int, metavar="N", help="compare at this length (the longest trained length)")
    one.add_argument("--latex", action="store_true", help="also write the tables as comparison_summary.tex")

    one = command("claims", "list the published claims with posenc's verdicts")
    one.add_argument("--about", metavar="NAME", help="only claims about one encoding, data set or position scheme")
    one.add_argument("--config-dir", type=Path, metavar="DIR", help="your own config folder")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("ledger", "keep the runs of many days and machines in one table; sweeps skip these runs")
    one.add_argument("action", choices=["add"], help="put runs into the ledger")
    one.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or of sweeps, or tables of a report"
    )
    book = Path("docs", "answers", "runs.csv")
    one.add_argument("--ledger", type=Path, metavar="FILE", default=book, help=f"the ledger ({book})")

    one = command("recommend", "recommend encodings for a need, from the runs of a ledger")
    one.add_argument(
        "--asks", metavar="WHAT,...",
        help="place, offset, distance, order, recall, induction, reversal, state, or data sets of the ledger",
    )  # fmt: skip
    one.add_argument("--longer-than-trained", type=int, default=1, metavar="T", help="also at T times the length")
    one.add_argument("--causal", action=argparse.BooleanOptionalAction, help="only causal models, or only others (all)")
    one.add_argument("--within", type=int, metavar="STEPS", help="a run that needs more steps counts as failed (any)")
    one.add_argument("--delta", type=float, default=0.02, help="differences of skill inside ±DELTA are none (0.02)")
    one.add_argument(
        "--ledger", type=Path, metavar="FILE", default=book, help=f"the runs ({book}); seed 100 is left out"
    )
    one.add_argument("--page", type=Path, metavar="DIR", help="write the whole ledger as a page instead")

    one = command("analyze", "measure how the models of finished runs use position")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run that has completed")
    one.add_argument("--output", type=Path, metavar="DIR", help="folder of the analysis (RUN/analysis)")
    one.add_argument("--batch", type=int, default=64, metavar="B", help="number of measured sequences (64)")
    one.add_argument("--length", type=int, metavar="N", help="their length (the longest trained length)")
    one.add_argument("--against", type=Path, metavar="RUN", help="compare with this run (a length at which RUN fails)")
    one.add_argument("--trust", action="store_true", help="the runs are yours: build any class in their configs")

    one = command("evaluate", "test finished runs at other lengths, with other options, on other data")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs or of sweeps, or a glob")
    one.add_argument("--lengths", metavar="N,N,...", help="test lengths (those of the run)")
    one.add_argument(
        "--set", dest="words", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="changes, as in train.py; several values, such as encoding=rope,rope_yarn, are several tests",
    )  # fmt: skip
    one.add_argument("--trust", action="store_true", help="the runs are yours: build any class in their configs")

    one = command("export", "write the encoder of a finished run to model.safetensors and config.json, for posenc.load")
    one.add_argument("run", type=Path, metavar="RUN", help="folder of a run that has completed")
    one.add_argument("--output", type=Path, metavar="DIR", help="a new folder (RUN/export)")
    one.add_argument("--trust", action="store_true", help="the run is yours: build any class in its config")

    one = command("panel", "draw finished studies in one picture: a chart and the first verdict of each")
    one.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="run folders of studies")
    one.add_argument("--output", type=Path, metavar="FILE", default=Path("panel.png"), help="the picture (panel.png)")
    one.add_argument("--trust", action="store_true", help="the runs are yours: build any class in their configs")

    one = command("benchmark", "time a training step against other libraries, for every encoding, and for its parts")
    one.add_argument("words", nargs="*", metavar="WORD", help="profile=smoke|quick|full; encodings to time (all)")
    one.add_argument("--only", nargs="+", metavar="SECTION", help="sections to measure (all but compile and answers)")
    one.add_argument("--folder", type=Path, metavar="DIR", help="output folder (runs/benchmark/<date and time>)")

    command("coverage", "simulate how often the intervals of a report contain the truth")
    return root


def run(asked: argparse.Namespace) -> None:
    """Run the command that was asked for."""
    given = dict(vars(asked))
    import_module(f"posenc.{SHOWN_BY[given.pop('command')]}").show(**given)


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    words = sys.argv[1:] if words is None else words
    if not {"", str(Path.cwd())} & {*sys.path}:  # the script of an installed package does not look for modules here
        sys.path.insert(0, str(Path.cwd()))
    if words[:1] == ["train"]:  # the rest is Hydra's
        from posenc.jobs import train

        train.command(words[1:])
    else:
        ask(words)


@printing()
def ask(words: Sequence[str]) -> None:
    """Every command whose work is what it prints or writes at once."""
    asked = parser().parse_args(words)
    from posenc.config import CONFIGS  # Hydra, which --help need not load
    from posenc.config.mistakes import mistakes

    with mistakes(CONFIGS):
        run(asked)


if __name__ == "__main__":
    main()
