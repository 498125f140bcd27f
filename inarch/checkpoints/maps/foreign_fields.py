"""Fields of other architectures that would change the numbers, were they read here.

A config that has one was probably made by the repository's own code, whatever `model_type` it
names. The list is generated from transformers' source (`inarch.verify.foreign_fields`).
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.checkpoints.maps.fields import ConfigEntry, Constant, Mapped
from inarch.checkpoints.maps.nested import lookup

# Fields of others whose value every model here is computed by, whatever is nothing elsewhere.
COMPUTED_BY = {"scale_attn_weights": True}


@dataclass(frozen=True)
class ForeignFields:
    """List of fields by kind, first words of whole families, and other names of fields."""

    switches: frozenset[str]
    epsilons: frozenset[str]
    families: frozenset[str]
    aliases: Mapping[str, tuple[str, ...]]

    def has(self, name: str) -> bool:
        """Return whether a field is listed, under its name, a longer one or its family's."""
        if name in self.switches or name in self.epsilons:
            return True
        first, _, rest = name.partition("_")
        if rest and first in self.families:
            return True
        # `use_relative_position` is what others call `use_relative_position_bias`.
        return name.count("_") > 1 and any(n.startswith(f"{name}_") for n in self.switches)


@functools.cache
def foreign_fields() -> ForeignFields:
    """Return the list that comes with the package."""
    path = importlib.resources.files("inarch.checkpoints.maps").joinpath("foreign_fields.toml")
    table = tomllib.loads(path.read_text("utf-8"))
    aliases = {name: tuple(usual) for name, usual in table["aliases"].items()}
    return ForeignFields(
        frozenset(table["switch"]), frozenset(table["epsilon"]), frozenset(table["family"]), aliases
    )


def changes_numbers(
    name: str, value: Any, entries: Iterable[ConfigEntry], config: Mapping[str, Any]
) -> bool:
    """Return whether a field that no entry lists would change the numbers of code that reads it.

    One of `COMPUTED_BY` does where it has another value. A listed field doesn't where its value is
    nothing (None, false, 0, empty), or repeats what the model has by another field or a constant:
    its activation, its epsilon, or a field that it is another name of.
    """
    if name in COMPUTED_BY:
        return value is not COMPUTED_BY[name]
    listed = foreign_fields()
    if not listed.has(name) or is_nothing(value):
        return False
    return not any(_repeats(name, value, entry, config) for entry in entries)


def _repeats(name: str, value: Any, entry: ConfigEntry, config: Mapping[str, Any]) -> bool:
    """Return whether a field has the value that the model has by an entry."""
    if not isinstance(entry, Mapped):
        return False
    is_epsilon = name in foreign_fields().epsilons and "epsilon" in entry.ours
    if isinstance(entry, Constant):
        is_same = is_epsilon or (isinstance(value, str) and "activation" in entry.ours)
        other, value = entry.value, ACTIVATIONS.get(value) if isinstance(value, str) else value
    else:
        is_choice = isinstance(value, str) and entry.values is not None
        is_same = is_choice or is_epsilon
        is_same = is_same or entry.theirs in foreign_fields().aliases.get(name, ())
        other = lookup(config, entry.theirs, entry.default)
    return is_same and value == other and type(value) is type(other)


def is_nothing(value: Any) -> bool:
    """Return whether a value is None, false, zero or empty, or holds nothing else."""
    if isinstance(value, Mapping):
        return all(is_nothing(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(is_nothing(v) for v in value)
    return not value
