"""The door beside train.py: `python -m posenc COMMAND`. Every command and every option of theirs is declared here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from posenc.config import CONFIGS
from posenc.terminal import TRAIN, printing


def parser() -> argparse.ArgumentParser:
    """Every command with its options. What a command needs is imported when it runs, for torch takes seconds."""
    door = argparse.ArgumentParser(
        "python -m posenc", description="Which positional encoding should my transformer use, and why?",
        epilog=f"{TRAIN} --help says how to train.",
    )  # fmt: skip
    commands = door.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    command("train", f"train one encoder, or sweep over many, in the words of Hydra: {TRAIN} --help")
    one = command("init", "begin a folder with an encoding and a task of your own")
    one.add_argument("folder", nargs="?", type=Path, metavar="DIR", default=Path(), help="where (here)")

    one = command("encodings", "every positional encoding as a table, or a card of each that is named")
    one.add_argument("names", nargs="*", metavar="NAME", help="encodings to draw a card of; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")
    one.add_argument("--gallery", type=Path, metavar="FILE", help="write one picture of all encodings")
    one.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of configs of your own")
    pictures = Path("runs", "catalog")
    one.add_argument("--pictures", type=Path, metavar="DIR", default=pictures, help=f"for cards ({pictures})")

    one = command("tasks", "every task and what is achievable on it, or those that are named in full")
    one.add_argument("names", nargs="*", metavar="NAME", help="tasks to explain; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("recipes", "what released models do with position, layer by layer, or those that are named in full")
    one.add_argument("names", nargs="*", metavar="NAME", help="recipes to explain; none: the whole table")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("report", "from run folders to an answer: tables, figures and one page")
    one.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or of sweeps, or a comparison_summary.csv"
    )
    one.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (the first folder of RUNS)")
    one.add_argument("--baseline", metavar="ENCODING", help="what others are compared with (none)")
    one.add_argument("--delta", type=float, default=0.01, help="differences inside ±DELTA count as none (0.01)")
    one.add_argument("--metric", metavar="NAME", help="skill, bits, accuracy, exact_match or loss (the first there is)")
    one.add_argument("--length", type=int, metavar="N", help="compare there (the longest trained length)")
    one.add_argument("--latex", action="store_true", help="write the tables for a paper too, comparison_summary.tex")

    one = command("claims", "every published claim with its verdict here")
    one.add_argument("--about", metavar="NAME", help="those about one encoding, data set or position scheme")
    one.add_argument("--markdown", action="store_true", help="print the documentation page instead")

    one = command("ledger", "one table of the runs that count, of many days and machines; sweeps skip what it has")
    one.add_argument("action", choices=["add"], help="put runs into the ledger")
    one.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or of sweeps, or tables of a report"
    )
    book = Path("docs", "answers", "runs.csv")
    one.add_argument("--ledger", type=Path, metavar="FILE", default=book, help=f"the ledger ({book})")

    one = command("recommend", "which encodings a need may take, from the runs of a ledger")
    one.add_argument(
        "--asks", metavar="WHAT,...",
        help="place, offset, distance, order, recall, induction, reversal, state, or data sets of the ledger",
    )  # fmt: skip
    one.add_argument(
        "--longer-than-trained", type=int, default=1, metavar="T", help="at T times the trained length too"
    )
    one.add_argument("--causal", action=argparse.BooleanOptionalAction, help="causal models alone, or none (all)")
    one.add_argument("--within", type=int, metavar="STEPS", help="a run that needs more steps counts as failed (any)")
    one.add_argument("--delta", type=float, default=0.02, help="differences of skill inside ±DELTA are none (0.02)")
    one.add_argument(
        "--ledger", type=Path, metavar="FILE", default=book, help=f"the runs ({book}); seed 100 counts for nothing"
    )

    one.add_argument("--page", type=Path, metavar="DIR", help="write the whole ledger as a page there instead")

    one = command("analyze", "from finished runs to what their models do with position")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run that has completed")
    one.add_argument("--output", type=Path, metavar="DIR", help="where the analysis goes (RUN/analysis)")
    one.add_argument("--batch", type=int, default=64, metavar="B", help="sequences that are measured (64)")
    one.add_argument("--length", type=int, metavar="N", help="of the sequences (the longest of training)")
    one.add_argument("--against", type=Path, metavar="RUN", help="say what differs from this run (from where it fails)")
    one.add_argument("--trust", action="store_true", help="the runs are yours: build whatever their configs name")

    one = command("evaluate", "trained runs, tested at other lengths, under other scalings, on other data")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs or of sweeps, or a glob")
    one.add_argument("--lengths", metavar="N,N,...", help="of the test (those of the run)")
    one.add_argument(
        "--set", dest="words", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="what is changed, as in train.py; of several values, such as encoding=rope,rope_yarn, each is tested",
    )  # fmt: skip
    one.add_argument("--trust", action="store_true", help="the runs are yours: build whatever their configs name")

    one = command(
        "export", "the encoder of a finished run as model.safetensors and config.json, which posenc.load reads"
    )
    one.add_argument("run", type=Path, metavar="RUN", help="folder of a run that has completed")
    one.add_argument("--output", type=Path, metavar="DIR", help="a new folder (RUN/export)")
    one.add_argument("--trust", action="store_true", help="the run is yours: build whatever its config names")

    one = command("panel", "finished studies on one picture: the chart that stands for each, and its first verdict")
    one.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="run folders of studies")
    one.add_argument("--output", type=Path, metavar="FILE", default=Path("panel.png"), help="the picture (panel.png)")
    one.add_argument("--trust", action="store_true", help="the runs are yours: build whatever their configs name")

    one = command("benchmark", "what a step costs: other libraries, every encoding, attention, length, Lightning, data")
    one.add_argument("words", nargs="*", metavar="WORD", help="profile=smoke|quick|full; encodings to time (all)")
    one.add_argument("--only", nargs="+", metavar="SECTION", help="sections to measure (all but compile and answers)")
    one.add_argument("--folder", type=Path, metavar="DIR", help="where to write (runs/benchmark/<date and time>)")

    command("coverage", "how often the intervals of a report hold the truth, simulated")
    return door


def run(asked: argparse.Namespace) -> None:
    """Run the command that was asked for."""
    given = dict(vars(asked))
    match given.pop("command"):
        case "init":
            from posenc.catalog.start import show
        case "encodings":
            from posenc.catalog.encodings import show
        case "tasks":
            from posenc.catalog.tasks import show
        case "recipes":
            from posenc.catalog.recipes import show
        case "report":
            from posenc.report.write import show
        case "claims":
            from posenc.published.registry import show
        case "ledger":
            from posenc.report.reading.ledger import show
        case "recommend":
            from posenc.answers.recommend import show
        case "analyze":
            from posenc.analysis.write import show
        case "evaluate":
            from posenc.jobs.evaluate import show
        case "export":
            from posenc.trained.export import show
        case "panel":
            from posenc.studies.panel import show
        case "benchmark":
            from posenc.benchmark.measure import show
        case _:
            from posenc.statistics.simulation import show
    show(**given)


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
    from posenc.config.mistakes import mistakes  # Hydra, which --help need not load

    with mistakes(CONFIGS):
        run(asked)


if __name__ == "__main__":
    main()
