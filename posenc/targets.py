"""Which targets of a config are built: an allow-list, held before anything of a config is imported or called.

`_target_` names code, and whoever writes a config, or the record of a run that somebody else analyses, chooses it. What
a group builds must be of the group's kind, and defined in one of `ROOTS`; what is built inside of it must be a class of
one of `PARTS`. Only a user allows more, on the command line: a file that could allow itself would be no barrier.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError

ROOTS = ("posenc", "lightning", "torch", "torchmetrics")
PARTS = (
    "posenc.encodings", "posenc.schemes", "posenc.studies", "posenc.tasks", "posenc.verdicts", "torch.nn",
    "torch.optim", "torchmetrics.classification", "torchmetrics.regression",
)  # fmt: skip
"""Classes that do nothing when they are built. Others start processes, write files or connect (torch.distributed)."""
HYDRA = ("hydra", "hydra_plugins", "optuna.samplers", "posenc.sweep")
"""What Hydra itself builds from the config: callbacks, launcher, sweeper."""
TARGET = "_target_"
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class Refused(ConfigError):
    """A target that is not built."""

    def __init__(self, where: str, target: object, why: str) -> None:
        text = str(target)
        trust = text if under(text, ROOTS) else text.partition(".")[0]
        remedy = f"; if you trust it, add allow=[{trust}] (after posenc.analyze and posenc.catalog: --allow {trust})"
        super().__init__(f"{where}: _target_={text} is not built: {why}{remedy if NAME.fullmatch(text) else ''}.")


def allowed(allow: Any) -> tuple[str, ...]:
    """The packages, modules and objects that a user trusts, by name."""
    plain = isinstance(allow, Sequence) and not isinstance(allow, str)
    if not plain or not all(isinstance(name, str) and NAME.fullmatch(f"x.{name}") for name in allow):
        raise ConfigError(f"allow must be a list of packages or modules, such as allow=[mine], got {allow!r}.")
    return tuple(allow)


def check(node: Any, group: str, kind: type, allow: Sequence[str] = ()) -> None:
    """Raise ConfigError unless all that the resolved `node` asks for may be built, and it makes a `kind`.

    node   plain values; of the groups `callbacks` and `logger` a mapping of nodes
    allow  names that a user trusts beside ROOTS
    """
    several = group in ("callbacks", "logger")
    roots = [f"{group}.{name}" for name, child in node.items() if child is not None] if several else [group]
    asked = dict(walk(node, group))
    for where in roots:
        if where not in asked:
            raise ConfigError(f"{where}: _target_ is missing; it names the class that is built, {a(kind)}.")
    for where, target in asked.items():
        _named(where, target, (*ROOTS, *allow))
    for where, target in asked.items():
        _defined(where, target, kind if where in roots else None, allow)


def walk(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """(where, target) of everything in plain values that would be built."""
    if isinstance(node, Mapping):
        if TARGET in node:
            yield where, node[TARGET]
        for key, child in node.items():
            yield from walk(child, f"{where}.{key}")
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from walk(child, f"{where}[{index}]")
    elif isinstance(node, str) and "${" in node:  # Hydra would resolve it a second time, to something not seen here
        raise ConfigError(f"{where}: a value that holds ${{ after it was resolved is not built, got {node!r:.60}.")


def _named(where: str, target: Any, roots: Sequence[str]) -> None:
    """What the name alone says."""
    if not isinstance(target, str) or not NAME.fullmatch(target):
        raise Refused(where, target, "it must be the name of a class with its module, such as mine.MyEncoding")
    trusted = under(target, roots[len(ROOTS) :])
    if not under(target, roots):
        raise Refused(where, target, f"only what {listed(ROOTS)} define is")
    if not trusted and any(part.startswith("_") for part in target.split(".")):
        raise Refused(where, target, "it is private")


def _defined(where: str, target: str, kind: type | None, allow: Sequence[str]) -> None:
    """What the object says that it is; `kind` is None for a part of something else."""
    found = locate(where, target)
    defined = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if inspect.isclass(found) and kind is not None and not issubclass(found, kind):
        raise ConfigError(f"{where}: _target_ must build {a(kind)}, which {target} is not.")
    if target in allow or under(defined, allow):
        return
    if not under(defined, ROOTS):
        raise Refused(where, target, f"it is {defined}, and only what {listed(ROOTS)} define is")
    if kind is None and not (inspect.isclass(found) and under(defined, PARTS)):
        raise Refused(where, target, f"inside of something else only classes of {listed(PARTS)} are")
    if kind is not None and not inspect.isclass(found) and not _makes(found, kind):
        raise Refused(where, target, f"it is not a class, and does not say that it makes {a(kind)}")


def _makes(found: Any, kind: type) -> bool:
    """Whether it is a function of posenc's that is declared to return a `kind`."""
    if not inspect.isfunction(found) or not under(found.__module__, ROOTS[:1]) or "." in found.__qualname__:
        return False
    made = found.__annotations__.get("return")
    return inspect.isclass(made) and issubclass(made, kind)


def locate(where: str, target: str) -> Any:
    """The object of this name. No module is reached through another that only imports it, as torch.os would be."""
    names = target.split(".")
    found: Any = None
    for index in range(len(names)):
        name = ".".join(names[: index + 1])
        try:
            if index and hasattr(found, names[index]):
                found = getattr(found, names[index])
            elif index and not isinstance(found, ModuleType):
                raise ImportError(f"there is no {name}")
            else:
                found = import_module(name)
        except ImportError as error:
            raise ConfigError(f"{where}: _target_={target} cannot be imported ({error}).") from error
        if isinstance(found, ModuleType) and found.__name__ != name:
            raise Refused(where, target, f"{name} is the module {found.__name__}")
    return found


def under(name: str, roots: Sequence[str]) -> bool:
    """Whether a dotted name is one of the roots, or inside of one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def a(kind: type) -> str:
    """A kind with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def hold_hydra() -> None:
    """Hold what Hydra builds for itself, callbacks, launcher and sweeper, to `HYDRA`: a file can choose it."""
    original = Callbacks.__init__, Plugins._instantiate
    if original[0].__module__ == __name__:  # held already
        return

    def callbacks(self: Callbacks, config: DictConfig | None = None) -> None:
        if config is not None:
            check_hydra(OmegaConf.select(config, "hydra.callbacks"), "hydra.callbacks")
        original[0](self, config)

    def plugin(self: Plugins, config: DictConfig) -> Any:
        check_hydra(config, str(config._get_full_key(None)))
        return original[1](self, config)

    Callbacks.__init__, Plugins._instantiate = callbacks, plugin


def check_hydra(node: Any, where: str) -> None:
    """Raise ConfigError unless all that a node asks for is a class of Hydra, its plugins, or posenc's callback."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if where == "hydra.sweeper" and any(str(key).strip("+~") == "allow" for key in (node.get("params") or {})):
        raise ConfigError("hydra.sweeper.params must not hold allow; give it on the command line.")
    for place, target in walk(node, where):
        if not isinstance(target, str) or not NAME.fullmatch(target) or not under(target, HYDRA):
            raise ConfigError(f"{place}: _target_={target} is not built: only classes of {listed(HYDRA)} are.")
        found = locate(place, target)
        if not inspect.isclass(found) or not under(f"{found.__module__}.{found.__qualname__}", HYDRA):
            raise ConfigError(f"{place}: _target_={target} is not built: it is no class of {listed(HYDRA)}.")
