"""The language of config maps: entries by which a `config.json` becomes our arguments, and back.

An entry names their field, then our argument, then the default that the reference assumes; all
else is given by keyword. A field within others is written with dots: `rope_parameters.rope_theta`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from inarch.checkpoints.maps.entries import flatten
from inarch.checkpoints.maps.fields import (
    ConfigEntry,
    Constant,
    Fallback,
    Field,
    Ignored,
    Mapped,
    MustBe,
    MustMatch,
    Subset,
)
from inarch.checkpoints.maps.nested import ABSENT as ABSENT
from inarch.checkpoints.maps.per_layer import EveryNth, FirstLayers, PerLayer, Sizes
from inarch.errors import ConfigError
from inarch.json_fields import REQUIRED


def field(
    theirs: str,
    ours: str,
    default: Any = REQUIRED,
    *,
    aliases: tuple[str, ...] = (),
    legacy: tuple[str, ...] = (),
    nullable: bool = False,
    least: int = 1,
    switch: str = "",
    reason: str = "",
) -> Field:
    """Return the entry of a field whose value is the argument `ours`.

    Args:
        theirs: the field.
        ours: the argument.
        default: what the reference assumes where the field is absent.
        aliases: other names under which transformers takes it; the last one in the file wins.
        legacy: older names, which are read where none of the others is there.
        nullable: whether it may be null where its default isn't; the argument is None then.
        least: the smallest whole number that it can be, unless its default is smaller.
        switch: a field that must be true for it to count; the argument is None otherwise.
        reason: why it is mapped, where the reference's modeling code doesn't read it.
    """
    return Field(
        theirs,
        ours,
        default,
        least=least,
        aliases=aliases,
        legacy=legacy,
        nullable=nullable,
        switch=switch,
        reason=reason,
    )


def probability(
    theirs: str,
    ours: str,
    default: float | None,
    *,
    legacy: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    nullable: bool = False,
) -> Field:
    """Return the entry of a rate of dropout, from 0 to 1; the other arguments are `field`'s."""
    return Field(theirs, ours, default, most=1, legacy=legacy, aliases=aliases, nullable=nullable)


def token_id(theirs: str, ours: str, default: int | None, *, least: int = 0) -> Field:
    """Return the entry of a token's id, from `least` on."""
    return Field(theirs, ours, default, least=least)


def table_rows(theirs: str, ours: str, default: Any = REQUIRED, *, after: Mapped) -> Field:
    """Return the entry of a table's rows, of which ours are those after the row of `after`."""
    return Field(theirs, ours, default, after=after)


def choice(
    theirs: str,
    ours: str,
    default: Any = REQUIRED,
    *,
    values: Mapping[Any, Any],
    legacy: tuple[str, ...] = (),
    reason: str = "",
) -> Field:
    """Return the entry of one of several known values, translated by `values` (theirs to ours).

    For `legacy` and `reason` see `field`.
    """
    return Field(theirs, ours, default, values, legacy=legacy, reason=reason)


def per_layer(
    theirs: str,
    ours: str,
    default: Any = REQUIRED,
    *,
    layers: Field,
    values: Mapping[Any, Any] | None = None,
    older: EveryNth | FirstLayers | None = None,
    may_be_longer: bool = False,
    may_be_one: bool = False,
) -> PerLayer:
    """Return the entry of a list with a value for each layer; ours is a tuple.

    Args:
        theirs: the field.
        ours: the argument.
        default: the value of every layer where the list is absent.
        layers: the entry of the number of layers.
        values: translates each value, theirs to ours.
        older: an older spelling, read where the list is absent.
        may_be_longer: whether there may be values beyond those of the layers.
        may_be_one: whether a single value may stand for the list, which is that of every layer.
    """
    return PerLayer(
        theirs, ours, default, values, layers=layers, older=older, may_be_longer=may_be_longer,
        may_be_one=may_be_one,
    )  # fmt: skip


def sizes(theirs: str, ours: str, default: Any = REQUIRED, *, like: Sizes | None = None) -> Sizes:
    """Return the entry of a list of whole numbers, such as the widths of convolutions.

    Ours is a tuple.

    Args:
        theirs: the field.
        ours: the argument.
        default: what the reference assumes where the field is absent.
        like: the entry of a list that must have as many values.
    """
    return Sizes(theirs, ours, default, like=like)


def every_nth(
    theirs: str | None, first: Any, other: Any, default: int, *, is_last: bool = False
) -> EveryNth:
    """Return an older spelling of a list: layers 0, n, 2n ... have `first`, the others `other`.

    Where `is_last`, they are the layers n - 1, 2n - 1 ...; `theirs` is the field of n, or `None`
    where it is always `default`.
    """
    return EveryNth(theirs, first, other, default, is_last)


