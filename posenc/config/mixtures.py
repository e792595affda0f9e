"""Encodings made of others, in one word of the command line: `encoding=rope-rope-rope-none`.

    A-B    layers: A in the first, B in the second, and so on, again and again (posenc.encodings.by_layers)
    A+B    both in every layer: A's rotation and B's bias (posenc.encodings.sums)
    A:B    heads: A on the first half, B on the second; A:B:B is a third and two thirds (posenc.encodings.by_heads)
    A@x    A under the name x, for a part that is there twice: `rope@near-rope@far encoding.parts.far.base=1e6`

A, B are options of configs/encoding, the user's own too; `:` binds closest, then `+`, then `-`. For Hydra each such
word is a file of the group, which is written when it is asked for. The options of a part are `encoding.parts.NAME.*`;
the name of a part that is made of others joins theirs, as in `rope_and_forgetting`.
"""

import re
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from posenc.checks import ConfigError

GROUP = "encoding/"
PART = r"\w+(@\w+)?"
WORD = re.compile(rf"{PART}([-+:]{PART})*")
BINDS = ("-", "+", ":")
"""What joins parts, the loosest first."""
JOINS = {"-": "_then_", "+": "_and_", ":": "_or_"}
"""What joins the names of parts in the name of one that is made of them."""


def is_mixture(word: str) -> bool:
    """Whether an option of the group `encoding` is made of others."""
    return WORD.fullmatch(word) is not None and re.search("[-+:@]", word) is not None


def node(word: str) -> dict[str, Any]:
    """What the file of such an option holds: the files of its parts, and how they act together."""
    for sign in BINDS:
        words = word.split(sign)
        if len(words) > 1:
            break
    else:
        raise ConfigError(f"encoding={word} names one encoding; write encoding={word.partition('@')[0]}.")
    names = [name_of(each) for each in words]
    kinds = dict(zip(names, words, strict=True))
    clash = next((name for name, each in zip(names, words, strict=True) if kinds[name] != each), None)
    if clash is not None or (sign == "+" and len(kinds) < len(names)):
        twice = clash or next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"encoding={word} has two parts {twice}; name one of them anew, as in {twice}@x.")
    found = {
        "-": {"_target_": "posenc.encodings.by_layers.ByLayers", "layers": names, "own": dict.fromkeys(kinds)},
        "+": {"_target_": "posenc.encodings.sums.Sum"},
        ":": {
            "_target_": "posenc.encodings.by_heads.ByHeads",
            "num_heads": "${model.num_heads}",
            "heads": names,
        },
    }[sign]
    files, parts = [], {}
    for name, each in kinds.items():
        if re.search("[-+:]", each):
            inner = node(each)
            files += [_below(name, file) for file in inner.pop("defaults") if file != "_self_"]
            parts[name] = inner
        else:
            files.append(f"{each.partition('@')[0]}@parts.{name}")
            parts[name] = {}
        if sign == ":":
            parts[name] |= {"_partial_": True}
    return {"defaults": [*files, "_self_"], **found, "parts": parts}


def name_of(word: str) -> str:
    """The name of a part: its own, or those of its parts."""
    for sign in BINDS:
        if sign in word:
            return JOINS[sign].join(dict.fromkeys(name_of(each) for each in word.split(sign)))
    return word.rpartition("@")[2]


def _below(name: str, file: str) -> str:
    option, _, package = file.partition("@")
    return f"{option}@parts.{name}.{package}"


class Mixtures(ConfigSource):
    """Where Hydra looks for options of the group `encoding` that no file holds."""

    @staticmethod
    def scheme() -> str:
        """How the search path names it."""
        return "mixture"

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of such an option."""
        return ConfigResult(
            provider=self.provider,
            path=f"{self.scheme()}://",
            config=OmegaConf.create(node(_word(config_path))),
            header={"package": None},
        )

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """It has no groups of its own."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Every word of the grammar; whether the parts exist Hydra sees when it looks for them."""
        return config_path.startswith(GROUP) and is_mixture(_word(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """None: there is no end of them."""
        return []


def _word(config_path: str) -> str:
    return config_path.removeprefix(GROUP).removesuffix(".yaml")


class MixturesLast(SearchPathPlugin):
    """Adds `Mixtures` behind all files, so that a file of such a name counts."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Behind what is there."""
        search_path.append(provider="posenc", path=f"{Mixtures.scheme()}://")


Plugins.instance().register(Mixtures)
Plugins.instance().register(MixturesLast)
