"""Axes of a pattern, and how they are written."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from inarch.errors import WeightMapError


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor: a product of factors, each a name or a sum of names.

    `a` is one factor, `(a b)` two, `(a + b)` one of two names, and `(a (b + c))` has one of each.
    """

    factors: tuple[tuple[str, ...], ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(name for factor in self.factors for name in factor)

    @property
    def stacked(self) -> bool:
        return self.names[0] == "*" or self.names[0].startswith("{")

    @property
    def joined(self) -> int | None:
        """The position of the factor that is a sum."""
        return next((i for i, names in enumerate(self.factors) if len(names) > 1), None)

    @property
    def fan_count(self) -> int:
        """Number of times that pieces along this axis are separate tensors on the other side."""
        return self.stacked + sum(len(names) > 1 for names in self.factors)

    def size(self, sizes: Mapping[str, int]) -> int:
        return math.prod(self.factor_sizes(sizes))

    def factor_sizes(self, sizes: Mapping[str, int]) -> list[int]:
        return [sum(sizes[name] for name in names) for names in self.factors]

    def pieces(self) -> list[Axis]:
        """Return the axes of the tensors that are joined in this one."""
        at = self.joined
        if at is None:
            return [self]
        before, after = self.factors[:at], self.factors[at + 1 :]
        return [Axis((*before, (name,), *after)) for name in self.factors[at]]


Spec = tuple[Axis, ...]

NAME = r"[a-z][a-z0-9_]*"
_SIZED = rf"{NAME}(?:=\w+)?"
_SUM = rf"\(\s*{_SIZED}(?:\s*\+\s*{_SIZED})+\s*\)"
_FACTOR = rf"(?:{_SIZED}|{_SUM})"
_AXIS = re.compile(
    rf"\*|\{{{NAME}\}}|{_SIZED}"  # an axis that is new on this side, or one by its name
    rf"|{_SUM}"  # joined
    rf"|\(\s*{_FACTOR}(?:\s+{_FACTOR})*\s*\)"  # merged
)


def parse_side(text: str, side: str) -> tuple[Spec, ...]:
    specs = []
    for tensor in side.split(","):
        tokens = re.findall(r"\((?:[^()]|\([^()]*\))*\)|[^\s()]+|[()]", tensor)
        for token in tokens:
            if not _AXIS.fullmatch(token):
                raise WeightMapError(f"axis pattern {text!r}: {token!r} is not an axis")
        specs.append(tuple(map(_parse_axis, tokens)))
    return tuple(specs)


def _parse_axis(token: str) -> Axis:
    token = re.sub(r"=\w+", "", token)
    if re.fullmatch(_SUM, token):
        token = f"({token})"
    inner = token[1:-1] if token.startswith("(") else token
    factors = re.findall(rf"{_SUM}|[^\s()]+", inner)
    return Axis(tuple(tuple(re.findall(r"[\w*{}]+", factor)) for factor in factors))
