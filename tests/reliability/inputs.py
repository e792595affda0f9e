"""Crafted inputs: pickles, targets, YAML, names and values that try to have something run, or to break what reads them.

Whatever of it is run leaves a file: `mark`.
"""

import io
import json
import os
import pickle
import pickletools
import tarfile
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any


class Gadget:
    """Pickled, it is a call of any function: REDUCE, as every exploit of pickle has it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def named(module: str, name: str, *texts: str) -> bytes:
    """The pickle of module.name(*texts), without importing it here."""
    parts = [b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"("]
    parts += [b"X" + len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts]
    return b"".join([*parts, b"tR."])


def zipped(data: bytes, **files: bytes) -> bytes:
    """A checkpoint as torch.save writes one since 1.6, with this data.pkl."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": data, "byteorder": b"little", "version": b"3\n"} | files
        for name, content in members.items():
            archive.writestr(f"last/{name}", content)
    return buffer.getvalue()


def pickles(mark: Path) -> dict[str, bytes]:
    """Checkpoints that would make the file `mark`."""
    touch, code = f"touch {mark}", f"open({str(mark)!r}, 'w')"
    system = pickle.dumps({"state_dict": {}, "x": Gadget(os.system, touch)}, 2)
    legacy = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    found = {
        "os.system, raw": system,
        "os.system, protocol 5, raw": pickle.dumps({"state_dict": Gadget(os.system, touch)}, 5),
        "os.system, optimized": pickletools.optimize(system),
        "os.system, legacy file": legacy + system + pickle.dumps([], 2),
        "os.system, legacy file, magic number itself": named("os", "system", touch),
        "os.system, zip": zipped(system),
        "os.system, TorchScript": zipped(system, **{"constants.pkl": system, "code/__torch__.py": b"import os\n"}),
        "os.system, tar": _tarred(system),
        "old INST opcode": b"(S" + repr(touch).encode() + b"\nios\nsystem\n.",
        "OBJ opcode": b"(cos\nsystem\nX" + len(touch).to_bytes(4, "little") + touch.encode() + b"o.",
    }
    calls = {
        "posix.system": ("posix", "system", touch), "eval": ("builtins", "eval", code),
        "exec": ("builtins", "exec", code), "Python 2's eval": ("__builtin__", "eval", code),
        "subprocess": ("subprocess", "getoutput", touch), "runpy": ("runpy", "run_path", str(mark)),
        "through torch": ("torch", "os.system", touch), "torch.load": ("torch", "load", str(mark)),
        "torch.jit.load": ("torch.jit", "load", str(mark)), "torch.hub.load": ("torch.hub", "load", str(mark)),
        "torch's inline C++": ("torch.utils.cpp_extension", "load_inline", "x", touch),
        "torch's collect_env": ("torch.utils.collect_env", "run", touch),
        "a nested pickle": ("torch.storage", "_load_from_bytes", touch),
        "posenc's own writer": ("posenc.runs.result", "write_text", str(mark), "x"),
        "pathlib": ("pathlib", "Path.touch", str(mark)), "builtins.open": ("builtins", "open", str(mark), "w"),
        "importlib": ("importlib", "import_module", "antigravity"), "getattr": ("builtins", "getattr", "x", "y"),
    }  # fmt: skip
    for name, call in calls.items():
        found[f"{name}, raw"], found[f"{name}, zip"] = named(*call), zipped(named(*call))
    return found


def _tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


SUBPROCESS = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"


