"""The map language: which tensors of a checkpoint are which of our variables.

An entry names both sides, and a rule says by an axis pattern how their axes correspond. No entry
looks at a value, so export is load read backwards.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.errors import WeightMapError

# Whether an entry is there in a model of these arguments.
Condition = Callable[[Mapping[str, Any]], bool]

# In place of a variable of ours: a piece of their tensor that holds zeros, such as the bias of a
# layer that has none where it is fused with one that has. Read in the tables of originals.
ZEROS = "0"


@dataclass(frozen=True)
class Rule:
    """`theirs` and `ours` correspond by the axis `pattern`.

    `legacy` holds, for each name of `theirs`, older spellings that are read in its place (and
    written back only where the checkpoint itself used them).
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    pattern: str
    legacy: tuple[tuple[str, ...], ...] = ()
    count: str | None = None
    when: Condition | None = None

    def __post_init__(self):
        parsed = Pattern.parse(self.pattern)
        if (len(parsed.theirs), len(parsed.ours)) != (len(self.theirs), len(self.ours)):
            raise WeightMapError(f"{self.pattern!r} does not match {self.theirs} -> {self.ours}")

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables among `ours`."""
        return tuple(name for name in self.ours if name != ZEROS)

    def our_shapes(self, theirs: Sequence[Shape], ours: Mapping[str, Shape]) -> list[Shape]:
        """The shapes of `ours`; their tensors' shapes show those of pieces that hold nothing."""
        if len(self.variables) == len(self.ours):
            return [ours[name] for name in self.ours]
        pattern = Pattern.parse(self.pattern)
        shown = pattern.our_shapes(pattern.sizes(theirs, None))
        return [ours.get(name, shape) for name, shape in zip(self.ours, shown, strict=True)]


@dataclass(frozen=True)
class Tied:
    """Their tensor `theirs`, where the file has it, is a second copy of the tensor `to`."""

    theirs: tuple[str, ...]
    to: str
    count: str | None = None
    when: Condition | None = None


@dataclass(frozen=True)
class Derived:
    """Their tensor can be computed from its own shape; the file's copy must agree with `make`."""

    theirs: tuple[str, ...]
    make: Callable[[Shape], np.ndarray] = field(compare=False)
    reason: str = "derived"
    count: str | None = None
    when: Condition | None = None


@dataclass(frozen=True)
class Unused:
    """Their tensor plays no part in the computation; it is carried along and written back.

    Where there is nothing to carry, a new file gets zeros of the shape of their tensor `like`.
    """

    theirs: tuple[str, ...]
    reason: str
    like: str | None = None
    count: str | None = None
    when: Condition | None = None


@dataclass(frozen=True)
class Zeros:
    """Our variable `ours`, of which their graph has nothing, so that ours holds zeros.

    `sizes` are the backbone's arguments that are its shape.
    """

    ours: tuple[str, ...]
    sizes: tuple[str, ...]
    reason: str
    theirs: tuple[str, ...] = ()
    count: str | None = None
    when: Condition | None = None


Entry = Rule | Tied | Derived | Unused | Zeros


def rule(theirs: str | Sequence[str], ours: str | Sequence[str], pattern: str) -> list[Entry]:
    """One rule between tensors `theirs` and variables `ours`."""
    names = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    mine = (ours,) if isinstance(ours, str) else tuple(ours)
    return [Rule(names, mine, pattern)]


def dense(theirs: str, ours: str, bias: bool = True) -> list[Entry]:
    """A linear layer: their weight `[out, in]` is our kernel `[in, out]`."""
    entries = rule(f"{theirs}.weight", f"{ours}/kernel", "o i -> i o")
    return entries + rule(f"{theirs}.bias", f"{ours}/bias", "o -> o") if bias else entries


def embedding(theirs: str, ours: str) -> list[Entry]:
    """A table `[rows, dim]`, the same on both sides."""
    return rule(f"{theirs}.weight", f"{ours}/embeddings", "v d -> v d")


def norm(theirs: str, ours: str) -> list[Entry]:
    """A layer normalization; the TensorFlow spellings `gamma` and `beta` are read too."""
    return [
        Rule((f"{theirs}.weight",), (f"{ours}/gamma",), "d -> d", ((f"{theirs}.gamma",),)),
        Rule((f"{theirs}.bias",), (f"{ours}/beta",), "d -> d", ((f"{theirs}.beta",),)),
    ]


