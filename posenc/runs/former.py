"""Finds each module that has moved, under its former name.

Users' code imports these modules, and config files and records of runs name classes in them. `now` gives today's name
of a class. `install` lets Python import a module under its former name, without a second copy of it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from runpy import run_module
from types import CodeType, ModuleType
from typing import Any

ROOT, MAIN = "posenc.", ".__main__"
MOVED = {
    "training.make_trainer": "training.trainer.make_trainer",
    "schemes": "positions.schemes", "corpus": "tasks.parts.corpus", "tasks.bits": "tasks.parts.bits",
    "tasks.counts": "tasks.parts.counts", "tasks.expressions": "tasks.parts.expressions",
    "tasks.terminated": "tasks.parts.transduction", "tasks.transduction": "tasks.parts.transduction",
    "tasks.near_copies": "tasks.parts.near_copies", "tasks.signed_distance": "tasks.distance",
    "tasks.parts.terminated": "tasks.parts.transduction",
    "measurements": "statistics.measurements",
    "verdicts": "statistics.claims", "length_generalization": "statistics.length", "claims": "runs.folder",
    "locks": "runs.lock", "identity": "runs.identity", "records": "runs.reading", "journal": "runs.sweep_journal",
    "slurm": "runs.slurm", "bias": "attention.bias", "mask": "attention.mask", "blocks": "attention.kernels.blocks",
    "fused": "attention.kernels.fused", "by_query": "attention.kernels.by_query",
    "by_pairs": "attention.kernels.by_pairs", "narrow": "attention.kernels.bfloat16",
    "flex": "attention.kernels.flex", "encoder": "model.encoder", "studies.initialisation": "model.initialise",
    "portrait": "figures.portrait", "data": "training.data", "shares": "training.data",
    "files": "runs.files", "tables": "terminal",
    "module": "training.module", "scores": "training.scores", "precision": "training.precision",
    "memory": "training.memory", "faults": "training.divergence", "stop": "training.interrupt",
    "checkpoints": "training.checkpoints", "sealed": "training.checkpoint_file", "unpickle": "training.unpickle",
    "logs": "training.loggers.metrics_file", "trackio_logger": "training.loggers.trackio", "build": "config.build",
    "composition": "config.shape", "targets": "config.allowed", "effect": "config.effect",
    "suggestions": "config.suggestions", "going_on": "config.resume", "report.read": "report.reading.read",
    "report.arms": "report.reading.arms", "report.lost": "report.reading.lost",
    "report.saved": "report.reading.saved", "report.tables": "report.numbers.facets",
    "report.differences": "report.numbers.differences", "report.finding": "report.numbers.finding",
    "report.series": "report.numbers.series", "report.compare": "report.numbers.compare",
    "report.judge": "report.numbers.judge", "report.meetings": "report.numbers.meetings",
    "report.palette": "figures.style", "report.layout": "report.pages.layout",
    "report.static": "report.pages.figures", "report.interactive": "report.pages.figures",
    "report.matrix": "report.pages.matrix", "report.markdown": "report.pages.markdown",
    "report.page": "report.pages.page", "studies.base": "studies.method.base",
    "studies.conduct": "studies.method.conduct", "studies.workers": "studies.method.workers",
    "studies.trained": "studies.method.trained", "studies.trainability": "studies.method.trainability",
    "studies.curves": "studies.method.curves", "studies.mixers": "studies.method.mixers",
    "studies.gradient_flow_figure": "studies.gradient_flow",
    "studies.length_extrapolation_figure": "studies.length_extrapolation",
    "studies.locality_figure": "studies.locality",
    "studies.position_fading_figure": "studies.position_fading",
    "studies.quadratic_cost_figure": "studies.quadratic_cost",
    "studies.rank_collapse_figure": "studies.rank_collapse", "analyze": "analysis",
    "analysis.load": "trained.load", "analyze.load": "trained.load",
    "task_catalog": "catalog.tasks", "job": "jobs.job", "run": "jobs.run", "cli": "jobs.launch",
    "summary": "jobs.summary", "sweep": "jobs.sweep", "ranks": "jobs.ranks",
    "output": "terminal",
}  # fmt: skip
"""Today's name of each module below `posenc`, by its former name."""
COMMANDS = {
    "analyze": "analyze", "benchmark": "benchmark", "catalog": "encodings", "report": "report",
    "statistics": "coverage", "studies.panel": "panel", "task_catalog": "tasks",
}  # fmt: skip
"""The words after `python -m posenc` that replace `python -m posenc.NAME`."""
PACKAGES = {
    "positions.": "positions.positions.", "attention.": "attention.layer.", "training.": "training.trainer.",
}  # fmt: skip
"""Modules whose former name is a package today. The package exports the names that they defined."""


def now(path: str) -> str:
    """Today's name of a module or class of posenc; any other name is not changed."""
    if not path.startswith(ROOT):
        return path
    names = path.removeprefix(ROOT).split(".")
    for end in range(len(names), 0, -1):
        moved = MOVED.get(".".join(names[:end]))
        if moved is not None:
            return ".".join([ROOT + moved, *names[end:]])
    return path


def before(path: str) -> str:
    """The former name of a class of posenc. Records of old runs have it."""
    inner = path.removeprefix(ROOT)
    if inner == path:
        return path
    for old, new in (*PACKAGES.items(), *((f"{old}.", f"{new}.") for old, new in MOVED.items())):
        if inner.startswith(new):
            return ROOT + old + inner.removeprefix(new)
    return path


def renamed(node: Any, name: Callable[[str], str]) -> Any:
    """A copy of a config's plain values, with `name` applied to each `_target_`."""
    if isinstance(node, Mapping):
        return {
            key: name(child) if key == "_target_" and isinstance(child, str) else renamed(child, name)
            for key, child in node.items()
        }
    return [renamed(child, name) for child in node] if isinstance(node, list | tuple) else node


class Former(MetaPathFinder, Loader):
    """Finds a module of posenc under its former name. It is the same module object, not a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a former name, and for `python -m` of a package that was a command; None for any other name."""
        package = fullname.removeprefix(ROOT).removesuffix(MAIN)
        was_command = fullname == f"{ROOT}{package}{MAIN}" and package in COMMANDS
        return ModuleSpec(fullname, self) if was_command or now(fullname) != fullname else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Today's module."""
        module = import_module(now(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own spec, which the import system has replaced. The module has already run."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state

    def get_code(self, name: str) -> CodeType:
        """The code that `python -m` runs for a former name."""
        return _run_command.__code__


def _run_command() -> None:
    """Python runs this code as the module of a former name. It has a __spec__, but none of the names of this file."""
    from posenc.runs.former import command

    command(__spec__.name)  # pyright: ignore[reportOptionalMemberAccess]


def command(module: str) -> None:
    """Run the former command `python -m posenc.NAME`, after a line that says what to type today."""
    module = module.removesuffix(MAIN)
    word = COMMANDS.get(module.removeprefix(ROOT))
    if word is None:
        sys.exit(f"error: {module} is no command; python -m posenc --help lists all commands.")
    print(f"python -m {module} is now python -m posenc {word}", file=sys.stderr)
    sys.argv[1:] = [word, *sys.argv[1:]]
    run_module("posenc", run_name="__main__")


def install() -> None:
    """Put `Former` before Python's finders, which would load a second copy of modules in a former package."""
    sys.meta_path.insert(0, Former())
