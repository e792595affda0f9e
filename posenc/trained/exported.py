"""Writes and reads an export: a folder with an encoder's model.safetensors and config.json, which needs no run.

The keys of config.json, with plain values:

    posenc_export   the layout of the file, 1
    posenc          the version of posenc that trained the run
    run             the digest of the run's config (`config_hash` in its result.json)
    weights         the BLAKE2b digest of model.safetensors
    encoding, positions, dataset    the names of the run's options
    vocab_size, num_outputs         the numbers of tokens and of classes of the task
    trained_tokens  the number of tokens of the longest training sequence, including the read-out's
    config          the groups `encoding`, `model` and `positions` of the run's config, and its seed

Anybody may have written an export. So sizes are limited, and only classes of posenc are built unless the user trusts
the folder (posenc.config.allowed). https://huggingface.co/docs/safetensors
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import load, save
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.config.build import build_encoder
from posenc.model.encoder import Encoder
from posenc.positions.schemes import PositionScheme
from posenc.runs import reading
from posenc.runs.files import read_bytes
from posenc.runs.former import now, renamed
from posenc.runs.writing import write_bytes
from posenc.training.checkpoint_file import Damaged

WEIGHTS, CONFIG, LAYOUT = "model.safetensors", "config.json", "posenc_export"
GROUPS = ("encoding", "model", "positions", "seed")
"""The keys of a run's config that build its encoder."""
HEAD, ENTRY = 2**16, 2**9
"""Upper limits, in bytes, of the header of a safetensors file: `HEAD`, plus `ENTRY` for each tensor."""


def is_exported(folder: Path) -> bool:
    """Whether the folder is an export and not a run."""
    return (folder / CONFIG).exists() and not (folder / ".hydra").exists()


def write(folder: Path, encoder: Encoder, facts: Mapping[str, Any]) -> None:
    """Write the encoder's weights, and config.json with `facts`.

    If the folder contains an equal export, nothing is written. Raises ConfigError if it contains anything else.
    """
    data = save({name: x.detach().clone().contiguous() for name, x in encoder.state_dict().items()})
    text = json.dumps({LAYOUT: 1, **facts, "weights": _digest(data)}, indent=2) + "\n"
    files = {WEIGHTS: data, CONFIG: text.encode()}  # config.json is last, so that a folder with it is complete
    if folder.exists() or folder.is_symlink():
        if not _contains(folder, files):
            what = "contains another export" if is_exported(folder) else "exists and is no export"
            raise ConfigError(f"{folder} {what}. Nothing is overwritten; choose another folder with --output.")
        return
    folder.mkdir(parents=True)
    for name, content in files.items():
        write_bytes(folder / name, content)


def _contains(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all(read_bytes(folder / name, len(content)) == content for name, content in files.items())
    except (OSError, ValueError):
        return False


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read(folder: Path, trust: bool = False) -> tuple[Encoder, PositionScheme, dict[str, Any]]:
    """The encoder in evaluation mode on the CPU, its position scheme, and its config. Raises ConfigError."""
    facts = _facts(folder / CONFIG)
    config = renamed(facts["config"], now)
    encoder, positions = build_encoder(DictConfig(config), facts["vocab_size"], facts["num_outputs"], trust)
    positions.trained_at(facts["trained_tokens"])
    encoder.trained_at(facts["trained_tokens"], positions.reach(facts["trained_tokens"]))
    own, path = encoder.state_dict(), folder / WEIGHTS
    most = HEAD + sum(ENTRY + x.numel() * x.element_size() for x in own.values())
    try:
        weights = read_weights(path, most, facts["weights"])
    except (Damaged, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); export the run again.") from error
    odd = [name for name in {**own, **weights} if _form(own.get(name)) != _form(weights.get(name))]
    if odd:
        raise ConfigError(
            f"{path} does not fit its {CONFIG}: {len(odd)} tensors differ, such as "
            f"{reading.short(reading.plain_text(odd[0]))}; export the run again."
        )
    encoder.load_state_dict(weights)
    return encoder.eval(), positions, config


def _form(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype)


def read_weights(path: Path, most: int, digest: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file of at most `most` bytes. Raises Damaged or OSError."""
    try:
        data = read_bytes(path, most)
        if digest is not None and _digest(data) != digest:
            raise Damaged(f"{CONFIG} names another digest")
        return load(data)
    except (Damaged, OSError):
        raise
    except Exception as error:  # safetensors raises its own type of error, and other types for dtypes that torch lacks
        raise Damaged(reading.plain_text(str(error))[:120] or "it is no file of safetensors") from error


def _facts(path: Path) -> dict[str, Any]:
    """The content of config.json, after checks. Raises ConfigError."""
    try:
        facts = reading.read_json(path)
    except (OSError, ValueError) as error:
        why = reading.plain_text(str(error))
        raise ConfigError(f"{path} cannot be read ({why}); give the folder of an export.") from error
    if not isinstance(facts, dict) or LAYOUT not in facts:
        raise ConfigError(f"{path.parent} is neither an export of posenc nor a run; give the folder of one.")
    if facts[LAYOUT] != 1:
        raise ConfigError(
            f"{path} has layout {facts[LAYOUT]!r:.20}; this posenc reads layout 1. Use the version that wrote it."
        )
    config = facts.get("config")
    if not isinstance(config, dict) or not {*GROUPS} <= {*config} or not isinstance(facts.get("weights"), str):
        raise ConfigError(f"{path} lacks weights or config.{', config.'.join(GROUPS)}; export the run again.")
    if "${" in json.dumps(config):
        raise ConfigError(f"{path} contains ${{, which could read values of this machine; export the run again.")
    sizes: dict[str, Any] = {key: facts.get(key) for key in ("vocab_size", "num_outputs", "trained_tokens")}
    checks.positive(str(path), **sizes)
    return facts
