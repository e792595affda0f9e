"""An encoder in a folder of its own, without its run: model.safetensors and config.json, written and read back.

config.json holds plain values, under these names:

    posenc_export   the layout of the file, 1
    posenc          the version that trained it
    run             the digest of the run's config (`config_hash` of its result.json)
    weights         BLAKE2b of model.safetensors
    encoding, positions, dataset    what the run chose, by name; those of the config, where it has no result
    vocab_size, num_outputs         of the task, in tokens and classes
    trained_tokens  how many tokens the longest training sequence had, the read-out's included
    config          the groups `encoding`, `model` and `positions` of the run's config, and its seed

Anybody may have written such a folder, so it is read with limits, and builds nothing but classes of posenc's unless the
user trusts it (posenc.config.allowed). https://huggingface.co/docs/safetensors
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
"""What of a run's config makes its encoder."""
HEAD, ENTRY = 2**16, 2**9
"""Bytes of a safetensors file beside its numbers, at most: in all, and for each tensor and its name."""


def is_exported(folder: Path) -> bool:
    """Whether the folder is to be read as an export, and not as a run."""
    return (folder / CONFIG).exists() and not (folder / ".hydra").exists()


def write(folder: Path, encoder: Encoder, facts: Mapping[str, Any]) -> None:
    """Write the encoder's weights and what config.json says beside. An equal export stays as it is.

    Raises ConfigError where the folder holds anything else.
    """
    data = save({name: x.detach().clone().contiguous() for name, x in encoder.state_dict().items()})
    text = json.dumps({LAYOUT: 1, **facts, "weights": _digest(data)}, indent=2) + "\n"
    files = {WEIGHTS: data, CONFIG: text.encode()}  # in this order: a folder with a config is whole
    if folder.exists() or folder.is_symlink():
        if not _holds(folder, files):
            what = "holds another export" if is_exported(folder) else "exists and is no export"
            raise ConfigError(f"{folder} {what}, and nothing is overwritten; choose another folder with --output.")
        return
    folder.mkdir(parents=True)
    for name, content in files.items():
        write_bytes(folder / name, content)


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all(read_bytes(folder / name, len(content)) == content for name, content in files.items())
    except (OSError, ValueError):
        return False


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read(folder: Path, trust: bool = False) -> tuple[Encoder, PositionScheme, dict[str, Any]]:
    """The encoder in evaluation mode on the CPU, where it places tokens, and its config. Raises ConfigError."""
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
    """The tensors of a safetensors file of at most so many bytes. Raises Damaged, or OSError."""
    try:
        data = read_bytes(path, most)
        if digest is not None and _digest(data) != digest:
            raise Damaged(f"{CONFIG} names another digest")
        return load(data)
    except (Damaged, OSError):
        raise
    except Exception as error:  # safetensors raises its own type, and others for kinds of numbers that torch lacks
        raise Damaged(reading.plain_text(str(error))[:120] or "it is no file of safetensors") from error


def _facts(path: Path) -> dict[str, Any]:
    """What config.json says, in the form that `read` needs."""
    try:
        facts = reading.read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({reading.plain_text(str(error))}).") from error
    if not isinstance(facts, dict) or LAYOUT not in facts:
        raise ConfigError(f"{path} is no export of posenc, nor does its folder hold a run; give the folder of one.")
    if facts[LAYOUT] != 1:
        raise ConfigError(
            f"{path} has layout {facts[LAYOUT]!r:.20}; this posenc reads layout 1: use one that wrote it."
        )
    config = facts.get("config")
    if not isinstance(config, dict) or not {*GROUPS} <= {*config} or not isinstance(facts.get("weights"), str):
        raise ConfigError(f"{path} lacks weights or config.{', config.'.join(GROUPS)}; export the run again.")
    if "${" in json.dumps(config):
        raise ConfigError(f"{path} holds ${{, which would be resolved with what this machine knows; it is not read.")
    sizes: dict[str, Any] = {key: facts.get(key) for key in ("vocab_size", "num_outputs", "trained_tokens")}
    checks.positive(str(path), **sizes)
    return facts
