"""Builds the objects of one group of a config. A mistake in the group raises an error of one sentence."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer

from posenc.checks import ConfigError
from posenc.config import allowed
from posenc.config.mistakes import first_cause
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import FITTED
from posenc.model.encoder import Encoder
from posenc.positions.schemes import PositionScheme
from posenc.tasks.base import Task
from posenc.training.data import SequenceData
from posenc.training.divergence import ran_out
from posenc.training.module import SequenceModule
from posenc.training.stopping.criterion import Criterion

KINDS: dict[str, type] = {
    "dataset": Task, "data": SequenceData, "encoding": PositionalEncoding, "model": Encoder,
    "positions": PositionScheme, "module": SequenceModule, "optimizer": Optimizer, "trainer": L.Trainer,
    "callbacks": L.Callback, "logger": Logger, "stop": Criterion,
}  # fmt: skip
"""The class of the object that each group of the config builds."""
MISSING = object()
"""Stands for the value of a key that is not there."""


def make(config: DictConfig, group: str, kind: type | None = None, *, trusted: bool = True, **objects: Any) -> Any:
    """Instantiate one group of the config.

    kind     the class that must be built (posenc.config.allowed); None: the group's class in `KINDS`
    trusted  whether the user wrote the config; false for the record in a run folder
    objects  further arguments that already exist
    """
    kind = kind or KINDS[group]
    node = config.get(group, {})  # a config may have no callbacks or logger
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)  # resolved only once, so that the checked values are built
    if not isinstance(node, dict):
        raise ConfigError(f"{group} must be a group of options, got {node!r:.60}.")
    allowed.check(node, group, kind, objects, trusted)
    # Hydra would turn a dataclass object, such as a task, into a dictionary.
    handed = {"_partial_": True} if objects else {}
    try:
        made = instantiate(OmegaConf.create({group: node | handed})[group], _convert_="all")
        if objects:
            made = _call(made, objects)
    except TypeError as error:  # from Hydra; a constructor's error is an InstantiationException
        raise ConfigError(f"{group}: {error}.") from error
    except InstantiationException as error:
        cause = first_cause(error)
        if isinstance(cause, ConfigError):
            raise cause.named(partial(_key, config, _where(error, group))) from error
        if cause is not None and ran_out(cause):
            raise ConfigError(
                f"{group} does not fit into the memory ({' '.join(str(cause).split())}); lower what makes it large, "
                "such as dataset.length, dataset.test_lengths, dataset.vocab_size or model.dim."
            ) from error
        if isinstance(cause, ModuleNotFoundError):
            missing = next((name for name in map(str, node) if name in str(cause)), cause.name)
            raise ConfigError(
                f"{group}={missing} needs packages that are not installed; "
                f"pip install -c constraints.txt -e '.[{missing}]' brings them."
            ) from error
        if isinstance(cause, TypeError) and "argument" in str(cause):
            raise ConfigError(f"{group}: {cause}.") from error
        called = re.match("Error in call to target '([^']+)'", str(error))
        if called is None:  # there is no such class, or Hydra cannot call it
            raise ConfigError(f"{group}: {str(error).splitlines()[0]}.") from error
        if isinstance(cause, TypeError | ValueError) and not called.group(1).startswith("posenc."):
            raise ConfigError(f"{group}: {called.group(1)} says: {cause}.") from error
        raise
    several = isinstance(made, dict)
    for each in made.values() if several else () if node.get("_partial_") else [made]:
        if not isinstance(each, kind):
            raise ConfigError(f"{group}: _target_ must build {allowed.a(kind)}, got {each!r:.60}.")
    return made


def _where(error: InstantiationException, group: str) -> str:
    """The key of the node that could not be built, such as encoding.parts.far."""
    found = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
    return group if found is None else found[1]


def _key(config: DictConfig, where: str, option: str) -> str:
    """The key of the config that sets an option of the node at `where`; the option itself if none does.

    An option that follows the model's option of the same name is named as the model's.
    """
    key, name = f"{where}.{option}", option.rpartition(".")[2]
    value = OmegaConf.select(config, key, default=MISSING)
    if value is MISSING or where.partition(".")[0] not in KINDS:  # a study takes nodes of other groups
        return option
    follows = name in FITTED and OmegaConf.select(config, f"model.{name}", default=MISSING) == value
    return f"model.{name}" if follows else key


def _call(made: partial[Any], objects: Mapping[str, Any]) -> Any:
    """Call `made` with these objects. An error is raised as Hydra raises it."""
    try:
        return made(**objects)
    except Exception as error:
        name = f"{made.func.__module__}.{made.func.__qualname__}"
        raise InstantiationException(f"Error in call to target '{name}':\n{error!r}") from error
