"""Checks the shape of a composed config before anything reads it: its groups, and the keys that they need.

Options and deletions on the command line may have removed them. Values are checked where they are used.
"""

import inspect
from difflib import get_close_matches
from typing import Any, cast

from omegaconf import DictConfig, Node, OmegaConf

from posenc.checks import ConfigError

TOP = ("seed", "ckpt_path", "start_from", "force", "threads", "study")
REQUIRED = {
    "encoding": (), "positions": (), "dataset": (), "model": (), "optimizer": (), "module": (),
    "data": ("batch_size", "eval_size", "eval_tokens", "train_size", "curriculum_steps"),
    "trainer": ("max_steps", "precision", "gradient_clip"),
}  # fmt: skip
"""Groups that build an object, and the keys that posenc reads in each."""
OPTIONAL = ("callbacks", "logger")
"""Groups of named objects that watch a run. A config may have none of them."""


def check(config: DictConfig) -> dict[str, Any]:
    """The resolved config as a plain dict. Raises ConfigError if it is not the config of a run."""
    for key in (*TOP, *REQUIRED):
        if key not in config:
            raise ConfigError(f"the config has no {key}, and a run needs it; leave ~{key} out.")
    for group in (*REQUIRED, *OPTIONAL, "study"):
        node = config._get_node(group) if group in config else None
        if group != "seed" and isinstance(node, Node) and node._value() is not None and not OmegaConf.is_config(node):
            _no_options(group, node._value())
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for group, keys in REQUIRED.items():
        _maker(group, plain[group], keys)
    for group in OPTIONAL:
        watching = plain.get(group)
        if watching is None:
            continue
        if not isinstance(watching, dict):
            raise ConfigError(f"{group} must be a group of options, got {watching!r}; ~{group} leaves it out.")
        for name, node in watching.items():
            _maker(f"{group}.{name}", node)
    for group in ("study", "stop"):
        if plain.get(group) is not None:
            _maker(group, plain[group])
    if not isinstance(plain["force"], bool):
        raise ConfigError(f"force must be true or false, got {plain['force']!r}.")
    for key, what in (("ledger", "table"), ("ckpt_path", "checkpoint"), ("start_from", "checkpoint")):
        if not isinstance(plain.get(key), str | None):
            raise ConfigError(f"{key} must be the path of a {what} or null, got {plain[key]!r}.")
    return plain


def _no_options(group: str, value: Any) -> None:
    """Raise ConfigError if a group is a single value, before anything reads the group's options."""
    write = f"{group}.OPTION=VALUE"
    if group == "optimizer":
        from torch import optim  # imported here, because a finished sweep needs no torch

        classes = {name.lower(): name for name in dir(optim) if inspect.isclass(getattr(optim, name))}
        near = get_close_matches(str(value).rpartition(".")[2].lower(), [*classes], n=1)
        write = f"optimizer._target_=torch.optim.{classes[near[0]] if near else 'AdamW'}"
    raise ConfigError(
        f"{group} must be a group of options, got {value!r:.60}, and it has no files to choose from; write {write}."
    )


def _maker(name: str, node: Any, keys: tuple[str, ...] = ()) -> None:
    """Raise ConfigError unless the node is a mapping with `_target_` and these keys."""
    if not isinstance(node, dict):
        raise ConfigError(f"{name} must be a group of options, got {node!r}; set one with {name}.OPTION=VALUE.")
    for key in ("_target_", *keys):
        if key not in node:
            raise ConfigError(f"{name} has no {key}, and a run needs it; leave ~{name}.{key} out.")
    if not isinstance(node["_target_"], str):
        raise ConfigError(f"{name}._target_ must be the name of a class or function, got {node['_target_']!r}.")
