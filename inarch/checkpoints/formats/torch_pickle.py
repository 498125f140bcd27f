"""The pickles of torch files, read as data: nothing that they name is imported, made or called.

A pickle is a program. Of its instructions those are followed that build plain values, and of the
functions that it may call those are known by name that `torch.save` has tensors made by; what they
would make is described (`torch_parts.Tensor`). Format: Python, Lib/pickletools.py.
"""

from __future__ import annotations

import argparse
import pickletools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from inarch.checkpoints.formats.torch_parts import (
    KNOWN,
    NAMED_DTYPE,
    ONLY_NAMED,
    Named,
    Refused,
    Storage,
    Tensor,
    called,
    is_list,
    key_of,
    storage_dtype,
)
from inarch.errors import CheckpointError
from inarch.json_fields import is_size, is_text, is_whole
from inarch.validation import shown

# Instructions of one pickle: those of 25,000 tensors.
MAX_STEPS = 1_000_000
# Bits of a number; torch's own magic number has 77.
LARGEST_NUMBER = 128


class _Mark:
    """Start of the parts of a value on the stack."""


@dataclass
class _Machine:
    """The stack and the memory of one pickle."""

    allow: Collection[str]
    what: str
    stack: list[Any] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, str] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack:
            raise Refused("an empty stack")
        return self.stack.pop()

    def popped(self) -> list[Any]:
        """Return the values above the last mark."""
        at = len(self.stack) - 1
        while at >= 0 and not isinstance(self.stack[at], _Mark):
            at -= 1
        if at < 0:
            raise Refused("no mark")
        parts = self.stack[at + 1 :]
        del self.stack[at:]
        return parts

    def top(self, kind: type | tuple[type, ...]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise Refused("parts of nothing")
        return self.stack[-1]

    def recall(self, place: int) -> Any:
        if place not in self.memory:
            raise Refused(f"nothing in memory {place}")
        return self.memory[place]

    def names(self, module: str, name: str) -> Named:
        whole = f"{module}.{name}"
        known = whole in KNOWN or whole in ONLY_NAMED or whole in self.allow
        if not known and storage_dtype(whole) is None and not NAMED_DTYPE.fullmatch(whole):
            raise CheckpointError(
                f"{self.what} can't be read as torch weights without running code from it: it "
                f"wants {whole}. Save its tensors alone, by the library that wrote it"
            )
        return Named(whole)

    def persistent(self, value: Any) -> Any:
        """Return the storage of ("storage", class, key, place, size), or in older files a view."""
        if not isinstance(value, tuple) or len(value) not in (5, 6):
            raise Refused("something that is kept elsewhere")
        word, kind, key, _, size, *view = value
        dtype = storage_dtype(kind.name) if isinstance(kind, Named) else None
        if word not in ("storage", b"storage") or dtype is None:
            raise Refused(f"a storage of {shown(kind)}")
        if isinstance(key, int):
            key = str(key)
        if not is_text(key) or not is_size(size):
            raise Refused(f"a storage {shown(key)} of {shown(size)} numbers")
        if self.storages.setdefault(key, dtype) != dtype:
            raise Refused(f"a storage {shown(key)} of two dtypes")
        if view and view[0] is not None:
            if not is_list(view[0]) or len(view[0]) != 3 or not all(map(is_size, view[0][1:])):
                raise Refused("a view of no storage")
            _, begin, size = view[0]
            return Storage(key, dtype, size, begin)
        return Storage(key, dtype, size)

    def build(self, state: Any) -> None:
        """Set the attributes of the object on top of the stack; only a namespace's are kept."""
        made = self.stack[-1] if self.stack else None
        if isinstance(made, argparse.Namespace):
            if not isinstance(state, dict) or not all(map(is_text, state)):
                raise Refused("a namespace of no names")
            vars(made).update(state)
        elif not isinstance(made, dict | Tensor):
            raise Refused(f"the state of a {type(made).__name__}")

    def add(self, parts: list[Any]) -> None:
        found = self.top(dict)
        if len(parts) % 2:
            raise Refused("a key without a value")
        found.update((key_of(k), v) for k, v in zip(parts[::2], parts[1::2], strict=True))

    def step(self, name: str, value: Any) -> None:
        """Follow one instruction."""
        if name in _PLAIN:
            if is_whole(value) and value.bit_length() > LARGEST_NUMBER:
                raise Refused(f"a number of {value.bit_length():,} bits")
            self.stack.append(value)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in _TAKES:
            parts = [self.pop() for _ in range(_TAKES[name])]
            self.stack.append(tuple(reversed(parts)))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[value] = self.top(object)
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self.top(object)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.recall(value))
        elif name not in _STEPS:
            raise Refused(f"the instruction {name}")
        else:
            _STEPS[name](self, value)


