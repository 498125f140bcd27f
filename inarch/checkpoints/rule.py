"""The map language: axis patterns between the names of a checkpoint and ours.

A rule says which of their tensors are which of our variables, and how the axes correspond:

    "o i -> i o"                 a transposition
    "(h k) d -> d h k"           a grouped axis taken apart
    "(q + k + v) i -> i q, i k, i v"   one fused tensor, three of ours (sizes may differ)
    "o i, o i -> * i o"          two of theirs stacked along a new axis of ours

Patterns group, permute, split and join, and never look at a value, so every rule has an inverse
and export is load read backwards. Axis sizes are solved from the shapes of both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from inarch.errors import WeightMapError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor as a pattern writes it: `a`, `(a b)` merged, `(a + b)` joined, `*`."""

    names: tuple[str, ...]
    joined: bool = False

    @property
    def stacked(self) -> bool:
        return self.names == ("*",)

    @property
    def fans(self) -> bool:
        """Whether the pieces along this axis are separate tensors on the other side."""
        return self.joined or self.stacked

    def size(self, sizes: Mapping[str, int]) -> int:
        values = [sizes[name] for name in self.names]
        return sum(values) if self.joined else math.prod(values)


Spec = tuple[Axis, ...]


@dataclass(frozen=True)
class Pattern:
    """A parsed axis pattern. `load` takes theirs to ours, `export` takes ours to theirs."""

    text: str
    theirs: tuple[Spec, ...]
    ours: tuple[Spec, ...]

    @staticmethod
    @functools.cache
    def parse(text: str) -> Pattern:
        left, arrow, right = text.partition("->")
        if not arrow:
            raise WeightMapError(f"axis pattern {text!r} has no '->' between their axes and ours")
        pattern = Pattern(text, _parse_side(text, left), _parse_side(text, right))
        for side in (pattern.theirs, pattern.ours):
            fans = [sum(axis.fans for axis in spec) for spec in side]
            if max(fans) > 1 or (len(side) > 1 and any(fans)):
                raise WeightMapError(f"axis pattern {text!r} takes apart more than one axis")
        theirs, ours = (_pieces(side, pattern.count) for side in (pattern.theirs, pattern.ours))
        if len(theirs) != len(ours):
            raise WeightMapError(f"axis pattern {text!r} pairs {len(theirs)} with {len(ours)}")
        for a, b in zip(map(_names, theirs), map(_names, ours), strict=True):
            if sorted(a) != sorted(b) or len(set(a)) != len(a):
                raise WeightMapError(f"axis pattern {text!r} must have the same axes on both sides")
        return pattern

    @property
    def count(self) -> int:
        """How many tensors the side with several has."""
        return max(len(self.theirs), len(self.ours))

    def sizes(self, theirs: Sequence[Shape] | None, ours: Sequence[Shape] | None) -> dict[str, int]:
        """Solve every axis size from the shapes of both sides, or of the one that is known.

        Raises:
            WeightMapError: the shapes disagree, or leave a size open.
        """
        sizes = {"*": self.count}
        equations = []
        if theirs is not None:
            equations += _equations(self.theirs, theirs, f"their side of {self.text!r}")
        if ours is not None:
            equations += _equations(self.ours, ours, f"our side of {self.text!r}")
        known = 0
        while len(sizes) > known:
            known = len(sizes)
            for axis, size in equations:
                _solve(axis, size, sizes)
        open_names = sorted({n for axis, _ in equations for n in axis.names} - sizes.keys())
        if open_names:
            raise WeightMapError(f"{self.text!r} leaves the sizes of {open_names} open")
        if any(axis.size(sizes) != size for axis, size in equations):
            raise WeightMapError(f"{self.text!r} does not fit shapes {theirs} and {ours}")
        return sizes

    def load(
        self, arrays: Sequence[np.ndarray], theirs: Sequence[Shape], ours: Sequence[Shape]
    ) -> list[np.ndarray]:
        """Their arrays as ours. Results may be views; nothing is copied that needn't be."""
        return _convert(arrays, self.theirs, self.ours, self.sizes(theirs, ours))

    def export(
        self, arrays: Sequence[np.ndarray], theirs: Sequence[Shape], ours: Sequence[Shape]
    ) -> list[np.ndarray]:
        """Our arrays as theirs: the inverse of `load`."""
        return _convert(arrays, self.ours, self.theirs, self.sizes(theirs, ours))

    def their_shapes(self, sizes: Mapping[str, int]) -> list[Shape]:
        return [tuple(axis.size(sizes) for axis in spec) for spec in self.theirs]


_NAME = r"[a-z][a-z0-9_]*"
_AXIS = re.compile(
    rf"\*|{_NAME}"  # an axis that is new on this side, or one by its name
    rf"|\(\s*{_NAME}(\s+{_NAME})*\s*\)"  # merged
    rf"|\(\s*{_NAME}(\s*\+\s*{_NAME})+\s*\)"  # joined
)


def _parse_side(text: str, side: str) -> tuple[Spec, ...]:
    specs = []
    for tensor in side.split(","):
        tokens = re.findall(r"\([^()]*\)|[^\s()]+|[()]", tensor)
        for token in tokens:
            if not _AXIS.fullmatch(token):
                raise WeightMapError(f"axis pattern {text!r}: {token!r} is not an axis")
        specs.append(tuple(Axis(tuple(re.findall(r"[\w*]+", t)), "+" in t) for t in tokens))
    return tuple(specs)


