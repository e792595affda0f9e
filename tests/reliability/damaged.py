"""`python -m tests.reliability.damaged --each 100`: truncated, bit-flipped and foreign checkpoints.

Each must be refused with one clear error and leave the model as it was. Every tenth is also given to train.py, as
ckpt_path.
"""

import argparse
import io
import pickle
import random
import re
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.progress import track

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.training.checkpoint_file import read, seal
from posenc.training.checkpoints import check_checkpoint
from posenc.training.module import SequenceModule
from tests.conftest import CONFIGS
from tests.reliability.children import Child, finished

RUN = (
    "encoding=learned_relative", "model.dim=16", "model.num_heads=2", "model.num_layers=1", "data.batch_size=8",
    "data.eval_size=64", "trainer.max_steps=4", "trainer.validate_every=4", "~callbacks.progress",
    "~callbacks.tensorboard", "threads=1",
)  # fmt: skip


def saved(value: Any, sealed: bool = False) -> bytes:
    """As torch.save writes it, or as posenc does."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return seal(buffer.getvalue()) if sealed else buffer.getvalue()


def truncated(whole: bytes, chance: random.Random) -> bytes:
    """Cut off anywhere."""
    return whole[: chance.randrange(len(whole))]


def flipped(whole: bytes, chance: random.Random) -> bytes:
    """One bit of one byte."""
    place = chance.randrange(len(whole))
    return whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]


def foreign(whole: bytes, chance: random.Random) -> bytes:
    """Something else, from an empty file to a checkpoint of another width or optimizer."""
    state = torch.load(io.BytesIO(whole), weights_only=True)
    name = chance.choice(list(state["state_dict"]))
    tensor = state["state_dict"][name]
    size, entry = chance.randrange(1, 100), chance.choice(NEEDED)
    kinds: list[Any] = [
        lambda: b"",
        lambda: chance.randbytes(size * 10),
        lambda: b"\x89PNG\r\n\x1a\n" + chance.randbytes(size),
        lambda: pickle.dumps(state["state_dict"], protocol=chance.randrange(2, 6)),
        lambda: archive({"data.pkl": chance.randbytes(size)}),
        lambda: archive({"archive/data.pkl": pickle.dumps({"state_dict": {}}), "archive/version": b"3\n"}),
        lambda: saved([1] * size),
        lambda: saved(torch.zeros(size)),
        lambda: saved(size, sealed=True),
        lambda: saved({"model": {"weight": torch.zeros(size)}}),
        lambda: saved(state["state_dict"]),
        lambda: saved({"state_dict": state["state_dict"]}, sealed=True),
        lambda: saved({key: value for key, value in state.items() if key != entry}),
        lambda: saved(state | {entry: chance.choice([None, "text", 3.5, ()])}),
        lambda: saved(state | {"state_dict": {**state["state_dict"], name: torch.zeros(*tensor.shape, 2)}}),
        lambda: saved(state | {"state_dict": {**state["state_dict"], name: size}}),
        lambda: saved(state | {"state_dict": {**state["state_dict"], f"{name}.more": tensor}}, sealed=True),
        lambda: saved(state | {"state_dict": {k: v for k, v in state["state_dict"].items() if k != name}}),
        lambda: saved(state | {"optimizer_states": []}),
        lambda: saved(state | {"optimizer_states": [other_optimizer(size)]}, sealed=True),
    ]
    return chance.choice(kinds)()


NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops", "callbacks")


def archive(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def other_optimizer(size: int) -> dict[str, Any]:
    """The state of a gradient descent over so many tensors."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2)) for _ in range(size)], lr=0.1, momentum=0.9)
    return optimizer.state_dict()


def cases(whole: bytes, each: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(kind, content)."""
    for kind in (truncated, flipped, foreign):
        chance = random.Random(f"{seed}/{kind.__name__}")
        for _ in range(each):
            yield kind.__name__, kind(whole, chance)


def built() -> SequenceModule:
    """The module that the checkpoint fits."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[*RUN], return_hydra_config=True)
    return build_module(config, make(config, "dataset"))


def main(words: list[str] | None = None) -> int:
    """Break, load, judge; status 1 if one was let in or answered otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.damaged")
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="damaged_"))
    finished([*RUN, f"hydra.run.dir={root / 'whole'}"], root / "log")
    path = root / "whole" / "checkpoints" / "last.ckpt"
    whole = path.read_bytes()
    module = built()
    assert check_checkpoint(str(path), module) == read(path)["global_step"] == 4
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    refused, wrong = Counter[str](), []
    path = root / "damaged.ckpt"
    for k, (kind, content) in enumerate(track([*cases(whole, asked.each, asked.seed)], "damaged")):
        path.write_bytes(content)
        try:
            check_checkpoint(str(path), module)
            wrong.append((k, kind, "let in"))
        except ConfigError as error:
            message = str(error)
            if "\n" in message or ("is no" not in message and "belongs" not in message and "holds" not in message):
                wrong.append((k, kind, message))
        except BaseException as error:
            wrong.append((k, kind, repr(error)))
        refused[kind] += 1
        if k % 10 == 0:
            log = root / f"{k}.log"
            status = Child([*RUN, f"hydra.run.dir={root / str(k)}", f"ckpt_path={path}"], log).start().wait()
            refusal = re.fullmatch(r"[^\n]* is being checked\nerror: [^\n]*\n", log.read_text())
            if status != 2 or not refusal or (root / str(k)).exists():
                wrong.append((k, kind, f"train.py: status {status}, {log.read_text()[-500:]}"))
    if any(not torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items()):
        wrong.append((-1, "any", "the model was changed"))
    print(f"{sum(refused.values()) - len(wrong)} of {sum(refused.values())} refused in one sentence ({dict(refused)})")
    for each in wrong:
        print(*each)
    shutil.rmtree(root)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
