"""Reads run folders. A damaged file leads to one lost run and one sentence."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from posenc.checks import ConfigError
from posenc.report.reading.paths import from_path, sweep_of
from posenc.report.reading.sweeps import NO_SWEEP, Sweep
from posenc.runs.identity import config_hash, former_hashes, settings, shared_before
from posenc.runs.reading import plain_text, read_json, read_yaml, short
from posenc.runs.result import CONFIG_FILE, MAX_SCORE, RESULT, STATUSES, chosen, other_layout
from posenc.terminal import TRAIN, count

BELIEVED_LENGTH = 10**9
"""Upper limit of a length in tokens; a larger number comes from a damaged file."""
UNFINISHED = "unfinished"
"""The status of a run folder without a result."""


@dataclass(frozen=True)
class Note:
    """One sentence about a folder that the reader must know."""

    folder: str
    text: str


RECORDED_SETTINGS = {"dataset.data_digest": "data_digest", "trainer.precision": "precision"}
"""Settings that are known only after a run began, and their names in the result: its data, and the precision of `auto`.

Two runs with the same precision belong to one arm, even if different words were typed. If a run did not record a
setting, it counts as the same as the others.
"""


EVALUATED = {"": "encoding", ".config": "config"}
"""Settings of an evaluation: `evaluated` and `evaluated.config`, the encoding and the digest of the trained run."""


@dataclass(eq=False)
class Run:
    """One run folder of posenc."""

    folder: Path
    sweep: Path
    result: dict[str, Any]
    config: dict[str, Any] | None
    name: str = ""
    """Its path, as the report shows it."""
    saved: bool = False
    """Whether it comes from a table of another report, without its folder."""
    words: list[str] = field(default_factory=list)
    """If the config is not known: the values that separate its arm from others of its encoding, as `key=value`."""
    made_by: Sweep = NO_SWEEP
    """Its sweep, if it comes from a table that records this sweep."""
    test: dict[int, dict[str, float]] = field(default_factory=dict)
    undefined: dict[int, str] = field(default_factory=dict)
    ceilings: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        result = self.result
        self.encoding, self.dataset = short(chosen(result)[1]), short(str(result["dataset"]))
        self.recipe = bool(result.get("recipe"))
        self.positions = short(str(result.get("positions") or "contiguous"))
        self.seed = int(result["seed"])
        self.status = str(result.get("status") or ("completed" if result.get("test") else "failed"))
        self.error = str(result["error"]) if result.get("error") else ""
        self.config_hash = str(result.get("config_hash") or "")
        self.undefined = {int(n): str(why) for n, why in _items(result.get("undefined")) if _is_length(n)}
        for n, pair in _items(result.get("ceilings")):
            if _is_length(n) and isinstance(pair, Mapping):
                self.ceilings[int(n)] = (number(pair.get("order_blind")), number(pair.get("order_aware")))
        for n, row in _items(result.get("test")):
            if _is_length(n) and isinstance(row, Mapping):
                scores = {str(key): number(value) for key, value in row.items()}
                self.test[int(n)] = {key: value for key, value in scores.items() if value is not None}
        for n, scores in self.test.items():
            blind, aware = self.ceilings.get(n, (None, None))
            if blind is not None and aware is not None and aware > blind and "accuracy" in scores:
                scores.setdefault("skill", (scores["accuracy"] - blind) / (aware - blind))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of its arm: all values that change a result, without the seed and without derived values."""
        flat = settings(self.config or {})
        flat.pop("seed", None)
        flat.pop("ckpt_path", None)  # a run that went on ends as if it had not stopped
        if not any(key.startswith("callbacks.") for key in flat):
            flat.pop("trainer.validate_every", None)  # then only best.ckpt depends on it, and that is not tested
        if flat.get("trainer.precision") == "auto":
            flat.pop("trainer.precision")
        flat |= {
            key: self.result[name] for key, name in RECORDED_SETTINGS.items() if isinstance(self.result.get(name), str)
        }
        if self.config is not None and shared_before(self.config, self.config_hash):
            flat["model.encoding_per_layer"] = "false before"
        if isinstance(flat.get("start_from"), str):
            flat |= self._started(flat["start_from"])
        if self.evaluated is not None:
            flat = {key: value for key, value in flat.items() if not key.startswith("evaluated.")}
            flat |= {f"evaluated{key}": str(self.evaluated.get(name)) for key, name in EVALUATED.items()}
        kept = {
            key: value
            for key, value in flat.items()
            if not key.startswith("encoding.") or value != flat.get(f"model.{key.rpartition('.')[2]}", object)
        }
        return {key: str(value) if isinstance(value, list) else value for key, value in kept.items()}

    @property
    def evaluated(self) -> Mapping[str, Any] | None:
        """If this is an evaluation: the trained run. Otherwise None."""
        found = (self.config or {}).get("evaluated", self.result.get("evaluated"))
        return found if isinstance(found, Mapping) else None

    def _started(self, path: str) -> dict[str, Any]:
        """Its first weights: the digest of a checkpoint that all runs share, or one of its own encoding and seed."""
        own = {f"seed{self.seed}": "seed*", self.encoding: "*"}
        parts, known = path.split("/"), self.result.get("start_digest")
        shared = isinstance(known, str) and not own.keys() & {*parts}
        named = "/".join(own.get(part, part) for part in parts)
        return {"start_from": named} | ({"start_from.digest": known} if shared else {})

    @property
    def identity(self) -> str:
        """Two runs with the same identity are one run, as far as their folders show."""
        if self.config_hash:
            plain = self.config or {}
            return config_hash(plain) if self.config_hash in former_hashes(plain) else self.config_hash
        return repr(sorted(self.settings.items())) if self.config is not None else self.name

    @property
    def trained(self) -> tuple[int, int] | None:
        """The shortest and the longest trained length, if the folder contains them."""
        found = self.result.get("trained_lengths")
        if found is None and self.config is not None:
            dataset = self.config.get("dataset")
            found = dataset.get("length") if isinstance(dataset, Mapping) else None
        first, last = found if isinstance(found, list) and len(found) == 2 else (found, found)
        if isinstance(first, int) and isinstance(last, int) and 1 <= first <= last <= BELIEVED_LENGTH:
            return first, last
        return None

    def measured(self, key: str) -> float | None:
        """A number of the result, or None."""
        return number(self.result.get(key))

    def generalization(self, key: str) -> float | None:
        """A number of `length_generalization`, or None."""
        found = self.result.get("length_generalization")
        return number(found.get(key)) if isinstance(found, Mapping) else None

    @property
    def command(self) -> str:
        """The command that makes this run again: the recorded one, or every value of its config as an override."""
        if self.result.get("command"):
            return str(self.result["command"])
        words = [
            f"{group}={self.result[group]}" for group in ("dataset", "encoding", "positions") if group in self.result
        ]
        for key, value in sorted(settings(self.config or {}).items()):
            added = key.startswith("callbacks.")
            if added or (not key.endswith("_target_") and "._" not in key and key != "seed"):
                words.append(f"{'+' * added}{key}={_word(value)}")
        return " ".join([TRAIN, *words, f"seed={self.seed}"])