def tied(alias: str, to: str) -> list[Entry]:
    """`alias`, where present, holds the same bytes as `to`; there is one variable for both."""
    return [Tied((alias,), to)]


def derived(name: str, make: Callable[[Shape], np.ndarray], reason: str) -> list[Entry]:
    """A tensor that is a function of its shape, such as a stored range of positions."""
    return [Derived((name,), make, reason)]


def unused(name: str, reason: str, like: str | None = None) -> list[Entry]:
    """A tensor that the original itself doesn't use, of the shape of `like` in a new file."""
    return [Unused((name,), reason, like)]


def zeros(ours: str, *sizes: str, reason: str) -> list[Entry]:
    """A variable of ours that adds nothing; its shape is the arguments `sizes`."""
    return [Zeros((ours,), sizes, reason)]


def under(
    theirs: str,
    ours: str,
    *groups: Iterable[Entry],
    count: str = "num_layers",
    between: str = ".",
) -> list[Entry]:
    """Put entries below a name on each side. `{i}` runs over the model's `count` argument.

    `between` is what the original has between a name and those below it.
    """
    repeated = count if "{i}" in theirs else None
    entries = [entry for group in groups for entry in group]
    if repeated and any(entry.count for entry in entries):
        raise WeightMapError(f"{theirs!r} has entries with an {{i}} of their own; number one level")
    return [_renamed(entry, theirs + between, f"{ours}/", repeated) for entry in entries]


def when(condition: Condition | str, *groups: Iterable[Entry]) -> list[Entry]:
    """Entries that are there only in models whose arguments meet the condition.

    A name stands for the argument that must be given, and be neither false nor 0.
    """
    met = operator.itemgetter(condition) if isinstance(condition, str) else condition
    return [replace(entry, when=met) for group in groups for entry in group]


def unless(condition: str, *groups: Iterable[Entry]) -> list[Entry]:
    """Entries that are there only in models without the argument of this name."""
    return when(lambda arguments: not arguments[condition], *groups)


def holds(entry: Entry, arguments: Mapping[str, Any]) -> bool:
    """Whether an entry is there in a model of these arguments."""
    return entry.when is None or entry.when(arguments)


def spellings(entry: Entry) -> list[str]:
    """Every name that a file may have for the tensors of an entry."""
    older = entry.legacy if isinstance(entry, Rule) else ()
    return [*entry.theirs, *(name for names in older for name in names)]


def prefixed(entry: Entry, prefix: str) -> Entry:
    """The entry with `prefix` before each of their names."""
    return _renamed(entry, prefix, "", entry.count)


def _renamed(entry: Entry, theirs: str, ours: str, count: str | None) -> Entry:
    changed: dict = {
        "theirs": tuple(theirs + name for name in entry.theirs),
        "count": entry.count or count,
    }
    if isinstance(entry, Rule | Zeros):
        changed["ours"] = tuple(n if n == ZEROS else ours + n for n in entry.ours)
    if isinstance(entry, Rule):
        changed["legacy"] = tuple(tuple(theirs + n for n in names) for names in entry.legacy)
    if isinstance(entry, Tied):
        changed["to"] = theirs + entry.to
    return replace(entry, **changed)


def expand(entries: Iterable[Entry], counts: Mapping[str, Any]) -> list[Entry]:
    """The entries that are there in a model of these arguments, with every `{i}` written out."""
    result: list[Entry] = []
    for entry in entries:
        if not holds(entry, counts):
            continue
        if entry.count is None:
            result.append(entry)
        else:
            result += [_numbered(entry, i) for i in range(counts[entry.count])]
    return result


def _numbered(entry: Entry, i: int) -> Entry:
    def fill(value):
        if isinstance(value, str):
            return value.replace("{i}", str(i))
        return tuple(fill(v) for v in value) if isinstance(value, tuple) else value

    names = ("theirs", "ours", "legacy", "to")
    fields = {f.name for f in dataclasses.fields(entry)}
    changed = {name: fill(getattr(entry, name)) for name in names if name in fields}
    return replace(entry, count=None, **changed)