def _names(spec: Spec) -> list[str]:
    return [name for axis in spec for name in axis.names]


def _fan(spec: Spec) -> int | None:
    """Position of the axis of `spec` along which the other side's tensors lie, if any."""
    return next((i for i, axis in enumerate(spec) if axis.fans), None)


def _pieces(specs: tuple[Spec, ...], count: int) -> list[Spec]:
    """The specs after taking a fused or stacked tensor apart into its pieces."""
    if len(specs) != 1:
        return list(specs)
    spec = specs[0]
    at = _fan(spec)
    if at is None:
        return [spec]
    if spec[at].stacked:
        return [spec[:at] + spec[at + 1 :]] * count
    return [(*spec[:at], Axis((name,)), *spec[at + 1 :]) for name in spec[at].names]


def _equations(
    specs: tuple[Spec, ...], shapes: Sequence[Shape], what: str
) -> list[tuple[Axis, int]]:
    if len(specs) != len(shapes):
        raise WeightMapError(f"{what} names {len(specs)} tensors, got {len(shapes)}")
    found: list[tuple[Axis, int]] = []
    for spec, shape in zip(specs, shapes, strict=True):
        if len(spec) != len(shape):
            raise WeightMapError(f"{what} has {len(spec)} axes, the tensor has shape {shape}")
        found += zip(spec, shape, strict=True)
    return found


def _solve(axis: Axis, size: int, sizes: dict[str, int]) -> None:
    """Find the size of a name, where it is the only one of the axis that is unknown."""
    unknown = [name for name in axis.names if name not in sizes]
    if len(unknown) == 1:
        others = [sizes[name] for name in axis.names if name in sizes]
        rest = size - sum(others) if axis.joined else size // max(math.prod(others), 1)
        sizes[unknown[0]] = rest


def _split(array: np.ndarray, spec: Spec, sizes: Mapping[str, int]) -> list[np.ndarray]:
    """Take one array apart along its fused or stacked axis."""
    at = _fan(spec)
    if at is None:
        return [array]
    if spec[at].stacked:
        return list(np.moveaxis(array, at, 0))
    return np.split(array, np.cumsum([sizes[name] for name in spec[at].names])[:-1], axis=at)


def _join(parts: list[np.ndarray], spec: Spec) -> np.ndarray:
    """The inverse of `_split`."""
    at = _fan(spec)
    if at is None:
        return parts[0]
    return (np.stack if spec[at].stacked else np.concatenate)(parts, axis=at)


def _convert(
    arrays: Sequence[np.ndarray],
    source: tuple[Spec, ...],
    target: tuple[Spec, ...],
    sizes: Mapping[str, int],
) -> list[np.ndarray]:
    count = max(len(source), len(target))
    parts = list(arrays) if len(source) != 1 else _split(arrays[0], source[0], sizes)
    specs = zip(parts, _pieces(source, count), _pieces(target, count), strict=True)
    parts = [_rearrange(part, a, b, sizes) for part, a, b in specs]
    return parts if len(target) != 1 else [_join(parts, target[0])]


def _rearrange(array: np.ndarray, a: Spec, b: Spec, sizes: Mapping[str, int]) -> np.ndarray:
    """Merge, take apart and permute axes from spec `a` to spec `b`."""
    from_names, to_names = _names(a), _names(b)
    array = array.reshape([sizes[name] for name in from_names])
    array = array.transpose([from_names.index(name) for name in to_names])
    return array.reshape([axis.size(sizes) for axis in b])


# --- entries of a weight map -------------------------------------------------------------------


# Whether an entry is there in a model of these arguments.
Condition = Callable[[Mapping[str, Any]], bool]


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


Entry = Rule | Tied | Derived | Unused


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


def under(
    theirs: str, ours: str, *groups: Iterable[Entry], count: str = "num_layers"
) -> list[Entry]:
    """Put entries below a name on each side. `{i}` runs over the model's `count` argument."""
    repeated = count if "{i}" in theirs else None
    entries = [entry for group in groups for entry in group]
    if repeated and any(entry.count for entry in entries):
        raise WeightMapError(f"{theirs!r} has entries with an {{i}} of their own; number one level")
    return [_renamed(entry, f"{theirs}.", f"{ours}/", repeated) for entry in entries]


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


def prefixed(entry: Entry, prefix: str) -> Entry:
    """The entry with `prefix` before each of their names."""
    return _renamed(entry, prefix, "", entry.count)


def _renamed(entry: Entry, theirs: str, ours: str, count: str | None) -> Entry:
    changed: dict = {
        "theirs": tuple(theirs + name for name in entry.theirs),
        "count": entry.count or count,
    }
    if isinstance(entry, Rule):
        changed["ours"] = tuple(ours + name for name in entry.ours)
        changed["legacy"] = tuple(tuple(theirs + n for n in names) for names in entry.legacy)
    if isinstance(entry, Tied):
        changed["to"] = theirs + entry.to
    return replace(entry, **changed)


def expanded(entries: Iterable[Entry], counts: Mapping[str, Any]) -> list[Entry]:
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