def _is_length(name: Any) -> bool:
    return re.fullmatch("[1-9][0-9]{0,8}", str(name)) is not None


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items() if isinstance(value, Mapping) else ())


def number(value: Any) -> float | None:
    """The value, if it is a finite number; otherwise None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_SCORE:
        return None
    return float(value)


def _word(value: Any) -> str:
    text = "null" if value is None else json.dumps(value, separators=(",", ":"), default=str).replace('"', "")
    return text if re.fullmatch(r"[\w.+-]*", text) else "'" + text.replace("'", "'\\''") + "'"


def read(roots: Sequence[Path]) -> tuple[list[Run], list[Note]]:
    """Every run below the roots, by path, and notes about unreadable files. Raises ConfigError if there is no run."""
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"{root} is not a folder; give the folder of a run or of a sweep, such as runs/<name>.")
    runs: list[Run] = []
    notes: list[Note] = []
    foreign: list[str] = []
    seen: set[Path] = set()
    for root in roots:
        for folder in _candidates(root):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            run = _read_run(folder, root, notes, foreign)
            if run is not None:
                runs.append(run)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        named = ", ".join(foreign[:3]) + more
        notes.append(Note(named, f"{count(len(foreign), 'folder')} of another project: no run of posenc, left out."))
    if not runs:
        why = f" ({notes[0].folder}: {notes[0].text})" if notes else ""
        places = ", ".join(map(str, roots))
        raise ConfigError(
            f"no run of posenc in {places}{why}; a run folder holds {RESULT}. "
            f"`{TRAIN} -m encoding=none,rope seed=0,1,2` makes six."
        )
    return runs, notes


def _candidates(root: Path) -> Iterator[Path]:
    """Folders that look like run folders, by path."""
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("checkpoints", "figures") and name[0] != ".")
        if RESULT in files or "metrics.csv" in files or (Path(here) / CONFIG_FILE).is_file():
            yield Path(here)


def _read_run(folder: Path, root: Path, notes: list[Note], foreign: list[str]) -> Run | None:
    name = plain_text(str(folder))
    config = _read_config(folder, notes)
    model = (config or {}).get("model")
    target = str(model.get("_target_", "")) if isinstance(model, Mapping) else ""
    result: dict[str, Any] | None = None
    ended = os.path.lexists(folder / RESULT)
    if ended:
        try:
            result = _read_result(folder / RESULT)
        except ValueError as error:
            notes.append(Note(name, f"{RESULT} {error}."))
            return None
    elif target.startswith("posenc."):
        result = from_path(folder, config or {}) | {"status": UNFINISHED}
    if result is None:
        foreign.append(name)
        return None
    run = Run(folder, sweep_of(folder, root), result, config, name)
    if run.evaluated is not None:  # the command of a sweep made no evaluations
        run.sweep = folder.parent
        run.words = [f"evaluated={run.evaluated.get('encoding')}"] if config is None else []
    if ended and run.status not in STATUSES:
        notes.append(Note(name, f"{RESULT} has the unknown status {short(run.status)}; its scores are not used."))
    return run


def _read_result(path: Path) -> dict[str, Any] | None:
    """The result of a run; None if it is of another project. Raises ValueError with the reason if it is unusable."""
    try:
        result = plain_text(read_json(path))
    except json.JSONDecodeError as error:
        raise ValueError("is not JSON, so the run is left out; copy it again, or repeat the run's command") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot be read ({why}), so the run is left out") from error
    lacking = [key for key in ("encoding", "dataset", "seed") if not isinstance(result, dict) or key not in result]
    if len(lacking) == 3:
        return None
    if why := other_layout(result):
        raise ValueError(f"is not read: {why}")
    if lacking:
        raise ValueError(f"does not say {' and '.join(lacking)}, so the run is left out")
    seed = result["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        said = short(repr(seed)) if not isinstance(seed, int) or abs(seed) < 2**99 else "of more than 99 bits"
        raise ValueError(f"has the seed {said}, which is not a whole number, so the run is left out")
    return result


def _read_config(folder: Path, notes: list[Note]) -> dict[str, Any] | None:
    path = folder / CONFIG_FILE
    try:
        config = plain_text(read_yaml(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        text = f".hydra/config.yaml cannot be read ({why}): its settings are unknown."
        notes.append(Note(plain_text(str(folder)), text))
        return None
    return config if isinstance(config, dict) else None
