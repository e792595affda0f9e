"""Encodings made of others, in one word of the command line: `encoding=rope-rope-rope-none`.

    A-B    layers: A in the first, B in the second, then A again, and so on (posenc.encodings.by_layers)
    A+B    both in every layer: A's rotation and B's bias (posenc.encodings.sums)
    A:B    heads: A on the first half, B on the second; A:B:B is one third and two thirds (posenc.encodings.by_heads)
    A@x    A with the name x, if a part is used twice: `rope@near-rope@far encoding.parts.far.base=1e6`. Alone it is A
           itself, and its runs have a name of their own: `rope@far encoding.base=1e6`

A and B are options of configs/encoding, posenc's or the user's own. `:` binds closest, then `+`, then `-`. Hydra treats
each such word as a file of the group; `Mixtures` makes the content of this file. The options of a part are
`encoding.parts.NAME.*`. If a part has parts itself, its name joins their names, for example `rope_and_forgetting`.
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
"""The signs that join parts; the first binds loosest."""
JOINS = {"-": "_then_", "+": "_and_", ":": "_or_"}
"""For each sign the word that joins the names of parts."""


def is_mixture(word: str) -> bool:
    """Whether an option of the group `encoding` is a mixture of others."""
    return WORD.fullmatch(word) is not None and re.search("[-+:@]", word) is not None


def node(word: str) -> dict[str, Any]:
    """The content of the file of a mixture: the files of its parts, and how they are joined."""
    for sign in BINDS:
        words = word.split(sign)
        if len(words) > 1:
            break
    else:
        return {"defaults": [word.partition("@")[0], "_self_"]}
    names = [name_of(each) for each in words]
    kinds = dict(zip(names, words, strict=True))
    clash = next((name for name, each in zip(names, words, strict=True) if kinds[name] != each), None)
    if clash is not None or (sign == "+" and len(kinds) < len(names)):
        twice = clash or next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"encoding={word} has two parts {twice}; name one of them anew, as in {twice}@x.")
    found = {
        "-": {"_target_": "posenc.encodings.by_layers.ByLayers", "layers": names, "own": dict.fromkeys(kinds)},
        "+": {"_target_": "posenc.encodings.sums.Sum"},
        ":": {"_target_": "posenc.encodings.by_heads.ByHeads", "num_heads": "${model.num_heads}", "heads": names},
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
    """The name of a part, or the joined names of its own parts."""
    for sign in BINDS:
        if sign in word:
            return JOINS[sign].join(dict.fromkeys(name_of(each) for each in word.split(sign)))
    return word.rpartition("@")[2]


def _below(name: str, file: str) -> str:
    option, _, package = file.partition("@")
    return f"{option}@parts.{name}.{package}"


class Mixtures(ConfigSource):
    """A source of configs in which Hydra finds the options of `encoding` that have no file."""

    @staticmethod
    def scheme() -> str:
        """The name of this source in the search path."""
        return "mixture"

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of a mixture."""
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
        """False: this source has no groups."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Whether the path is a word of the grammar. Hydra notices later if a part does not exist."""
        return config_path.startswith(GROUP) and is_mixture(_word(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """An empty list, because there are infinitely many mixtures."""
        return []


def _word(config_path: str) -> str:
    return config_path.removeprefix(GROUP).removesuffix(".yaml")


class MixturesLast(SearchPathPlugin):
    """Adds `Mixtures` after all files, so that a file with the same name has priority."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append `Mixtures` to the search path."""
        search_path.append(provider="posenc", path=f"{Mixtures.scheme()}://")


Plugins.instance().register(Mixtures)
Plugins.instance().register(MixturesLast)
