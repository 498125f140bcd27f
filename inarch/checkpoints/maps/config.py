"""Entries of config maps: what a field of their `config.json` is to our constructor.

A field is mapped, fixed to the one value that our graph computes, or declared to have no part
in the numbers. Anything else is refused by name (`config_map`), because a field that is silently
dropped is how a ReLU model ends up computed with GELU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.errors import ConfigError
from inarch.json_fields import REQUIRED


class _Absent:
    """Stands for a field that isn't there, where no value of it is computed."""

    def __repr__(self) -> str:
        return "its absence"


ABSENT = _Absent()


@dataclass(frozen=True)
class Field:
    """Their field `theirs` is our argument `ours`.

    `values` translates a choice; the first of several spellings is the one written back. `least`
    is the smallest whole number it can be, unless its default is smaller, and `most` the largest
    number. Where theirs counts the rows of a table of which the first aren't used, up to and
    including the row that another field `after` names, ours counts the rest. `aliases` are other
    names that transformers takes it under (`attribute_map`): the last one in the file wins, over
    `theirs` too.
    """

    theirs: str
    ours: str
    default: Any = REQUIRED
    values: Mapping[Any, Any] | None = dataclasses.field(default=None, hash=False)
    least: int = 1
    most: float = math.inf
    after: Field | None = None
    aliases: tuple[str, ...] = ()

    def names_in(self, config: Mapping[str, Any]) -> list[str]:
        """The names that a config has it under; the last one counts."""
        own = [self.theirs] if self.theirs in config else []
        return own + [name for name in config if name in self.aliases]

    def read(self, config: Mapping[str, Any]) -> Any:
        name = [self.theirs, *self.names_in(config)][-1]
        value = config.get(name, self.default)
        if value is REQUIRED:
            raise ConfigError(f"the config has no {self.theirs!r}")
        if self.values is not None:
            try:
                return self.values[value]
            except (KeyError, TypeError):
                known = ", ".join(map(repr, self.values))
                raise ConfigError(
                    f"config field {name!r} is {value!r}; computed here: {known}"
                ) from None
        if not _fits(value, self.default, self.least, self.most):
            bound = "" if self.most == math.inf else f"; it must be from 0 to {self.most}"
            raise ConfigError(f"config field {name!r} has the unusable value {value!r}{bound}")
        if self.after is None:
            return value
        rows = value - self.after.read(config) - 1
        if rows < 1:
            raise ConfigError(
                f"config field {name!r} is {value!r}, of which {self.after.theirs!r} "
                "leaves no row to be used"
            )
        return rows

    def write(self, value: Any, config: Mapping[str, Any]) -> Any:
        if self.after is not None:
            return value + self.after.read(config) + 1
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
class MustBe:
    """A field that must have a value of `values` (the default when absent) to be computed here.

    `reason` says why, where the original as it is today doesn't read the field.
    """

    theirs: str
    values: tuple[Any, ...]
    reason: str = ""

    def check(self, config: Mapping[str, Any]) -> None:
        value = config.get(self.theirs, self.values[0])
        if not any(value == allowed and type(value) is type(allowed) for allowed in self.values):
            raise ConfigError(
                f"config field {self.theirs!r} is {value!r}; only "
                f"{' or '.join(map(repr, self.values))} is computed here"
            )


@dataclass(frozen=True)
class Ignored:
    """Fields that have no part in the numbers, with the reason."""

    theirs: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Constant:
    """Our argument `ours` is a constant of their code, of which no field speaks."""

    ours: str
    value: Any

    def read(self, config: Mapping[str, Any]) -> Any:
        return self.value


ConfigEntry = Field | MustBe | Ignored | Constant


def field(
    theirs: str, ours: str, default: Any = REQUIRED, *, aliases: tuple[str, ...] = ()
) -> Field:
    """The value of `theirs` is the argument `ours`; `default` is what the original assumes.

    `aliases` are other names under which transformers takes it.
    """
    return Field(theirs, ours, default, aliases=aliases)


def probability(theirs: str, ours: str, default: float | None) -> Field:
    """A rate of dropout, from 0 to 1."""
    return Field(theirs, ours, default, most=1)


def token_id(theirs: str, ours: str, default: int) -> Field:
    """The id of a token, from 0 on."""
    return Field(theirs, ours, default, least=0)


def table_rows(theirs: str, after: Field, ours: str, default: Any = REQUIRED) -> Field:
    """`theirs` counts the rows of a table, `ours` those after the row that `after` names."""
    return Field(theirs, ours, default, after=after)


def constant(ours: str, value: Any) -> Constant:
    """An argument of ours that is a constant of their code."""
    return Constant(ours, value)


def choice(theirs: str, ours: str, values: Mapping[Any, Any], default: Any = REQUIRED) -> Field:
    """One of several known values, translated by `values` (theirs to ours)."""
    return Field(theirs, ours, default, values)


def must_be(theirs: str, *values: Any, reason: str = "") -> MustBe:
    """A field refused by name unless it has one of `values`; the first is assumed when absent.

    Where the original doesn't read the field, `reason` says why it is refused all the same.
    """
    return MustBe(theirs, values, reason)


def ignored(reason: str, *theirs: str) -> Ignored:
    """Fields that are known and do nothing, with the reason."""
    return Ignored(theirs, reason)


# Their activation names (transformers' ACT2FN) and ours.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "linear",
}


# What some models of transformers can be switched to, or once could, and none of ours computes.
_OTHERS = "models of other types read it"
_OLDER = "versions of transformers before 5 read it"
PLAIN: tuple[MustBe, ...] = (
    must_be("is_decoder", False, reason=_OTHERS),
    must_be("add_cross_attention", False, reason=_OTHERS),
    must_be("position_embedding_type", "absolute", reason=_OLDER),
    must_be("pruned_heads", {}, reason=_OLDER),
)
ENCODER_ONLY: tuple[MustBe, ...] = (
    *PLAIN,
    must_be("is_encoder_decoder", False, reason=_OTHERS),
    must_be("is_causal", None, False, reason=_OTHERS),
)
# Of every table of tokens.
PADDING_ROW = ignored("the padding token's row, which gets no gradient", "pad_token_id")
TEXT_ENCODER: tuple[ConfigEntry, ...] = (*ENCODER_ONLY, PADDING_ROW)


def _fits(value: Any, default: Any, least: int, most: float) -> bool:
    """Whether a value is one that a field with this default can have."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if default is None or isinstance(default, float):
        number = isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most
        return number or (default is None and value is None)
    if default is REQUIRED or isinstance(default, int):
        least = min(least, default) if isinstance(default, int) else least
        return isinstance(value, int) and value >= least
    return isinstance(value, type(default))
