"""Proof that a weight map loses nothing, from names and shapes alone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.pattern import Pattern, Shape
from inarch.checkpoints.maps.plan import match, misfits, pair
from inarch.checkpoints.maps.source import Source
from inarch.errors import WeightMapError


@dataclass(frozen=True, repr=False)
class Proof:
    """Result of a proof. Counts are of the checkpoint's tensors and of their elements."""

    tensors: int
    elements: int
    variables: int
    tied: tuple[str, ...]
    derived: tuple[str, ...]
    passthrough: dict[str, str]
    seconds: float

    def in_words(self, owner: str = "") -> str:
        """Return the result in a line; `owner` names the model of the variables."""
        variables = f"variables of {owner}" if owner else "variables"
        # A fused tensor is several variables, so they don't pair; their numbers still do.
        shared = "pair one to one" if self.tensors == self.variables else "hold the same numbers"
        return (
            f"{self.tensors} tensors ({self.elements:,} numbers) and {self.variables} {variables} "
            f"{shared}, nothing lost either way"
        )

    def __repr__(self) -> str:
        return f"<Proof: {self.in_words()}>"


def prove(
    source: Source,
    header: Mapping[str, TensorInfo],
    ours: Mapping[str, tuple[int, ...]],
    arguments: Mapping[str, Any],
    head: str | None = None,
    tie: bool = True,
    where: str = "the checkpoint",
) -> Proof:
    """Prove that loading takes every element to its own place and that export brings it back.

    Two things are shown. The names: each tensor of `header` and each variable of `ours` is
    covered exactly once. The elements: an integer for each, all different, goes through load
    and export and comes back where it was; since both sides have equally many elements, load is
    one-to-one and onto. A rule doesn't look at values, so what holds for these numbers holds for
    all. Rules alike in pattern and shapes are shown once.

    Raises:
        WeightMapError: with every tensor and variable that breaks the proof.
    """
    start = time.perf_counter()
    plan = match(source, header, ours, arguments, head, tie, where)
    shown = set()
    lost = []
    elements = 0
    for rule in plan.rules:
        theirs = tuple(header[name].shape for name in rule.theirs)
        mine = tuple(rule.our_shapes(theirs, ours))
        elements += sum(math.prod(shape) for shape in theirs)
        if (rule.pattern, theirs, mine) not in shown:
            shown.add((rule.pattern, theirs, mine))
            if not _comes_back(Pattern.parse(rule.pattern), theirs, mine):
                lost.append(f"\n  {rule.pattern!r} loses elements of {', '.join(rule.theirs)}")
    if lost:
        raise WeightMapError(f"{where} does not come through the weight map:{''.join(lost)}")
    return Proof(
        tensors=len(plan.rule_of()),
        elements=elements,
        variables=len(ours),
        tied=tuple(plan.ties),
        derived=tuple(plan.derived),
        passthrough=dict(plan.passthrough),
        seconds=time.perf_counter() - start,
    )


def placed_tensors(
    source: Source,
    header: Mapping[str, TensorInfo],
    ours: Mapping[str, tuple[int, ...]],
    arguments: Mapping[str, Any],
    head: str | None = None,
    tie: bool = True,
) -> set[str]:
    """Return the tensors of `header` that a map has a place for, wrong as it may be in others.

    The arguments are those of `prove`.
    """
    _, _, plan = pair(source, header, arguments, head, tie)
    whole = [
        rule for rule in plan.rules
        if {*rule.theirs} <= header.keys() and {*rule.variables} <= ours.keys()
    ]  # fmt: skip
    placed = (name for rule in whole if not misfits([rule], header, ours) for name in rule.theirs)
    return {*placed, *plan.ties, *plan.derived, *plan.passthrough}


def _comes_back(pattern: Pattern, theirs: Sequence[Shape], ours: Sequence[Shape]) -> bool:
    """Return whether different integers go from their shapes to ours and back, all of them."""
    sizes = [math.prod(shape) for shape in theirs]
    total = sum(sizes)
    numbers = np.arange(total, dtype=np.uint32 if total < 2**32 else np.uint64)
    pieces = np.split(numbers, np.cumsum(sizes)[:-1])
    arrays = [piece.reshape(shape) for piece, shape in zip(pieces, theirs, strict=True)]
    loaded = pattern.load(arrays, theirs, ours)
    if [a.shape for a in loaded] != list(ours) or sum(a.size for a in loaded) != total:
        return False
    back = pattern.export(loaded, theirs, ours)
    return len(back) == len(arrays) and all(map(np.array_equal, arrays, back))
