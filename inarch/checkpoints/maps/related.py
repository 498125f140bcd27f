"""Entries of a config map that depend on other fields, or on another map."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from inarch.checkpoints.maps.config import ConfigEntry, Field, MustBe
from inarch.errors import ConfigError


@dataclass(frozen=True)
class MustMatch(MustBe):
    """A field that must have the value that others give, or be absent."""

    value: Callable[[Mapping[str, Any]], Any] = dataclasses.field(kw_only=True, compare=False)

    def check(self, config: Mapping[str, Any]) -> None:
        given, meant = config.get(self.theirs), self.value(config)
        if given not in (None, meant):
            raise ConfigError(
                f"config field {self.theirs!r} is {given!r}; only {meant!r}, which goes with the "
                "other fields, is computed here"
            )


@dataclass(frozen=True)
class Fallback(Field):
    """A field that takes after the field `other` where it is absent; ours then is None."""

    other: str = ""

    def read(self, config: Mapping[str, Any]) -> Any:
        value = super().read(config)
        return None if value == config.get(self.other) else value

    def write(self, value: Any, config: Mapping[str, Any]) -> Any:
        return config[self.other] if value is None else value


@dataclass(frozen=True)
class Subset(Field):
    """Some of several `names`, in a list or joined by `|`; ours are joined, in their order."""

    names: tuple[str, ...] = ()

    def read(self, config: Mapping[str, Any]) -> str:
        given = config.get(self.theirs, self.default)
        listed = given or []
        if isinstance(listed, str):
            listed = [name.strip() for name in listed.lower().split("|")]
        if not isinstance(listed, list) or not {*map(str, listed)} <= {*self.names, "none", ""}:
            raise ConfigError(
                f"config field {self.theirs!r} is {given!r}; computed here: any of "
                f"{', '.join(self.names)}"
            )
        return "|".join(name for name in self.names if name in listed) or "none"

    def write(self, value: Any, config: Mapping[str, Any]) -> Any:
        return [] if value == "none" else value


def must_match(theirs: str, value: Callable[[Mapping[str, Any]], Any]) -> MustMatch:
    """A field refused by name where it differs from the `value` that other fields give."""
    return MustMatch(theirs, (), value=value)


def fallback(theirs: str, ours: str, other: str) -> Fallback:
    """A field that is what the field `other` is, unless it says otherwise."""
    return Fallback(theirs, ours, None, other=other)


def subset(theirs: str, ours: str, *names: str) -> Subset:
    """Some of `names`; none of them where the field is absent."""
    return Subset(theirs, ours, None, names=names)


def with_defaults(entries: Iterable[ConfigEntry], **defaults: Any) -> list[ConfigEntry]:
    """The entries of a relative, where the original assumes other values for these fields."""
    return [
        replace(e, default=defaults[e.theirs])
        if isinstance(e, Field) and e.theirs in defaults
        else e
        for e in entries
    ]
