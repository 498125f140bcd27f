"""The axes of the map language: from their tensors to ours and back.

    "o i -> i o"                 a transposition
    "(h k) d -> d h k"           a grouped axis taken apart
    "(q + k + v) i -> i q, i k, i v"   one fused tensor, three of ours (sizes may differ)
    "(o + o + o) i -> i o, i o, i o"   the same in equal parts, which one side alone shows
    "o i, o i -> * i o"          two of theirs stacked along a new axis of ours
    "o i -> {e} i o"             as many of theirs stacked as the index `e` of their name counts
    "(h=num_heads (q + k)) i -> i (h q), i (h k)"   fused head by head, of `num_heads`

Patterns group, permute, split and join, and never look at a value, so every one has an inverse
and export is load read backwards. Axis sizes are solved from the shapes of both sides; one that
they leave open is given, as a number or as an argument of the backbone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.checkpoints.maps.axes import NAME, Axis, Spec, parse_side
from inarch.errors import WeightMapError
from inarch.validation import shown

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pattern:
    """A parsed axis pattern. `load` takes theirs to ours, `export` takes ours to theirs."""

    text: str
    theirs: tuple[Spec, ...]
    ours: tuple[Spec, ...]
    given: tuple[tuple[str, str], ...] = ()

    @staticmethod
    @functools.cache
    def parse(text: str) -> Pattern:
        left, arrow, right = text.partition("->")
        if not arrow:
            raise WeightMapError(f"axis pattern {text!r} has no '->' between their axes and ours")
        given = tuple(re.findall(rf"\b({NAME})=(\w+)", text))
        pattern = Pattern(text, parse_side(text, left), parse_side(text, right), given)
        for side in (pattern.theirs, pattern.ours):
            fans = [sum(axis.fan_count for axis in spec) for spec in side]
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
        """Number of tensors on the side with several."""
        return max(len(self.theirs), len(self.ours))

    @functools.cached_property
    def stacked_index(self) -> tuple[str, int] | None:
        """The index that is an axis, such as `e` of `{e}`, and its side: 0 is theirs, 1 ours."""
        for side, specs in enumerate((self.theirs, self.ours)):
            for axis in (axis for spec in specs for axis in spec):
                if axis.names[0].startswith("{"):
                    return axis.names[0].strip("{}"), side
        return None

    def given_sizes(self, arguments: Mapping[str, Any]) -> str:
        """Return the text with the numbers of `arguments` in place of their names.

        Raises:
            WeightMapError: an argument that gives a size is absent or no size.
        """

        def number(found: re.Match[str]) -> str:
            name, size = found.groups()
            value = int(size) if size.isdigit() else arguments.get(size)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise WeightMapError(
                    f"axis pattern {self.text!r} takes the size of {name!r} from the argument "
                    f"{size}, which is {shown(value)}; it must be a whole number, at least 1"
                )
            return f"{name}={value}"

        return re.sub(r"(\w+)=(\w+)", number, self.text)

    def sizes(self, theirs: Sequence[Shape] | None, ours: Sequence[Shape] | None) -> dict[str, int]:
        """Solve every axis size from the shapes of both sides, or of the one that is known.

        Raises:
            WeightMapError: the shapes disagree, or leave a size open.
        """
        sides = (tuple(map(tuple, side)) if side is not None else None for side in (theirs, ours))
        return dict(_solved(self.text, *sides))

    def load(
        self, arrays: Sequence[np.ndarray], theirs: Sequence[Shape], ours: Sequence[Shape]
    ) -> list[np.ndarray]:
        """Convert their arrays to ours. Results may be views; nothing is copied needlessly."""
        return _convert(arrays, self.theirs, self.ours, self.sizes(theirs, ours))

    def export(
        self, arrays: Sequence[np.ndarray], theirs: Sequence[Shape], ours: Sequence[Shape]
    ) -> list[np.ndarray]:
        """Convert our arrays to theirs: the inverse of `load`."""
        return _convert(arrays, self.ours, self.theirs, self.sizes(theirs, ours))

    def their_shapes(self, sizes: Mapping[str, int]) -> list[Shape]:
        return [tuple(axis.size(sizes) for axis in spec) for spec in self.theirs]

    def our_shapes(self, sizes: Mapping[str, int]) -> list[Shape]:
        return [tuple(axis.size(sizes) for axis in spec) for spec in self.ours]


def _names(spec: Spec) -> list[str]:
    return [name for axis in spec for name in axis.names]


def _fan(spec: Spec) -> int | None:
    """Return the position of the axis of `spec` that the other side's tensors divide, if any."""
    return next((i for i, axis in enumerate(spec) if axis.fan_count), None)