def targets(mark: Path) -> dict[str, dict[str, Any]]:
    """Nodes of a config that would make the file `mark`, or reach what could."""
    touch = f"touch {mark}"
    args = {"_args_": [touch]}
    nodes: dict[str, dict[str, Any]] = {
        name: {"_target_": name} | args
        for name in (
            "os.system", "posix.system", "subprocess.getoutput", "builtins.eval", "builtins.exec", "torch.os.system",
            "torch.nn.modules.module.os.system", "posenc.jobs.run.traceback.sys.exit",
            "posenc.config.build.Path", "torch.load", "torch.hub.load", "torch.jit.load", "torch.utils.collect_env.run",
            "torch.utils.cpp_extension.load",
            "torch.package.PackageImporter", "torch.PyTorchFileWriter", "torch.distributed.TCPStore",
            "lightning.pytorch.cli.LightningCLI", "lightning.LightningModule.load_from_checkpoint",
            "hydra.utils.get_method", "hydra.utils.instantiate", "hydra.utils.call", "functools.partial",
            "posenc.runs.result.write_text", "posenc.config.make.make", "posenc.runs.folder.shutil.rmtree",
            "posenc.jobs.workers.elastic_launch", "torch.optim.AdamW.__init__.__globals__", "torch.nn.Identity",
            "torch._C.PyTorchFileReader", "torch",
            "torch..os", ".os.system", "", "os", "ｏｓ.system", "torch.utils.data.DataLoader",
        )
    }  # fmt: skip
    handler = {"entrypoint": "touch", "args": [str(mark)], "env": {}, "stdout": None, "stderr": None}
    nodes["a class of torch that starts a process"] = {"_target_": SUBPROCESS, "local_rank_id": 0} | handler
    nodes["no text"] = {"_target_": 3}
    nodes["a list"] = {"_target_": ["os.system"]} | args
    rope = {"_target_": "posenc.encodings.rope.RotaryPositionalEncoding", "dim": 8, "num_heads": 1}
    inner = {name: dict(rope, base=node) for name, node in nodes.items() if name not in ("torch.nn.Identity",)}
    nodes |= {f"{name}, inside": node for name, node in inner.items()}
    nodes["deep in lists"] = dict(rope, base=[[{"a": [{"_target_": "os.system"} | args]}]])
    nodes["resolved twice"] = dict(rope, base=f"\\${{oc.decode:\"{{_target_: os.system, _args_: ['{touch}']}}\"}}")
    return nodes


def yamls(mark: Path) -> dict[str, str]:
    """Texts in place of .hydra/config.yaml."""
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    return {
        "apply os.system": f"model: !!python/object/apply:os.system ['touch {mark}']\n",
        "new subprocess": f"model: !!python/object/new:subprocess.getoutput ['touch {mark}']\n",
        "a module": "model: !!python/module:antigravity\n",
        "a billion laughs": "\n".join(bomb) + "\n",
        "a list inside itself": "model: &a [*a]\n",
        "nested deeply": "model: " + "[" * 20_000 + "\n",
        "an odd bool": "model: !!bool maybe\n",
        "an odd date": "model: !!timestamp x\n",
        "a number of half a megabyte": "model: " + "9" * 500_000 + "\n",
    }


NAMES = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "$x_", "[red]x[/red]", "[/]",
    "[link=https://example.org]x[/link]", "a|b`c", "../../etc", "=cmd()", "@SUM(1)", "+1", "-1", "x" * 5000, "_hidden",
    "\u202eesrever\u2066", "\x1b]0;owned\x07\x1b[2J", "\ud800", "a\nb\r\nc", "\x00",
    "</script><script>alert(1)//", "%s{0}",
    "<b>bold</b><a href='javascript:alert(1)'>x</a>", "${oc.env:HOME}", "",
    "\u05e9\u05dc\u05d5\u05dd", "{{7*7}}", "none",
)  # fmt: skip
"""An encoding, a dataset, or any other word of a record."""
VALUES: tuple[Any, ...] = (
    None, True, "text", "<script>alert(1)</script>", "$\\frac{", -1, 0, 1e308, 10**400, float("nan"), float("inf"), [],
    {}, [1, "x"], [[[]]], {"a": {"b": 1}}, {"²": 1}, {"-5": {}}, {"0": {"accuracy": 1}}, {"99999999999": {"skill": 1}},
)  # fmt: skip


def spoiled(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(which, copy) of a record with each of its values, at any depth, replaced by each of `VALUES`."""

    def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        for key, child in node.items() if isinstance(node, dict) else ():
            yield (*path, key)
            yield from places(child, (*path, key))

    for path in places(record, ()):
        for value in VALUES:
            copy = deepcopy(record)
            node = copy
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
            yield f"{'.'.join(map(str, path))}={repr(value)[:20]}", copy


def write(folder: Path, config: dict[str, Any] | str, result: Any) -> None:
    """A run folder with this record and this result."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)  # JSON is YAML
    (folder / ".hydra" / "config.yaml").write_text(text)
    (folder / "result.json").write_text(json.dumps(result))
