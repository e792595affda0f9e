"""What a config asks to be built: each group builds its kind, and every option is one that its target reads.

A config is its user's code, as everywhere in Hydra: what `_target_` names is imported and called. What others wrote is
data: of the record in a run folder only classes that `SAFE` defines are built.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from posenc.checks import ConfigError
from posenc.runs.former import now

SAFE = (
    "posenc.callbacks", "posenc.encodings", "posenc.model.encoder", "posenc.positions.schemes",
    "posenc.statistics.claims", "posenc.studies", "posenc.tasks", "posenc.training.data",
    "posenc.training.module", "torch.nn", "torch.optim", "torchmetrics.classification", "torchmetrics.regression",
)  # fmt: skip
"""Where the classes are that do nothing when they are built. Others start processes, write files or connect."""
TARGET = "_target_"
HYDRAS = (TARGET, "_partial_", "_convert_", "_recursive_", "_args_")
"""Keys that Hydra reads itself."""
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
SEVERAL = ("callbacks", "logger")
"""Groups that hold nodes by name."""

HANDS_ON: dict[str, str | tuple[str, ...]] = {
    "lightning.pytorch.loggers.tensorboard.TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter",
    "lightning.pytorch.callbacks.weight_averaging.WeightAveraging": "torch.optim.swa_utils.AveragedModel",
    "lightning.pytorch.callbacks.throughput_monitor.ThroughputMonitor": "lightning.fabric.utilities.Throughput",
    "lightning.pytorch.callbacks.rich_model_summary.RichModelSummary": ("header_style",),
    "lightning.pytorch.callbacks.model_summary.ModelSummary": (),
    "lightning.pytorch.loggers.wandb.WandbLogger": "wandb.init",
}
"""Classes of others that take any option, and what they hand the unknown ones to, or which of these they read.

They find a wrong one only when the run has begun, or never. The first of a class's ancestors that is here counts.
"""
HELD_BACK = ("log_dir", "model", "self")
"""Options of what is in `HANDS_ON` that its class sets itself."""


def check(node: Any, group: str, kind: type, given: Collection[str] = (), trusted: bool = True) -> None:
    """Raise ConfigError unless the resolved `node` asks for a `kind`, and for nothing that does not exist.

    node     plain values; of the groups in `SEVERAL` a mapping of nodes
    given    options that posenc sets itself, which a config cannot
    trusted  whether the user wrote it; else only classes that `SAFE` defines are built
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
    """(where, node) of everything in plain values that would be built."""
    if isinstance(node, Mapping):
        if TARGET in node:
            yield where, node
        for key, child in node.items():
            yield from walk(child, f"{where}.{key}", trusted)
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from walk(child, f"{where}[{index}]", trusted)
    elif not trusted and isinstance(node, str) and "${" in node:  # Hydra would resolve it again, after this check
        raise ConfigError(f"{where}: a value of a record that holds ${{ is not built, got {node!r:.60}.")


def _refuse(where: str, target: str) -> None:
    raise ConfigError(
        f"{where}: the record names _target_={target}, which posenc does not define, and it may run anything; if the "
        "run is yours, python -m posenc analyze, evaluate, export and panel build it with --trust, posenc.load with "
        "trust=True."
    )


def _check_options(where: str, node: Mapping[str, Any], found: Any, given: Collection[str]) -> None:
    """Every option is one that `found` takes by name; without this a constructor with defaults would not miss it."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):  # some classes of compiled code have none
        return
    known = [one.name for one in parameters if one.kind in BY_NAME and one.name not in given]
    anything = any(one.kind == inspect.Parameter.VAR_KEYWORD for one in parameters)
    if anything and set(node) - {*HYDRAS, *known}:
        more = _handed_on(where, found)
        known, anything = [*known, *(more or ())], more is None
    for key in map(str, node):
        if key in given:
            raise ConfigError(f"{where}.{key} is set by posenc itself; leave it out. The options are {listed(known)}.")
        if key in HYDRAS or key in known or anything:
            continue
        options = f"the options are {listed(known)}" if known else "it has no options"
        raise ConfigError(f"{where}.{key} does not exist: {options}.{nearest(key, known)}")


def _handed_on(where: str, found: Any) -> list[str] | None:
    """What options a class that takes any hands on; None where nobody knows."""
    ancestors = [f"{each.__module__}.{each.__qualname__}" for each in getattr(found, "__mro__", ())]
    reader = next((HANDS_ON[name] for name in ancestors if name in HANDS_ON), None)
    if not isinstance(reader, str):
        return None if reader is None else list(reader)
    try:
        parameters = inspect.signature(locate(where, reader)).parameters.values()
    except (ConfigError, TypeError, ValueError):  # it is not installed, which is said where it is built
        return None
    return [one.name for one in parameters if one.kind in BY_NAME and one.name not in HELD_BACK]


def locate(where: str, target: str) -> Any:
    """The object of this name. No module is reached through another that only imports it, as torch.os would be."""
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
            except Exception as error:  # a module of the user's own may raise anything
                near = nearest(names[index], [key for key in vars(found) if key[0] != "_"]) if index else ""
                raise ConfigError(f"{where}: _target_={target} cannot be imported ({error}).{near}") from error
        if isinstance(found, ModuleType) and found.__name__ != name:
            raise ConfigError(f"{where}: _target_={target} is not built: {name} is the module {found.__name__}.")
    return found


def nearest(wrong: str, options: Sequence[str]) -> str:
    """The option that was probably meant, in words."""
    near = get_close_matches(wrong, options, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def under(name: str, roots: Sequence[str]) -> bool:
    """Whether a dotted name is one of the roots, or inside of one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def a(kind: type) -> str:
    """A kind with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def listed(names: Sequence[str]) -> str:
    """a, b, c."""
    return ", ".join(names)
