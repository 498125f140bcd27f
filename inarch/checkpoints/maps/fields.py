"""Entries of config maps: what a field of their `config.json` is to our constructor.

A field is mapped, fixed to the one value that our graph computes, or declared to have no part in
the numbers. Anything else is refused by name (`config_map`), because a field that is silently
dropped is how a ReLU model ends up computed with GELU. A field within another is written with
dots: `rope_parameters.rope_theta`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.nested import assign, is_in, lookup
from inarch.errors import ConfigError
from inarch.json_fields import REQUIRED
from inarch.validation import shown


@dataclass(frozen=True)
class Field:
    """Field `theirs` of their config that is our argument `ours`.

    Args:
        theirs: the field.
        ours: the argument.
        default: what the reference assumes where it is absent.
        values: translates a choice; the first of several spellings is the one written back.
        least: the smallest whole number that it can be, unless its default is smaller.
        most: the largest number that it can be.
        after: where theirs counts the rows of a table of which the first aren't used, up to and
            including the row that this entry gives; ours counts the rest.
        aliases: other names that transformers takes it under (`attribute_map`): the last one in the
            file wins, over `theirs` too.
        legacy: older names, which are read where none of the others is there.
        nullable: whether it may be null where its default isn't, which is our None.
        switch: field that must be true for it to count; else ours is None, and what the file has
            stays.
        reason: why it is mapped, where the reference's modeling code doesn't read it.
    """

    theirs: str
    ours: str
    default: Any = REQUIRED
    values: Mapping[Any, Any] | None = dataclasses.field(default=None, hash=False)
    least: int = 1
    most: float = math.inf
    after: Mapped | None = None
    aliases: tuple[str, ...] = ()
    legacy: tuple[str, ...] = ()
    nullable: bool = False
    switch: str = ""
    reason: str = ""

    @property
    def known_names(self) -> tuple[str, ...]:
        """The fields that the entry accounts for."""
        return (self.theirs, *self.aliases, *self.legacy)

    @property
    def is_required(self) -> bool:
        """True where a config must have the field."""
        return self.default is REQUIRED

    def names_in(self, config: Mapping[str, Any]) -> list[str]:
        """Return the names that a config has it under; the last one counts."""
        older = [name for name in reversed(self.legacy) if is_in(config, name)]
        own = [self.theirs] if is_in(config, self.theirs) else []
        return older + own + [name for name in config if name in self.aliases]

    def read(self, config: Mapping[str, Any]) -> Any:
        """Return the argument that a config gives.

        Raises:
            ConfigError: the field is absent and has no default, or has an unusable value.
        """
        if self._is_off(config):
            return None
        name = [self.theirs, *self.names_in(config)][-1]
        value = self.convert(lookup(config, name, self.default), name)
        if self.after is None:
            return value
        rows = value - self.after.read(config) - 1
        if rows < 1:
            first = self.after
            cause = (
                repr(first.theirs) if isinstance(first, Field) else f"{first.ours}={first.value}"
            )
            raise ConfigError(
                f"config field {name!r} is {value!r}, of which {cause} leaves no row to be used"
            )
        return rows

    def convert(self, value: Any, name: str) -> Any:
        """Return the argument that a value of the field `name` means."""
        if value is REQUIRED:
            raise ConfigError(f"the config has no {name!r}")
        if self.values is not None:
            try:
                return self.values[value]
            except (KeyError, TypeError):
                known = ", ".join(map(repr, self.values))
                raise ConfigError(
                    f"config field {name!r} is {shown(value)}; computed here: {known}"
                ) from None
        if value is None and self.nullable:
            return None
        if not _fits(value, self.default, self.least, self.most):
            bound = "" if self.most == math.inf else f"; it must be from 0 to {self.most}"
            raise ConfigError(f"config field {name!r} has the unusable value {shown(value)}{bound}")
        return value

    def write(self, value: Any, config: dict[str, Any]) -> None:
        """Write an argument into a config, under each of the names that it has it under.

        Raises:
            ConfigError: no value of the field means the argument.
        """
        if value is None and self._is_off(config):
            return
        if self.after is not None:
            value = value + self.after.read(config) + 1
        for name in self.names_in(config) or [self.theirs]:
            assign(config, name, self.spell(value))

    def _is_off(self, config: Mapping[str, Any]) -> bool:
        return bool(self.switch) and lookup(config, self.switch, False) is not True

    def spell(self, value: Any) -> Any:
        """Return the value of the field that means an argument."""
        if self.values is None:
            return value
        for theirs, ours in self.values.items():
            if ours == value:
                return theirs
        known = ", ".join(sorted({repr(ours) for ours in self.values.values()}))
        raise ConfigError(
            f"{self.ours}={value!r} can't be written as their {self.theirs!r}; known: {known}"
        )


@dataclass(frozen=True)
class Constant:
    """Argument `ours` that is a constant of their code, with no field for it."""

    ours: str
    value: Any

    @property
    def known_names(self) -> tuple[str, ...]:
        return ()

    def read(self, config: Mapping[str, Any]) -> Any:
        """Return the argument, whatever the config is."""
        return self.value

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise ConfigError where the argument has another value, which no config can hold."""
        given = arguments.get(self.ours, self.value)
        if given != self.value:
            raise ConfigError(
                f"{self.ours} is {shown(given)}, which their format has no field for: it is "
                f"{self.value!r} in their code. Save as a .keras file instead"
            )


