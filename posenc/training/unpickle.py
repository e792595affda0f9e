"""Reads the pickle in a checkpoint: only plain values and tensors, in limited time and memory.

torch.load(weights_only=True) runs no code of others. But it makes everything that a file asks for, for example six
gigabytes of zeros, or a key of nested tuples whose hash takes years. Here

* only classes and functions in `CALLS` are called, with arguments of the right types,
* a tensor is a part of a member of the archive; the member has the right size, and the tensor is not larger,
* a key is a word or a number: its hash is fast, and nobody can choose keys so that many collide,
* at most `MAX_VALUES` values are read; a value that is used twice counts twice.

Only the codes of https://github.com/python/cpython/blob/main/Lib/pickletools.py that torch.save writes are read.
"""

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_VALUES = 500_000
"""Upper limit of values in a checkpoint; a thousand tensors need about ten thousand."""
MAX_DEPTH = 100
"""Upper limit of the depth of nested lists, tuples and mappings; Lightning writes ten levels."""
MAX_AXES = 64
"""Upper limit of the axes of a tensor; torch has the same limit."""
STORAGES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
}  # fmt: skip
"""The dtype for each name of a storage in torch's files."""
DTYPES = {f"torch {name}": kind for name in dir(torch) if isinstance(kind := getattr(torch, name), torch.dtype)}


class Unknown(ValueError):
    """The pickle has something that is not in a checkpoint of plain values and tensors."""


@dataclass(frozen=True)
class _Name:
    """The name of a class or a function. The class or function itself is not loaded."""

    name: str


@dataclass(frozen=True)
class _Storage:
    numbers: Tensor
    kind: torch.dtype


MARK = _Name("a mark")
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, Tensor, torch.nn.Parameter, torch.dtype,
         torch.device)  # fmt: skip


def load(data: bytes, members: Mapping[str, bytes]) -> Any:
    """The value of a pickle of protocol 2, as torch.save writes it. `members` are the storages by their keys.

    Raises Unknown. If the pickle makes no sense, it may also raise any error of Python or torch.
    """
    found = _Machine(members).run(data)
    _measure(found, {}, 0)
    return found


def _measure(value: Any, known: dict[int, int], depth: int) -> int:
    """The number of values, where a value used twice counts twice. Raises Unknown for a value that contains itself."""
    if not isinstance(value, dict | list | tuple | set):
        if not isinstance(value, PLAIN):
            raise Unknown("it makes no sense")
        return 1
    size = known.get(id(value))
    if size is None:
        known[id(value)] = MAX_VALUES + 1
        children = value.values() if isinstance(value, dict) else value
        size = 1 + sum(_measure(child, known, depth + 1) for child in children) if depth < MAX_DEPTH else MAX_VALUES + 1
        known[id(value)] = size
    if size > MAX_VALUES:
        raise Unknown("it contains more values than a checkpoint, or contains itself")
    return size


class _Machine:
    """A stack of values, and a memory of values that are used again."""

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.members, self.storages = members, dict[str, Tensor]()

    def run(self, data: bytes) -> Any:
        """Run the pickle. Returns the only value on the stack at the end."""
        for number, (code, argument, _) in enumerate(pickletools.genops(data)):
            if number > MAX_VALUES:
                raise Unknown("it contains more values than a checkpoint")
            if code.name in VALUES:
                self.stack.append(argument)
            elif code.name in MADE:
                self.stack.append(MADE[code.name]())
            elif code.name in CODES:
                CODES[code.name](self, argument)
            elif code.name != "STOP":  # STOP is the last code; genops raises without it
                raise Unknown(f"it contains {code.name}, which no checkpoint of plain values and tensors does")
        (found,) = self.stack
        return found

    def marked(self) -> list[Any]:
        """Take all values above the last mark from the stack."""
        taken: list[Any] = []
        while (value := self.stack.pop()) is not MARK:
            taken.append(value)
        return taken[::-1]

    def top(self, *kinds: type) -> Any:
        """The top of the stack. Raises Unknown if it has none of these classes."""
        if type(self.stack[-1]) not in kinds:
            raise Unknown("it makes no sense")
        return self.stack[-1]

    def name(self, argument: str) -> None:
        """Put the name of a class or function on the stack, or a dtype, which is a value."""
        if argument not in DTYPES and argument not in CALLS and _stored(argument) is None:
            raise Unknown(f"it asks for {argument.replace(' ', '.')}, which was not made")
        self.stack.append(DTYPES.get(argument) or _Name(argument))

    def tuple_of(self, number: int) -> None:
        """Replace the last `number` values by a tuple of them."""
        if len(self.stack) < number:
            raise Unknown("it makes no sense")
        self.stack[len(self.stack) - number :] = [tuple(self.stack[len(self.stack) - number :])]

    def append(self, values: Sequence[Any]) -> None:
        """Append values to the list on top of the stack."""
        self.top(list).extend(values)

    def set(self, pairs: Sequence[Any]) -> None:
        """Set keys and values in the mapping on top of the stack."""
        found = self.top(dict, OrderedDict, Counter)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            found[_key(key)] = value

    def call(self) -> None:
        """Call one of `CALLS`."""
        arguments, what = self.stack.pop(), self.stack.pop()
        if type(what) is not _Name or type(arguments) is not tuple or what.name not in CALLS:
            raise Unknown("it makes no sense")
        self.stack.append(CALLS[what.name](*arguments))

    def build(self) -> None:
        """Set the versions of the modules, which torch stores as an attribute of a state_dict."""
        state = self.stack.pop()
        found = self.top(OrderedDict)
        versions = state.pop("_metadata", None) if type(state) is dict else None
        known = isinstance(versions, dict) and all(
            isinstance(each, dict) and isinstance(each.get("version"), int | None) for each in versions.values()
        )
        if state or not known:
            raise Unknown("it makes no sense")
        found._metadata = versions

    def storage(self) -> None:
        """Put a storage, which is a member of the archive, on the stack."""
        word, what, key, _, size = self.stack.pop()
        kind = _stored(what.name) if type(what) is _Name else None
        if word != "storage" or kind is None or type(key) is not str or type(size) is not int:
            raise Unknown("it makes no sense")
        if key not in self.storages:
            data, kept = bytearray(self.members[key]), torch.empty(0, dtype=torch.uint8)
            self.storages[key] = torch.frombuffer(data, dtype=torch.uint8) if data else kept
        if size * kind.itemsize != self.storages[key].numel():
            raise Unknown(f"a tensor should have {size:,} numbers, which are not there")
        self.stack.append(_Storage(self.storages[key], kind))


