"""Fields of a config that may be within others: `rope_parameters.rope_theta`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inarch.errors import ConfigError
from inarch.validation import shown


class _Absent:
    """Sentinel for a field that isn't there, where no value of it is computed."""

    def __repr__(self) -> str:
        return "its absence"


ABSENT = _Absent()


def lookup(config: Mapping[str, Any], name: str, default: Any = ABSENT) -> Any:
    """Return the value of a field, which may be one within others.

    Raises:
        ConfigError: a field that should hold others is no object.
    """
    value: Any = config
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if depth and value is None:
            return default
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"config field {'.'.join(parts[:depth])!r} is {shown(value)}; it must be an object "
                f"that has {part!r}, or be absent"
            )
        if part not in value:
            return default
        value = value[part]
    return value


def is_in(config: Mapping[str, Any], name: str) -> bool:
    """Return whether a config has a field, which may be one within others."""
    return lookup(config, name) is not ABSENT


def assign(config: dict[str, Any], name: str, value: Any) -> None:
    """Set a field, which may be one within others; the objects that hold it are copied."""
    first, _, rest = name.partition(".")
    if rest:
        inner = dict(config.get(first) or {})
        assign(inner, rest, value)
        value = inner
    config[first] = value


def without(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a config without the fields of these names, also those within others."""
    kept = dict(config)
    for name in names:
        first, _, rest = name.partition(".")
        if not rest:
            kept.pop(first, None)
        elif isinstance(kept.get(first), Mapping):
            kept[first] = without(kept[first], [rest])
    return kept
