"""Entries of weight maps, and the entries that a model of certain arguments has."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inarch.checkpoints.maps.counts import Count
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.errors import WeightMapError

# Whether an entry is there in a model of these arguments.
Condition = Callable[[Mapping[str, Any]], bool]

# In place of a variable of ours: a piece of their tensor that holds zeros, such as the bias of a
# layer that has none where it is fused with one that has. Read in the tables of author formats.
ZEROS = "0"


@dataclass(frozen=True)
class Entry:
    """Attributes of every entry.

    Args:
        theirs: names of their tensors.
        indices: what each index in the names, such as `i` in `layer.{i}`, runs over.
        when: whether the entry is there in a model of certain arguments.
    """

    theirs: tuple[str, ...] = ()
    indices: tuple[tuple[str, Count], ...] = dataclasses.field(default=(), kw_only=True)
    when: Condition | None = dataclasses.field(default=None, kw_only=True)


@dataclass(frozen=True)
class Rule(Entry):
    """Rule by which `theirs` and `ours` correspond, an axis `pattern`.

    `legacy` holds, for each name of `theirs`, older spellings that are read in its place (and
    written back only where the checkpoint itself used them).
    """

    ours: tuple[str, ...] = ()
    pattern: str = "->"
    legacy: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        parsed = Pattern.parse(self.pattern)
        if (len(parsed.theirs), len(parsed.ours)) != (len(self.theirs), len(self.ours)):
            raise WeightMapError(f"{self.pattern!r} does not match {self.theirs} -> {self.ours}")

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables among `ours`."""
        return tuple(name for name in self.ours if name != ZEROS)

    def our_shapes(self, theirs: Sequence[Shape], ours: Mapping[str, Shape]) -> list[Shape]:
        """Return the shapes of `ours`; the tensors' shapes show those of pieces without values."""
        if len(self.variables) == len(self.ours):
            return [ours[name] for name in self.ours]
        pattern = Pattern.parse(self.pattern)
        shown = pattern.our_shapes(pattern.sizes(theirs, None))
        return [ours.get(name, shape) for name, shape in zip(self.ours, shown, strict=True)]


@dataclass(frozen=True)
class Tied(Entry):
    """Tensor `theirs` that is a second copy, where the file has it, of the tensor `to`."""

    to: str = ""


@dataclass(frozen=True)
class Derived(Entry):
    """Tensor that is computed from its own shape; the file's copy must agree with `make`."""

    make: Callable[[Shape], np.ndarray] = dataclasses.field(compare=False, kw_only=True)
    reason: str = dataclasses.field(kw_only=True)


@dataclass(frozen=True)
class Unused(Entry):
    """Tensor that plays no part in the computation; it passes through and is written back.

    Where there is nothing to pass on, a new file gets zeros, if it is to have the tensor: of the
    shape of their tensor `like`, or of the `shape` that the backbone's arguments give.
    """

    reason: str = dataclasses.field(kw_only=True)
    like: str | None = None
    shape: Callable[[Mapping[str, Any]], Shape] | None = None


@dataclass(frozen=True)
class Zeros(Entry):
    """Variable `ours` that the reference has nothing of, so that it holds zeros.

    `sizes` are the backbone's arguments that are its shape.
    """

    ours: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    reason: str = dataclasses.field(kw_only=True)


# Lists of entries, which may be nested.
Entries = Entry | Iterable["Entries"]


def flatten(entries: Any) -> Iterator[Any]:
    """Iterate over the entries of nested lists, or over one entry."""
    if isinstance(entries, Iterable):
        for each in entries:
            yield from flatten(each)
    else:
        yield entries


def holds(entry: Entry, arguments: Mapping[str, Any]) -> bool:
    """Return whether an entry is there in a model of these arguments."""
    return entry.when is None or entry.when(arguments)


def spellings(entry: Entry) -> list[str]:
    """Return every name that a file may have for the tensors of an entry."""
    older = entry.legacy if isinstance(entry, Rule) else ()
    return [*entry.theirs, *(name for names in older for name in names)]


def renamed(
    entry: Entry, theirs: Callable[[str], str], ours: Callable[[str], str], **changed: Any
) -> Entry:
    """Return the entry with each of their names, and each of ours, changed by a function.

    Args:
        changed: other attributes to change.
    """
    changed["theirs"] = tuple(map(theirs, entry.theirs))
    if isinstance(entry, Rule | Zeros):
        changed["ours"] = tuple(name if name == ZEROS else ours(name) for name in entry.ours)
    if isinstance(entry, Rule):
        changed["legacy"] = tuple(tuple(map(theirs, names)) for names in entry.legacy)
    if isinstance(entry, Tied):
        changed["to"] = theirs(entry.to)
    if isinstance(entry, Unused) and entry.like is not None:
        changed["like"] = theirs(entry.like)
    return replace(entry, **changed)


