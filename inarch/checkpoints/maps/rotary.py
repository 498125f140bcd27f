"""Entries of rotary positions in a config map: their scalings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inarch.checkpoints.maps.config import ignored, must_be
from inarch.checkpoints.maps.fields import ConfigEntry, Field
from inarch.checkpoints.maps.nested import assign, is_in, lookup
from inarch.errors import ConfigError, InputError
from inarch.validation import shown

# The holder of former times, which transformers prefers where a file has both.
OLDER = "rope_scaling"
LENGTH = "original_max_position_embeddings"
# A field of the one type in which a factor that isn't there is the ratio of two lengths.
LONG = "long_factor"
# Fields next to a `rope_type` that other types than "default" read.
_SCALING_FIELDS = (
    "attention_factor", "beta_fast", "beta_slow", "factor", "high_freq_factor", "long_factor",
    "low_freq_factor", "original_max_position_embeddings", "short_factor",
)  # fmt: skip


@dataclass(frozen=True)
class RotaryScaling(Field):
    """The `rope_type` in an object with the fields of that type; ours is a dict, `None` of none.

    The length that a type needs is the model's, where the config doesn't have it; that of the name
    that the model's length has is the model's alone.

    Args:
        theirs: the `rope_type` in the object of today: `rope_parameters.rope_type`. Its name there,
            and the object, are those that are written where a config has none.
        types: by the name of each type that is computed here, the fields that it reads.
        check: raises InputError where a scaling can't be computed.
        length: the entry of the longest sequence.
        spellings: former names of types.
        original: the entry of the length of training, where it stands outside of the holder, which
            may have it too; the reference goes by that outside.
    """

    types: Mapping[str, tuple[str, ...]] = dataclasses.field(kw_only=True, hash=False)
    check: Callable[[Any], None] = dataclasses.field(kw_only=True, compare=False)
    length: Field = dataclasses.field(kw_only=True)
    spellings: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True, hash=False)
    original: Field | None = dataclasses.field(default=None, kw_only=True)

    @property
    def _holder(self) -> str:
        return self.theirs.rpartition(".")[0]

    @property
    def known_names(self) -> tuple[str, ...]:
        fields = {name: None for names in self.types.values() for name in names}
        held = (
            f"{holder}.{name}"
            for holder in (self._holder, OLDER)
            for name in ("rope_type", "type", *fields)
        )
        return (*held, *(() if self.original is None else self.original.known_names))

    def names_in(self, config: Mapping[str, Any]) -> list[str]:
        holders = dict.fromkeys((self._holder, OLDER))
        return [name for name in holders if lookup(config, name, None)]

    def read(self, config: Mapping[str, Any]) -> Any:
        given = self.names_in(config)
        held = [lookup(config, name) for name in given]
        if held[1:] and held[0] != held[1]:
            raise ConfigError(
                f"config fields {given[0]!r} and {given[1]!r} are {shown(held[0])} and "
                f"{shown(held[1])}; remove one of them"
            )
        if not given:
            return None
        holder, found = given[-1], held[-1]
        rope_type = lookup(
            config, f"{holder}.rope_type", lookup(config, f"{holder}.type", "default")
        )
        if rope_type == "default":
            return None
        if isinstance(rope_type, str):
            rope_type = self.spellings.get(rope_type, rope_type)
        if not isinstance(rope_type, str) or rope_type not in self.types:
            raise ConfigError(
                f"config field '{holder}.rope_type' is {shown(rope_type)}; computed here: "
                f"'default', {', '.join(map(repr, self.types))}"
            )
        fields = self.types[rope_type]
        scaling = {"rope_type": rope_type}
        if LENGTH in fields:
            scaling[LENGTH] = self.length.read(config)
        scaling |= {name: found[name] for name in fields if name in found}
        if self.length.theirs in fields:  # whatever the holder has
            scaling[self.length.theirs] = self.length.read(config)
        if self.original is not None and LENGTH in fields:
            scaling[LENGTH] = self.original.read(config)
        if LONG in fields and scaling.get("factor") is None:
            scaling["factor"] = _ratio(self.length.read(config), scaling[LENGTH])
        try:
            self.check(scaling)
        except InputError as e:
            raise ConfigError(f"config field {holder!r}: {e}") from e
        return scaling

    def write(self, value: Any, config: dict[str, Any]) -> None:
        # A file with a base next to where a holder would be is of former times.
        usual = OLDER if is_in(config, "rope_theta") else self._holder
        for holder in self.names_in(config) or [usual]:
            base = lookup(config, f"{holder}.rope_theta", None)
            if value is None and holder == OLDER and base is None:
                config[OLDER] = None
                continue
            written = {} if base is None else {"rope_theta": base}
            type_name = self.theirs.rpartition(".")[2]
            for field, given in (value or {"rope_type": "default"}).items():
                written[type_name if field == "rope_type" else field] = given
            name, length = self.length.theirs, self.length.read(config)
            if (own := written.pop(name, length)) != length:
                raise ConfigError(
                    f"the scaling of rotary positions has {name}={shown(own)}, and the model "
                    f"{shown(length)}; they must be the same"
                )
            assign(config, holder, written)
        if self.original is not None and LENGTH in (value or {}):
            self.original.write(value[LENGTH], config)


def _ratio(length: Any, original: Any) -> Any:
    is_number = isinstance(original, int | float) and original > 0
    return length / original if is_number else None  # which isn't usable, and refused as such


def rotary_scaling(
    ours: str,
    *,
    types: Mapping[str, tuple[str, ...]],
    check: Callable[[Any], None],
    length: Field,
    holder: str = "rope_parameters",
    spellings: Mapping[str, str] | None = None,
    original: Field | None = None,
    type_name: str = "rope_type",
    reason: str = "",
) -> RotaryScaling:
    """Return the entry of the scaling of rotary positions.

    Args:
        ours: the argument, a dict or `None`.
        holder: the field that holds the type and what it reads.
        types: by the name of each type that is computed here, the fields that it reads.
        check: raises InputError where a scaling can't be computed.
        length: the entry of the longest sequence.
        spellings: former names of types, by which a config may have them.
        original: the entry of the length of training, where it stands outside of the holder.
        type_name: the field of the type, as it is written.
        reason: why it is mapped, where the reference's modeling code doesn't read it.
    """
    return RotaryScaling(
        f"{holder}.{type_name}",
        ours,
        None,
        types=types,
        check=check,
        length=length,
        spellings=spellings or {},
        original=original,
        reason=reason,
    )


def unscaled_rotary(holder: str) -> tuple[ConfigEntry, ...]:
    """Return the entries of rotary positions that have no scaling.

    Args:
        holder: the field that holds `rope_type`, such as `rope_parameters`.
    """
    return (
        must_be(f"{holder}.rope_type", "default"),
        ignored(
            *(f"{holder}.{name}" for name in _SCALING_FIELDS),
            reason="settings of other values of rope_type, which are refused",
        ),
    )
