"""Suggests keys of the config for a key that does not exist."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

GROUPS = (
    "encoding", "dataset", "positions", "model", "trainer", "stop", "callbacks", "logger", "launcher", "recipe",
    "experiment", "claim", "profile",
)  # fmt: skip
"""Groups. The name of a file chooses the option of a group."""
WATCH = ("callbacks.", "logger.")
"""Beginnings of keys that are not suggested, because nobody means them who does not name the group."""
MAX_SUGGESTIONS = 3
"""Upper limit of suggestions in one message."""


def did_you_mean(key: str, config: DictConfig) -> str:
    """` Did you mean optimizer.lr?`; an empty text if no key of `config` is like `key`.

    Candidates are, in this order: the same name in another group, similar names in the same group, and names with the
    same beginning.
    """
    known = [name for name in _keys(OmegaConf.to_container(config, resolve=False)) if not name.startswith(WATCH)]
    tops = [*dict.fromkeys([*GROUPS, *(name for name in known if "." not in name)])]
    head, _, rest = key.partition(".")
    last = key.rpartition(".")[2]
    same = [name for name in known if "." in name and name.rpartition(".")[2] == last]
    if not rest and same:
        found = same
    elif rest and head not in tops:
        near = get_close_matches(head, tops, n=1)
        found = [f"{near[0]}.{rest}"] if near else []
    else:
        parent, _, wrong = key.rpartition(".")
        beside = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent] if parent else tops
        found = get_close_matches(wrong, beside, n=1)
    found += [] if found else [name for name in known if name.rpartition(".")[2] == last]
    found += [] if found else [name for name in tops if len(last) > 1 and name.startswith(last)]
    if not found:
        near = get_close_matches(last, {name.rpartition(".")[2] for name in known}, n=1)
        found = [name for name in known if name.rpartition(".")[2] in near]
    words = [f"{name}=" if name in GROUPS else name for name in found[:MAX_SUGGESTIONS]]
    return f" Did you mean {' or '.join(words)}?" if words else ""


def _keys(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            if not str(name).startswith("_"):
                yield f"{path}{name}"
                yield from _keys(child, f"{path}{name}.")