def prefixed(entry: Entry, prefix: str) -> Entry:
    """Return the entry with `prefix` before each of their names."""
    return renamed(entry, lambda name: prefix + name, str)


def expand(entries: Entries, arguments: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of a model with these arguments, with every index written out.

    Raises:
        WeightMapError: an index that nothing counts, that one side alone has, or that is out of
            its range.
    """
    return [
        each
        for entry in flatten(entries)
        if holds(entry, arguments)
        for each in _numbered(entry, arguments)
    ]


def _numbered(entry: Entry, arguments: Mapping[str, Any]) -> Iterator[Entry]:
    pattern = Pattern.parse(entry.pattern) if isinstance(entry, Rule) else None
    if isinstance(entry, Rule) and pattern and pattern.given:
        entry = replace(entry, pattern=pattern.given_sizes(arguments))
    counts = dict(entry.indices)
    _check_indices(entry, counts)
    if not counts:
        yield entry
        return
    stacked = pattern.stacked_index if pattern else None
    along = [*counts.pop(stacked[0]).indices(arguments)] if stacked else []
    names, ranges = counts.keys(), [count.indices(arguments) for count in counts.values()]
    for numbers in itertools.product(*ranges):
        fill = _filling(dict(zip(names, numbers, strict=True)))
        each = renamed(entry, fill, fill, indices=())
        if stacked and isinstance(each, Rule):
            each = _stack(each, *stacked, along)
        yield each


def _filling(values: Mapping[str, int]) -> Callable[[str], str]:
    """Return a function that writes the values of indices into a name."""

    def fill(name: str) -> str:
        for index, value in values.items():
            name = name.replace(f"{{{index}}}", str(value))
        return name

    return fill


def _stack(rule: Rule, index: str, side: int, along: list[int]) -> Rule:
    """Return the rule of one stacked tensor and those of all values of the index."""
    if not along:
        raise WeightMapError(
            f"{' + '.join((rule.theirs, rule.ours)[side])} stacks over {{{index}}}, which has no "
            "value; leave the rule out of such a model: when(...)"
        )

    def all_of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_filling({index: i})(name) for i in along for name in names)

    texts = [text.strip() for text in rule.pattern.split("->")]
    texts[1 - side] = ", ".join([texts[1 - side]] * len(along))
    pattern = " -> ".join(texts).replace(f"{{{index}}}", "*")
    theirs, ours = (
        (rule.theirs, all_of(rule.ours)) if side == 0 else (all_of(rule.theirs), rule.ours)
    )
    legacy = (
        rule.legacy
        if side == 0
        else tuple(
            tuple(_filling({index: i})(name) for name in names)
            for i in along
            for names in rule.legacy
        )
    )
    return replace(rule, theirs=theirs, ours=ours, pattern=pattern, legacy=legacy)


_INDEX = re.compile(r"\{(\w+)\}")


def _check_indices(entry: Entry, counts: Mapping[str, Count]) -> None:
    """Check that each index is counted, and is one of both sides or the axis of one of them."""
    theirs = [{*_INDEX.findall(name)} for name in entry.theirs]
    ours = [{*_INDEX.findall(n)} for n in getattr(entry, "ours", ()) if n != ZEROS]
    what = " + ".join(entry.theirs or getattr(entry, "ours", ()))
    for index in set().union(*theirs, *ours) - counts.keys():
        raise WeightMapError(
            f"{what} has the index {{{index}}}, which nothing counts; name what does, such as "
            f"under(..., {index}='num_layers')"
        )
    if not isinstance(entry, Rule):
        return
    stacked = Pattern.parse(entry.pattern).stacked_index
    several = theirs if stacked and stacked[1] == 1 else ours
    for index in counts:
        is_axis = bool(stacked and stacked[0] == index)
        sides = [names for names in (*theirs, *ours) if index not in names]
        if sides and not (is_axis and all(index in names for names in several)):
            raise WeightMapError(
                f"{what} and {' + '.join(entry.variables)} don't all have the index {{{index}}}; "
                f"write it into each name, or stack along it: an axis {{{index}}} in the pattern"
            )
    if stacked and stacked[0] not in counts:
        raise WeightMapError(f"{what} is stacked along {{{stacked[0]}}}, which nothing counts")