# Entries that give an argument.
Mapped = Field | Constant


@dataclass(frozen=True)
class MustBe:
    """A field that must have a value of `values` (the first when absent) to be computed here.

    `reason` explains it, where the reference as it is today doesn't read the field.
    """

    theirs: str
    values: tuple[Any, ...]
    reason: str = ""

    @property
    def known_names(self) -> tuple[str, ...]:
        return (self.theirs,)

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Return whether a config has a value that is computed here."""
        value = lookup(config, self.theirs, self.values[0])
        return any(value == allowed and type(value) is type(allowed) for allowed in self.values)

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise ConfigError where a config has another value."""
        value = lookup(config, self.theirs, self.values[0])
        if not self.holds(config):
            raise ConfigError(
                f"config field {self.theirs!r} is {shown(value)}; only "
                f"{' or '.join(map(repr, self.values))} is computed here"
            )


@dataclass(frozen=True)
class MustMatch(MustBe):
    """A field that must have the value that others give, or be absent."""

    value: Callable[[Mapping[str, Any]], Any] = dataclasses.field(kw_only=True, compare=False)

    def holds(self, config: Mapping[str, Any]) -> bool:
        given = lookup(config, self.theirs, None)
        return given is None or given == self.value(config)

    def check(self, config: Mapping[str, Any]) -> None:
        if not self.holds(config):
            given, meant = lookup(config, self.theirs), self.value(config)
            raise ConfigError(
                f"config field {self.theirs!r} is {shown(given)}; only {shown(meant)}, which goes "
                "with the other fields, is computed here"
            )


@dataclass(frozen=True)
class Ignored:
    """Fields that have no part in the numbers, with the reason."""

    theirs: tuple[str, ...]
    reason: str

    @property
    def known_names(self) -> tuple[str, ...]:
        return self.theirs


@dataclass(frozen=True)
class Fallback(Field):
    """A field that takes after others where it is absent or null; ours then is None.

    `other` is a field, or a function of the config. Where `is_count`, ours is never None, but what
    the others give.
    """

    other: str | Callable[[Mapping[str, Any]], Any] = dataclasses.field(kw_only=True, compare=False)
    is_count: bool = False

    def read(self, config: Mapping[str, Any]) -> Any:
        value = super().read(config)
        if self.is_count:
            return self._other(config) if value is None else value
        return None if value == self._other(config) else value

    def write(self, value: Any, config: dict[str, Any]) -> None:
        super().write(self._other(config) if value is None else value, config)

    def _other(self, config: Mapping[str, Any]) -> Any:
        return (
            lookup(config, self.other, None) if isinstance(self.other, str) else self.other(config)
        )


@dataclass(frozen=True)
class Subset(Field):
    """Some of several `names`, in a list or joined by `|`; ours are joined, in their order."""

    names: tuple[str, ...] = ()

    def convert(self, value: Any, name: str) -> str:
        listed = value or []
        if isinstance(listed, str):
            listed = [each.strip() for each in listed.lower().split("|")]
        if not isinstance(listed, list) or not {*map(str, listed)} <= {*self.names, "none", ""}:
            raise ConfigError(
                f"config field {name!r} is {shown(value)}; computed here: any of "
                f"{', '.join(self.names)}"
            )
        return "|".join(each for each in self.names if each in listed) or "none"

    def spell(self, value: Any) -> Any:
        return [] if value == "none" else value


ConfigEntry = Field | Constant | MustBe | Ignored


def _fits(value: Any, default: Any, least: int, most: float) -> bool:
    """Return whether a value is one that a field with this default can have."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if default is None and most == math.inf:
        return value is None or (isinstance(value, int) and value >= least)
    if default is None or isinstance(default, float):
        number = isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most
        return number or (default is None and value is None)
    if default is REQUIRED or isinstance(default, int):
        least = min(least, default) if isinstance(default, int) else least
        return isinstance(value, int) and value >= least
    return isinstance(value, type(default))
