"""A layer that a checkpoint needs, and what its evidence is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.port.roles import BY_SHAPE, Recognized


@dataclass(frozen=True)
class Brick:
    """A kind of layer that the checkpoint needs.

    Attributes:
        kind: in words, such as "grouped-query attention".
        layer: the class here, or of Keras; None where none is known: a layer to be written.
        where: the module, with indices in place of numbers.
        evidence: names of tensors and fields that show it.
        is_guess: whether names say nothing, and shapes or a missing tensor alone do.
    """

    kind: str
    layer: str | None
    where: str
    evidence: tuple[str, ...]
    is_guess: bool = False


def field_of(config: Mapping[str, Any], name: str) -> Any:
    """Return a field of the config or of what it nests, `None` without it."""
    nested = [value for value in config.values() if isinstance(value, Mapping)]
    values = (part.get(name) for part in (config, *nested))
    return next((value for value in values if value is not None), None)


def size_of(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Return the first of the fields that is a whole number, `None` without one."""
    values = (field_of(config, name) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool)), None)


def find_module(one: Recognized) -> str:
    """Return the module around a projection."""
    return one.module.rpartition(".")[0] or one.module


def make_brick(
    kind: str, layer: str | None, members: Sequence[Recognized], where: str | None = None
) -> Brick:
    """Return the brick that some tensors show; `where` is the module of the first by default."""
    places = list(dict.fromkeys(one.module for one in members))
    names = tuple(one.pattern.name for one in members)
    guessed = all(one.by == BY_SHAPE for one in members)
    return Brick(kind, layer, places[0] if where is None else where, names, guessed)
