"""The map language: which tensors of a checkpoint are which of our variables.

An entry names both sides, theirs first, and a rule states by an axis pattern how their axes
correspond. No entry looks at a value, so export is load read backwards. A table is a list of
entries, which may be nested.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inarch.checkpoints.maps.counts import Count
from inarch.checkpoints.maps.entries import (
    Condition,
    Derived,
    Entries,
    Entry,
    Rule,
    Tied,
    Unused,
    Zeros,
    flatten,
    renamed,
)
from inarch.checkpoints.maps.pattern import Shape
from inarch.errors import WeightMapError


def rule(
    theirs: str | Sequence[str], ours: str | Sequence[str], pattern: str, legacy: str = ""
) -> Entry:
    """Return a rule between tensors `theirs` and variables `ours`, of one name or several.

    Args:
        legacy: another name of a single tensor that is read in its place; `""` for none.
    """
    names = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    mine = (ours,) if isinstance(ours, str) else tuple(ours)
    return Rule(names, mine, pattern, ((legacy,),) if legacy else ())


@dataclass(frozen=True)
class Dialect:
    """Names that a framework gives to the tensors of its layers, and its layout of kernels.

    Args:
        separator: between the names of a layer and of what is in it.
        kernel: a linear layer's weights.
        kernel_axes: the axes of their kernel, as a pattern.
        bias: a linear layer's bias.
        scale, shift: those of a layer normalization.
        table: a table of embeddings; empty where the layer's name is the table's.
        legacy: older names of scale and shift.
    """

    separator: str
    kernel: str
    kernel_axes: str
    scale: str
    shift: str
    table: str
    bias: str = "bias"
    legacy: tuple[str, str] | None = None

    def _join(self, layer: str, name: str) -> str:
        return self.separator.join(filter(None, (layer, name)))

    def dense(self, theirs: str, ours: str, *, bias: bool | str = True) -> list[Entry]:
        """Return the entries of a linear layer; our kernel is `[in, out]`.

        Args:
            bias: whether it has a bias, or the name of the argument that decides it.
        """
        kernel = rule(self._join(theirs, self.kernel), f"{ours}/kernel", self.kernel_axes)
        shift = rule(self._join(theirs, self.bias), f"{ours}/bias", "o -> o")
        return [kernel, *_where(bias, shift)]

    def embedding(self, theirs: str, ours: str) -> list[Entry]:
        """Return the entry of a table `[rows, dim]`, the same on both sides."""
        return [rule(self._join(theirs, self.table), f"{ours}/embeddings", "v d -> v d")]

    def norm(self, theirs: str, ours: str, *, bias: bool | str = True) -> list[Entry]:
        """Return the entries of a layer normalization; older names are read too.

        Args:
            bias: whether it has an offset, or the name of the argument that decides it.
        """
        names = zip(
            (self.scale, self.shift), ("gamma", "beta"), self.legacy or ("", ""), strict=True
        )
        scale, shift = (
            Rule(
                (self._join(theirs, name),),
                (f"{ours}/{mine}",),
                "d -> d",
                ((self._join(theirs, older),),) if older else (),
            )
            for name, mine, older in names
        )
        return [scale, *_where(bias, shift)]

    def under(self, theirs: str, ours: str, *entries: Entries, **counts: str) -> list[Entry]:
        """Put entries below a name on each side.

        Args:
            theirs: the name below which their tensors are, with an index such as `{i}`, or several,
                where there are many such names.
            ours: the name below which our variables are.
            entries: those below.
            counts: what each index runs over, as `Count` reads it. `{i}` runs over `num_layers`
                where nothing else is given.

        Raises:
            WeightMapError: an index that entries below have already, or a count of another form.
        """
        if "{i}" in theirs:
            counts = {"i": "num_layers", **counts}
        indices = tuple((name, Count.parse(text)) for name, text in counts.items())
        found = [*flatten(entries)]
        for name in counts:
            if any(name == inner for entry in found for inner, _ in entry.indices):
                raise WeightMapError(
                    f"{theirs!r} counts by {{{name}}}, and so do entries below it; give one of the "
                    "two levels another letter"
                )
        return [
            renamed(
                e,
                lambda name: self._join(theirs, name),
                lambda name: f"{ours}/{name}",
                indices=(*indices, *e.indices),
            )
            for e in found
        ]


TORCH = Dialect(
    separator=".",
    kernel="weight",
    kernel_axes="o i -> i o",
    scale="weight",
    shift="bias",
    table="weight",
    legacy=("gamma", "beta"),
)
# GPT-2's linear layers, of transformers' class Conv1D.
CONV1D = replace(TORCH, kernel_axes="i o -> i o")
TENSORFLOW = Dialect(
    separator="/", kernel="kernel", kernel_axes="i o -> i o", scale="gamma", shift="beta", table=""
)
FLAX = replace(TENSORFLOW, scale="scale", shift="bias", table="embedding")
dense, embedding, norm, under = TORCH.dense, TORCH.embedding, TORCH.norm, TORCH.under


def tied(theirs: str, to: str) -> Entry:
    """Return the entry of a second copy, where the file has it, of the bytes of the tensor `to`."""
    return Tied((theirs,), to)


def derived(theirs: str, make: Callable[[Shape], np.ndarray], *, reason: str) -> Entry:
    """Return the entry of a tensor made of its own shape, such as a stored range of positions."""
    return Derived((theirs,), make=make, reason=reason)


def unused(
    theirs: str,
    *,
    reason: str,
    like: str | None = None,
    shape: Callable[[Mapping[str, Any]], Shape] | None = None,
) -> Entry:
    """Return the entry of a tensor that the reference doesn't use.

    A new file has zeros in its place, with the shape of their tensor `like`, or with the `shape`
    that the backbone's arguments give; without either it has no such tensor.
    """
    return Unused((theirs,), like=like, shape=shape, reason=reason)


def zeros(ours: str, *sizes: str, reason: str) -> Entry:
    """Return the entry of a variable of ours that adds nothing; its shape is arguments `sizes`."""
    return Zeros(ours=(ours,), sizes=sizes, reason=reason)


def when(condition: Condition | str, *entries: Entries) -> list[Entry]:
    """Return entries that are there only in models whose arguments meet the condition.

    A name is that of an argument that must be given, and be neither false nor 0.
    """
    met = operator.itemgetter(condition) if isinstance(condition, str) else condition
    return [replace(entry, when=_both(met, entry.when)) for entry in flatten(entries)]


def unless(condition: Condition | str, *entries: Entries) -> list[Entry]:
    """Return entries that are there only where those of `when` aren't."""
    met = operator.itemgetter(condition) if isinstance(condition, str) else condition
    return when(lambda arguments: not met(arguments), *entries)


def _where(condition: bool | str, entry: Entry) -> list[Entry]:
    if isinstance(condition, str):
        return when(condition, entry)
    return [entry] if condition else []


def _both(one: Condition, two: Condition | None) -> Condition:
    if two is None:
        return one
    return lambda arguments: one(arguments) and two(arguments)