def _pieces(specs: tuple[Spec, ...], count: int) -> list[Spec]:
    """Return the specs after taking a fused or stacked tensor apart into its pieces."""
    if len(specs) != 1:
        return list(specs)
    spec = specs[0]
    at = _fan(spec)
    if at is None:
        return [spec]
    if spec[at].stacked:
        return [spec[:at] + spec[at + 1 :]] * count
    return [(*spec[:at], piece, *spec[at + 1 :]) for piece in spec[at].pieces()]


@functools.lru_cache(maxsize=4096)  # rules of all layers are alike
def _solved(
    text: str, theirs: tuple[Shape, ...] | None, ours: tuple[Shape, ...] | None
) -> Mapping[str, int]:
    pattern = Pattern.parse(text)
    unknown = [name for _, name in pattern.given if not name.isdigit()]
    if unknown:
        raise WeightMapError(f"{text!r} has sizes that are arguments of a model: {unknown}")
    sizes = {"*": pattern.count} | {name: int(size) for name, size in pattern.given}
    equations = []
    if theirs is not None:
        equations += _equations(pattern.theirs, theirs, f"their side of {text!r}")
    if ours is not None:
        equations += _equations(pattern.ours, ours, f"our side of {text!r}")
    known = 0
    while len(sizes) > known:
        known = len(sizes)
        for axis, size in equations:
            _solve(axis, size, sizes)
    open_names = sorted({n for axis, _ in equations for n in axis.names} - sizes.keys())
    if open_names:
        raise WeightMapError(f"{text!r} leaves the sizes of {open_names} open")
    if any(axis.size(sizes) != size for axis, size in equations):
        raise WeightMapError(f"{text!r} does not fit shapes {theirs} and {ours}")
    return sizes


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
        (factor,) = {names for names in axis.factors if unknown[0] in names}
        others = Axis(tuple(names for names in axis.factors if names != factor))
        known = sum(sizes[name] for name in factor if name in sizes)
        sizes[unknown[0]] = (size // max(others.size(sizes), 1) - known) // len(unknown)


def _split(array: np.ndarray, spec: Spec, sizes: Mapping[str, int]) -> list[np.ndarray]:
    """Take one array apart along its fused or stacked axis."""
    at = _fan(spec)
    if at is None:
        return [array]
    if spec[at].stacked:
        return list(np.moveaxis(array, at, 0))
    apart, along = _apart(array, at, spec[at], sizes)
    lanes = [sizes[name] for name in spec[at].factors[along - at]]
    parts = np.split(apart, np.cumsum(lanes)[:-1], along)
    pieces = zip(parts, spec[at].pieces(), strict=True)
    return [part.reshape(_resized(array, at, [axis.size(sizes)])) for part, axis in pieces]


def _apart(
    array: np.ndarray, at: int, axis: Axis, sizes: Mapping[str, int]
) -> tuple[np.ndarray, int]:
    """Return an array with the factors of one axis as axes, and the axis of those that is a sum."""
    return array.reshape(_resized(array, at, axis.factor_sizes(sizes))), at + (axis.joined or 0)


def _resized(array: np.ndarray, at: int, sizes: Sequence[int]) -> list[int]:
    """Return the shape of an array with other sizes in place of one axis."""
    return [*array.shape[:at], *sizes, *array.shape[at + 1 :]]


def _join(parts: list[np.ndarray], spec: Spec, sizes: Mapping[str, int]) -> np.ndarray:
    """Join arrays along a fused or stacked axis: the inverse of `_split`."""
    at = _fan(spec)
    if at is None:
        return parts[0]
    if spec[at].stacked:
        return np.stack(parts, axis=at)
    along = at + (spec[at].joined or 0)
    pieces = zip(parts, spec[at].pieces(), strict=True)
    whole = np.concatenate([_apart(part, at, axis, sizes)[0] for part, axis in pieces], along)
    return whole.reshape([axis.size(sizes) for axis in spec])


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
    return parts if len(target) != 1 else [_join(parts, target[0], sizes)]


def _rearrange(array: np.ndarray, a: Spec, b: Spec, sizes: Mapping[str, int]) -> np.ndarray:
    """Merge, take apart and permute axes from spec `a` to spec `b`."""
    from_names, to_names = _names(a), _names(b)
    array = array.reshape([sizes[name] for name in from_names])
    array = array.transpose([from_names.index(name) for name in to_names])
    return array.reshape([axis.size(sizes) for axis in b])
