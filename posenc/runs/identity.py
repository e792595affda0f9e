"""The identity of a run: all values that can change its result, as a digest and as plain values. Needs no torch.

Two runs with the same identity give the same result. posenc uses the identity to skip finished runs, to resume
stopped runs, and to average runs that differ only in the seed. Every key of a config is part of the identity unless it
is named here. For a class of posenc only its name counts, so a file can be moved; no two classes have the same name.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path

from posenc.runs.files import open_file
from posenc.runs.former import before, renamed

HOW = ("hydra", "launcher", "logger", "force", "threads", "ledger")
"""Keys in a command that say how runs are started and recorded. They change no result and may contain paths."""
HARMLESS = (
    "force", "threads", "name", "logger", "ledger", "claim", "trainer.log_every", "trainer.checkpoint_every",
    "trainer.accelerator", "trainer.devices", "data.eval_tokens_per_batch",
)  # fmt: skip
"""Keys that change at most the rounding of a result. They say how a run is launched and recorded."""
FORMER_GROUPS = ("allow",)
"""Keys that only configs of earlier versions of posenc have. They change no result either."""
NEWER = (
    "data.eval_error", "data.validation_size", "trainer.compile", "model.logit_scale", "model.rms_norm",
    "model.mlp_gate", "model.num_kv_heads", "model.qk_norm", "model.sinks", "model.soft_cap", "encoding.rotated",
    "encoding.attention_factor", "encoding.mscale", "encoding.mscale_all_dim", "dataset.num_tokens",
)  # fmt: skip
"""Keys that earlier versions of posenc did not have. null (or false) is the former behaviour and is left out."""
BEFORE = {"encoding.truncate": True, "dataset.tokenizer": "bytes"}
"""Keys that earlier versions of posenc did not have, each with the value of the former behaviour."""
OURS = "posenc.callbacks."
"""Callbacks in this package only watch a run; tests/test_identity.py checks this."""
WATCHERS = (
    "DeviceStatsMonitor", "LearningRateMonitor", "ModelCheckpoint", "ModelSummary", "ProgressBar", "RichModelSummary",
    "RichProgressBar", "ThroughputMonitor", "TQDMProgressBar",
)  # fmt: skip
"""Callbacks of Lightning that only watch a run. Other callbacks may average weights, end training or freeze layers."""
FORMER: dict[str, tuple[str, ...]] = {
    "encoding": (), "positions": (), "dataset": (), "model": (), "optimizer": (), "module": (),
    "data": ("_target_", "batch_size", "eval_size", "eval_tokens", "train_size", "curriculum_steps"),
    "trainer": ("max_steps", "precision", "gradient_clip"),
    "seed": (),
}  # fmt: skip
"""The keys of the oldest of `former_hashes`; () is the whole group."""


SHARED_BEFORE = (
    "CABLEPositionalBias", "ContextualPositionalEncoding", "DAPEPositionalBias", "DisentangledPositionalEncoding",
    "DynamicPositionalBias", "FIREPositionalBias", "ForgettingPositionalBias", "PaTHPositionalEncoding",
    "SelectiveRotaryPositionalEncoding", "ShawRelativePositionalEncoding", "TransformerXLPositionalEncoding",
)  # fmt: skip
"""Encodings whose weights all layers shared by default until commit 3c13bc1. Since then each layer has its own."""


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that can change its result."""
    return renamed(_chosen(config), lambda path: path.rpartition(".")[2] if path.startswith("posenc.") else path)


def _chosen(config: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for group, node in config.items():
        if group in HARMLESS or group in FORMER_GROUPS:
            continue
        if group == "callbacks" and isinstance(node, Mapping):
            node = {name: child for name, child in node.items() if child is not None and not watches(child)} or None
        elif isinstance(node, Mapping):
            node = _of_group(str(group), node)
        if node is not None:
            kept[group] = node
    return kept


def _of_group(group: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a group that belongs to the identity. Each part of a mixture has the keys of an encoding."""
    kept = {key: child for key, child in node.items() if not _left_out(f"{group}.{key}", child)}
    parts = node.get("parts") if group == "encoding" else None
    if isinstance(parts, Mapping):
        kept["parts"] = {
            name: _of_group(group, part) if isinstance(part, Mapping) else part for name, part in parts.items()
        }
    return kept


def _left_out(key: str, value: Any) -> bool:
    return key in HARMLESS or (key in NEWER and value in (None, False)) or (key in BEFORE and value == BEFORE[key])


def watches(callback: Any) -> bool:
    """Whether this node of a config builds a callback that only watches."""
    target = str(callback.get("_target_")) if isinstance(callback, Mapping) else ""
    return target.startswith(OURS) or (target.startswith("lightning.") and target.rpartition(".")[2] in WATCHERS)


def config_hash(config: Mapping[str, Any]) -> str:
    """The digest of the identity, 16 hexadecimal digits."""
    return digest(identity(config))


def former_hashes(config: Mapping[str, Any]) -> list[str]:
    """The config_hashes that earlier versions of posenc wrote into results of this config.

    In the first, classes are named with their modules. The second also leaves out callbacks and unknown keys.
    """
    return [] if _by_default_per_layer(config) else _former(config)


def shared_before(config: Mapping[str, Any], recorded: str | None) -> bool:
    """Whether in a run of this config all layers may have shared the encoding's weights by default.

    The config is the same as today. Only the recorded hash, or its absence, shows that an earlier version ran it.
    """
    if not _by_default_per_layer(config) or recorded == config_hash(config):
        return False  # checked first: without classes of posenc, former digests may equal it
    return not recorded or recorded in _former(config)


def _by_default_per_layer(config: Mapping[str, Any]) -> bool:
    encoding, model = config.get("encoding"), config.get("model")
    if not isinstance(encoding, Mapping) or not isinstance(model, Mapping):
        return False
    name = str(encoding.get("_target_")).rpartition(".")[2]
    return name in SHARED_BEFORE and model.get("encoding_per_layer") is None and model.get("num_layers") != 1


def _former(config: Mapping[str, Any]) -> list[str]:
    config = _chosen(renamed(config, before))
    hashes = [digest(config)]
    with suppress(KeyError, TypeError):
        chosen = {
            group: {key: config[group][key] for key in keys} if keys else config[group]
            for group, keys in FORMER.items()
        }
        if config.get("ckpt_path") is not None:
            chosen["ckpt_path"] = config["ckpt_path"]
        hashes.append(digest(chosen))
    return hashes


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The identity as {dotted key: value}; lists are values."""
    return dict(_flat("", identity(config)))


def _flat(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        yield key, node
        return
    for name, child in node.items():
        yield from _flat(f"{key}.{name}" if key else str(name), child)


def start_digest(path: str | None) -> str | None:
    """The digest of the bytes of the checkpoint `start_from`. A path is not enough: its weights may change.

    None if no checkpoint is named or it cannot be read. Loading the weights then raises the error.
    """
    if path is None:
        return None
    with suppress(OSError, ValueError):
        handle = open_file(Path(to_absolute_path(path)), os.O_RDONLY, follow=True)
        with os.fdopen(handle, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return None


def digest(plain: Any) -> str:
    """The digest of a plain value, 16 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()
