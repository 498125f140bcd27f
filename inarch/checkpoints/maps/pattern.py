"""The axes of the map language: from their tensors to ours and back.

    "o i -> i o"                 a transposition
    "(h k) d -> d h k"           a grouped axis taken apart
    "(q + k + v) i -> i q, i k, i v"   one fused tensor, three of ours (sizes may differ)
    "(o + o + o) i -> i o, i o, i o"   the same in equal parts, which one side alone shows
    "o i, o i -> * i o"          two of theirs stacked along a new axis of ours

Patterns group, permute, split and join, and never look at a value, so every one has an inverse
and export is load read backwards. Axis sizes are solved from the shapes of both sides.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

    def our_shapes(self, sizes: Mapping[str, int]) -> list[Shape]:
        return [tuple(axis.size(sizes) for axis in spec) for spec in self.ours]


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
    if len(set(unknown)) == 1:
        others = [sizes[name] for name in axis.names if name in sizes]
        rest = size - sum(others) if axis.joined else size // max(math.prod(others), 1)
        sizes[unknown[0]] = rest // len(unknown)


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