def first_layers(theirs: str, first: Any, other: Any, default: int, *, switch: str) -> FirstLayers:
    """Return an older spelling of a list: the first `n` layers have `first`, the others `other`.

    All have `first` where the field `switch` isn't true.
    """
    return FirstLayers(theirs, first, other, default, switch)


def constant(ours: str, value: Any) -> Constant:
    """Return the entry of an argument that is a constant of their code."""
    return Constant(ours, value)


def must_be(theirs: str, *values: Any, reason: str = "") -> MustBe:
    """Return the entry of a field that is refused by name unless it has one of `values`.

    The first is assumed when it is absent. Where the reference doesn't read the field, `reason`
    explains why it is refused all the same.
    """
    return MustBe(theirs, values, reason)


def must_match(
    theirs: str, value: Callable[[Mapping[str, Any]], Any], *, reason: str = ""
) -> MustMatch:
    """Return the entry of a field that must be absent or have the value that others give."""
    return MustMatch(theirs, (), reason, value=value)


def fallback(
    theirs: str,
    ours: str,
    default: Any = None,
    *,
    other: str | Callable[[Mapping[str, Any]], Any],
    is_count: bool = False,
    is_flag: bool = False,
) -> Fallback:
    """Return the entry of a field that takes after others, unless it is given.

    Args:
        theirs: the field.
        ours: the argument, None where the field is what the others make it.
        default: what the reference assumes where the field is absent; null is always allowed.
        other: the field that it is the same as, or a function of the config that gives its value.
        is_count: whether ours is what the others make it, not None, as names of layers count by it.
        is_flag: whether the field is true or false; ours then isn't None either.
    """
    values = {True: True, False: False, None: None} if is_flag else None
    never_none = is_count or is_flag
    return Fallback(
        theirs, ours, default, values=values, other=other, nullable=True, is_count=never_none
    )


def subset(theirs: str, ours: str, *, names: tuple[str, ...]) -> Subset:
    """Return the entry of some of `names`; none of them where the field is absent."""
    return Subset(theirs, ours, None, names=names)


def ignored(*theirs: str, reason: str) -> Ignored:
    """Return the entry of fields that are known and do nothing, with the reason."""
    return Ignored(theirs, reason)


def with_defaults(entries: Iterable[Any], **defaults: Any) -> list[ConfigEntry]:
    """Return the entries of a relative, where the reference assumes other values for fields.

    What an entry reads of other fields has the relative's values too.

    Raises:
        ConfigError: a field that none of the entries maps.
    """
    found = [*flatten(entries)]
    known = {entry.theirs for entry in found if isinstance(entry, Field)}
    if strangers := defaults.keys() - known:
        raise ConfigError(
            f"no entry maps {', '.join(sorted(strangers))}; the entries map "
            f"{', '.join(sorted(known)) or 'no field'}"
        )
    return [_relative(entry, defaults) for entry in found]


def _relative(entry: Any, defaults: Mapping[str, Any]) -> Any:
    """Return an entry with other defaults, of the fields too that it reads besides its own."""
    changes: dict[str, Any] = {}
    for part in dataclasses.fields(entry):
        value = getattr(entry, part.name)
        if isinstance(value, Field):
            changes[part.name] = _relative(value, defaults)
        elif part.name in ("other", "value") and callable(value):
            changes[part.name] = partial(_read_completed, value, defaults)
    if isinstance(entry, Field) and entry.theirs in defaults:
        changes["default"] = defaults[entry.theirs]
    return replace(entry, **changes) if changes else entry


def _read_completed(
    read: Callable[[Mapping[str, Any]], Any],
    defaults: Mapping[str, Any],
    config: Mapping[str, Any],
) -> Any:
    return read({**defaults, **config})


# Their activation names (transformers' ACT2FN) and ours.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_python": "gelu",
    "relu": "relu",
    "relu2": "squared_relu",
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
# What a graph with two stacks reads in transformers' masks; "is_causal" switches that of one stack.
ENCODER_DECODER: tuple[MustBe, ...] = (
    *PLAIN,
    must_be("is_encoder_decoder", True),
    must_be("is_causal", ABSENT),
    must_be("attention_chunk_size", None),
    must_be("kv_sharing_modes", None),
    must_be("layer_types", None),
    must_be("per_layer_config", None),
    must_be("sliding_window", None),
)
# Of every table of tokens.
PADDING_ROW = ignored("pad_token_id", reason="the padding token's row, which gets no gradient")
TEXT_ENCODER: tuple[ConfigEntry, ...] = (*ENCODER_ONLY, PADDING_ROW)