def _stored(name: str) -> torch.dtype | None:
    if name == "torch.storage UntypedStorage":
        return torch.uint8
    return STORAGES.get(name.removeprefix("torch ").removesuffix("Storage")) if name.startswith("torch ") else None


def _key(key: Any) -> Any:
    small = isinstance(key, int) and abs(key) < 2**63
    middle = isinstance(key, float) and (not key or 1e-6 < abs(key) < 1e6)
    if not (key is None or type(key) is str or small or middle or isinstance(key, torch.dtype)):
        raise Unknown(f"a key is {'a large number' if isinstance(key, int | float) else f'a {type(key).__name__}'}")
    return key


def _tensor(
    storage: _Storage, start: int, size: tuple[int, ...], stride: tuple[int, ...], gradient: bool,
    hooks: Any = None, kind: torch.dtype | None = None, more: Any = None,
) -> Tensor:  # fmt: skip
    kind = kind or storage.kind
    made = torch.empty(0, dtype=kind)
    if type(storage) is not _Storage or len(size) > MAX_AXES or more:
        raise Unknown("it makes no sense")
    made.set_(storage.numbers.untyped_storage(), start, size, stride)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if made.numel() * kind.itemsize > storage.numbers.numel():
        raise Unknown(f"a tensor has {made.numel():,} numbers, which are not there")
    return made.requires_grad_(gradient) if gradient else made


def _tensor_v2(storage: Any, start: Any, size: Any, stride: Any, gradient: Any, hooks: Any, more: Any = None) -> Tensor:
    return _tensor(storage, start, size, stride, gradient, hooks, None, more)


def _parameter(data: Tensor, gradient: bool, hooks: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise Unknown("it makes no sense")
    return torch.nn.Parameter(data.detach(), bool(gradient))


def _counter(*counts: Any) -> Counter[Any]:
    if any(type(each) is not dict for each in counts):
        raise Unknown("it makes no sense")
    return Counter(*counts)


def _set(*values: Any) -> set[Any]:
    return {_key(each) for each in values[0]} if values else set()


def _of(make: Callable[..., Any], *kinds: type | tuple[type, ...]) -> Callable[..., Any]:
    """`make` with a check that its arguments have these classes."""

    def call(*arguments: Any) -> Any:
        if len(arguments) > len(kinds) or not all(map(isinstance, arguments, kinds)):
            raise Unknown(f"it makes a {make.__name__} of something else")
        return make(*arguments)

    return call


def _latin(text: str, code: str = "") -> bytes:
    if code not in ("latin1", "latin-1"):  # other codecs can take time as the square of the length
        raise Unknown(f"it asks for the encoding {code!r:.20}")
    return text.encode("latin1")


CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _of(OrderedDict),
    "collections Counter": _counter,
    "__builtin__ set": _set,
    "__builtin__ complex": _of(complex, float, float),
    "__builtin__ bytearray": _of(bytearray, bytes),
    "__builtin__ bytes": _of(bytes),
    "_codecs encode": _of(_latin, str, str),
    "torch Size": _of(torch.Size, tuple),
    "torch device": _of(torch.device, str, int),
    "torch._utils _rebuild_tensor_v2": _tensor_v2,
    "torch._utils _rebuild_tensor_v3": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list,
    "EMPTY_DICT": dict, "MARK": lambda: MARK,
}  # fmt: skip
CODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "GLOBAL": _Machine.name,
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "SETITEM": lambda machine, _: machine.set([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set(machine.marked()),
    "BINPUT": lambda machine, place: machine.memory.update({place: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, place: machine.memory.update({place: machine.stack[-1]}),
    "BINGET": lambda machine, place: machine.stack.append(machine.memory[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memory[place]),
}
