"""Checks what a config builds: each group builds an object of its class, and its target reads every option.

A config is code of its user, as everywhere in Hydra: the object at `_target_` is imported and called. A record in a run
folder may come from someone else. From a record only classes defined in `SAFE` are built.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from posenc.checks import ConfigError, nearest
from posenc.runs.former import now

SAFE = (
    "posenc.callbacks", "posenc.encodings", "posenc.model.encoder", "posenc.positions.schemes",
    "posenc.statistics.claims", "posenc.studies", "posenc.tasks", "posenc.training.data",
    "posenc.training.module", "torch.nn", "torch.optim", "torchmetrics.classification", "torchmetrics.regression",
)  # fmt: skip
"""Modules whose classes only set attributes when they are built. Other classes may start processes or write files."""
TARGET = "_target_"
HYDRAS = (TARGET, "_partial_", "_convert_", "_recursive_", "_args_")
"""Keys that Hydra reads itself."""
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
SEVERAL = ("callbacks", "logger")
"""Groups that contain several nodes, by name."""

HANDS_ON: dict[str, str | tuple[str, ...]] = {
    "lightning.pytorch.loggers.tensorboard.TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter",
    "lightning.pytorch.callbacks.weight_averaging.WeightAveraging": "torch.optim.swa_utils.AveragedModel",
    "lightning.pytorch.callbacks.throughput_monitor.ThroughputMonitor": "lightning.fabric.utilities.Throughput",
    "lightning.pytorch.callbacks.rich_model_summary.RichModelSummary": ("header_style",),
    "lightning.pytorch.callbacks.model_summary.ModelSummary": (),
    "lightning.pytorch.loggers.wandb.WandbLogger": "wandb.init",
}
"""Classes of other libraries with **kwargs, and the class that reads their further options, or these options' names.

These classes notice a wrong option late or never. The first of a class's ancestors that is listed here counts.
"""
HELD_BACK = ("log_dir", "model", "self")
"""Options that a class in `HANDS_ON` sets itself, so that a config cannot set them."""


def check(node: Any, group: str, kind: type, given: Collection[str] = (), trusted: bool = True) -> None:
    """Raise ConfigError unless the resolved `node` builds a `kind`, and all its classes and options exist.

    node     plain values; for a group in `SEVERAL` a mapping of nodes
    given    options that posenc sets itself, so that a config cannot set them
    trusted  whether the user wrote the node; otherwise only classes defined in `SAFE` are built
    """
    several = group in SEVERAL
    roots = [f"{group}.{name}" for name, child in node.items() if child is not None] if several else [group]
    asked = dict(walk(node, group, trusted))
    for where in roots:
        if where not in asked:
            raise ConfigError(f"{where}: _target_ is missing; it names the class that is built, {a(kind)}.")
    for where, child in asked.items():
        target = child[TARGET]
        if not isinstance(target, str) or not NAME.fullmatch(target):
            need = "the name of a class with its module, such as mine.MyEncoding"
            raise ConfigError(f"{where}: _target_ must be {need}, got {target!r}.")
        if not trusted and not under(target, SAFE):
            _refuse(where, target)
    for where, child in asked.items():
        target = child[TARGET]
        found = locate(where, target)
        if inspect.isclass(found) and where in roots and not issubclass(found, kind):
            raise ConfigError(f"{where}: _target_ must build {a(kind)}, which {target} is not.")
        if not callable(found):
            raise ConfigError(f"{where}: _target_={target} is not a class or function.")
        if not trusted and not (inspect.isclass(found) and under(f"{found.__module__}.{found.__qualname__}", SAFE)):
            _refuse(where, target)
        _check_options(where, child, found, given if where in roots else ())


def walk(node: Any, where: str, trusted: bool = True) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, node) of everything in `node` that would be built."""
    if isinstance(node, Mapping):
        if TARGET in node:
            yield where, node
        for key, child in node.items():
            yield from walk(child, f"{where}.{key}", trusted)
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from walk(child, f"{where}[{index}]", trusted)
    elif not trusted and isinstance(node, str) and "${" in node:  # Hydra would resolve it after this check
        raise ConfigError(f"{where}: a value of a record that holds ${{ is not built, got {node!r:.60}.")


def _refuse(where: str, target: str) -> None:
    raise ConfigError(
        f"{where}: the record names _target_={target}, which posenc does not define, and it may run anything; if the "
        "run is yours, python -m posenc analyze, evaluate, export and panel build it with --trust, posenc.load with "
        "trust=True."
    )


def _check_options(where: str, node: Mapping[str, Any], found: Any, given: Collection[str]) -> None:
    """Raise ConfigError for an option that `found` does not take by name."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):  # some compiled classes have no signature
        return
    known = [one.name for one in parameters if one.kind in BY_NAME and one.name not in given]
    anything = any(one.kind == inspect.Parameter.VAR_KEYWORD for one in parameters)
    if anything and set(node) - {*HYDRAS, *known}:
        more = _handed_on(where, found)
        known, anything = [*known, *(more or ())], more is None
    listed = ", ".join(known)
    for key in map(str, node):
        if key in given:
            raise ConfigError(f"{where}.{key} is set by posenc itself; leave it out. The options are {listed}.")
        if key in HYDRAS or key in known or anything:
            continue
        options = f"the options are {listed}" if known else "it has no options"
        raise ConfigError(f"{where}.{key} does not exist: {options}.{nearest(key, known)}")


def _handed_on(where: str, found: Any) -> list[str] | None:
    """The further options of a class with **kwargs; None if they are not known."""
    ancestors = [f"{each.__module__}.{each.__qualname__}" for each in getattr(found, "__mro__", ())]
    reader = next((HANDS_ON[name] for name in ancestors if name in HANDS_ON), None)
    if not isinstance(reader, str):
        return None if reader is None else list(reader)
    try:
        parameters = inspect.signature(locate(where, reader)).parameters.values()
    except (ConfigError, TypeError, ValueError):  # not installed; building it raises the error
        return None
    return [one.name for one in parameters if one.kind in BY_NAME and one.name not in HELD_BACK]


def locate(where: str, target: str) -> Any:
    """The object of this name. A module must have its own name: torch.os, which is the module os, is refused."""
    names = now(target).split(".")
    found: Any = None
    for index in range(len(names)):
        name = ".".join(names[: index + 1])
        if index and hasattr(found, names[index]):
            found = getattr(found, names[index])
        else:
            try:
                if index and not isinstance(found, ModuleType):
                    raise ImportError(f"there is no {name}")
                found = import_module(name)
            except Exception as error:  # the user's own module may raise any error
                near = nearest(names[index], [key for key in vars(found) if key[0] != "_"]) if index else ""
                if isinstance(error, ModuleNotFoundError) and error.name == names[0]:
                    near = f" If {names[0]}.py is your own file, write its folder in PYTHONPATH."
                raise ConfigError(f"{where}: _target_={target} cannot be imported ({error}).{near}") from error
        if isinstance(found, ModuleType) and found.__name__ != name:
            raise ConfigError(f"{where}: _target_={target} is not built: {name} is the module {found.__name__}.")
    return found


def under(name: str, roots: Sequence[str]) -> bool:
    """Whether a dotted name is one of the roots, or inside one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def a(kind: type) -> str:
    """The name of a class with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
