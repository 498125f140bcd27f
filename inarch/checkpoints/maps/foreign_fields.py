"""Fields of other architectures that would change the numbers, were they read here.

A config that has one was probably made by code of its own, whatever `model_type` it names. The
list is generated from transformers' source (`inarch.verify.foreign_fields`).
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.fields import ConfigEntry, Field
from inarch.checkpoints.maps.nested import lookup

# Fields of others whose value every model here is computed by, whatever is nothing elsewhere.
COMPUTED_BY = {"scale_attn_weights": True}


@dataclass(frozen=True)
class ForeignFields:
    """The list: fields by kind, first words of whole families, and other names of fields."""

    switches: frozenset[str]
    epsilons: frozenset[str]
    families: frozenset[str]
    aliases: Mapping[str, tuple[str, ...]]

    def has(self, name: str) -> bool:
        """Whether a field is listed, under its name, a longer one or its family's."""
        if name in self.switches or name in self.epsilons:
            return True
        first, _, rest = name.partition("_")
        if rest and first in self.families:
            return True
        # `use_relative_position` is what others call `use_relative_position_bias`.
        return name.count("_") > 1 and any(n.startswith(f"{name}_") for n in self.switches)


@functools.cache
def foreign_fields() -> ForeignFields:
    """The list that comes with the package."""
    path = importlib.resources.files("inarch.checkpoints.maps").joinpath("foreign_fields.toml")
    table = tomllib.loads(path.read_text("utf-8"))
    aliases = {name: tuple(usual) for name, usual in table["aliases"].items()}
    return ForeignFields(
        frozenset(table["switch"]), frozenset(table["epsilon"]), frozenset(table["family"]), aliases
    )


def changes_numbers(
    name: str, value: Any, entries: Iterable[ConfigEntry], config: Mapping[str, Any]
) -> bool:
    """Whether a field that no entry knows would change the numbers of the code that reads it.

    One of `COMPUTED_BY` does where it has another value. A listed field doesn't where its value is
    nothing (None, false, 0, empty), or repeats what the model has by another field: its activation,
    its epsilon, or a field that it is another name of.
    """
    if name in COMPUTED_BY:
        return value is not COMPUTED_BY[name]
    listed = foreign_fields()
    if not listed.has(name) or is_nothing(value):
        return False
    fields = [entry for entry in entries if isinstance(entry, Field)]
    repeated = [
        lookup(config, entry.theirs, entry.default)
        for entry in fields
        if (isinstance(value, str) and entry.values is not None)
        or (name in listed.epsilons and "epsilon" in entry.ours)
        or entry.theirs in listed.aliases.get(name, ())
    ]
    return not any(value == other and type(value) is type(other) for other in repeated)


def is_nothing(value: Any) -> bool:
    """Whether a value is None, false, zero or empty, or holds nothing else."""
    if isinstance(value, Mapping):
        return all(is_nothing(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(is_nothing(v) for v in value)
    return not value