def _global(machine: _Machine, value: str) -> None:
    module, _, name = value.partition(" ")
    machine.stack.append(machine.names(module, name))


def _stack_global(machine: _Machine, value: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not is_text(name) or not is_text(module):
        raise Refused("a name that is no text")
    machine.stack.append(machine.names(module, name))


def _reduce(machine: _Machine, value: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.stack.append(called(function, arguments))


def _set_item(machine: _Machine, value: Any) -> None:
    last, key = machine.pop(), machine.pop()
    machine.add([key, last])


def _append(machine: _Machine, value: Any) -> None:
    last = machine.pop()
    machine.top(list).append(last)


def _extend(machine: _Machine, value: Any) -> None:
    parts = machine.popped()
    machine.top(list).extend(parts)


def _new_dictionary(machine: _Machine, value: Any) -> None:
    parts = machine.popped()
    machine.stack.append({})
    machine.add(parts)


def _add_to_set(machine: _Machine, value: Any) -> None:
    parts = machine.popped()
    machine.top(set).update(map(key_of, parts))


_PLAIN = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES"),
    "SHORT_BINBYTES",
)
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
    "MARK": _Mark,
}
_TAKES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, value: None,
    "FRAME": lambda machine, value: None,
    "STOP": lambda machine, value: None,
    "TUPLE": lambda machine, value: machine.stack.append(tuple(machine.popped())),
    "LIST": lambda machine, value: machine.stack.append(machine.popped()),
    "DICT": _new_dictionary,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, value: machine.add(machine.popped()),
    "APPEND": _append,
    "APPENDS": _extend,
    "ADDITEMS": _add_to_set,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "BUILD": lambda machine, value: machine.build(machine.pop()),
    "BINPERSID": lambda machine, value: machine.stack.append(machine.persistent(machine.pop())),
}


def read_pickle(
    data: Any, what: str, allow: Collection[str] = (), storages: dict[str, str] | None = None
) -> Any:
    """Read the next pickle of the binary file `data`; return its value.

    Dictionaries of every kind are `dict`, sizes are tuples, tensors are `Tensor`.

    Args:
        what: what an error calls the file.
        allow: names of further classes that may be made, of which there is `NAMESPACE`.
        storages: is given the dtype of every storage, by its key.

    Raises:
        CheckpointError: it is damaged, wants code run, or is none that `torch.save` writes.
    """
    machine = _Machine(allow, what, storages={} if storages is None else storages)
    try:
        for steps, (code, value, _) in enumerate(_instructions(data)):
            if steps > MAX_STEPS:
                raise Refused(f"more than {MAX_STEPS:,} instructions")
            machine.step(code.name, value)
        return machine.pop()
    except Refused as e:
        raise CheckpointError(
            f"{what} is no torch file, or a damaged one (it has {e}); fetch it again"
        ) from e


def _instructions(data: Any) -> Iterable[tuple[Any, Any, Any]]:
    try:
        yield from pickletools.genops(data)
    except (ValueError, OverflowError, MemoryError) as e:
        why = str(e).partition("\n")[0] or type(e).__name__
        raise Refused(f"no whole pickle: {why}") from e


def tensors_in(value: Any) -> int:
    """Count the tensors anywhere in a value, which may hold itself, or a part many times."""
    waiting, seen, count = [value], set(), 0
    while waiting:
        inner = waiting.pop()
        if id(inner) in seen:
            continue
        if isinstance(inner, Tensor):
            count += 1
        elif isinstance(inner, dict | list | tuple | set):
            seen.add(id(inner))
            waiting.extend(inner.values() if isinstance(inner, dict) else inner)
    return count
