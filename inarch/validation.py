"""Argument checks shared by all packages: validators of values, and values in errors."""

from __future__ import annotations

import itertools
import math
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

from inarch.errors import InputError, InputTypeError


@dataclass(frozen=True)
class Validator:
    """The values that an option or a field can have.

    Attributes:
        words: description of them, as the end of "it must be ...".
        fits: whether a value of these types will do.
        types: of the values; any where it is None. A bool is a number only where it is named.
        optional: whether None will do, too.
    """

    words: str
    fits: Callable[[Any], bool] = lambda value: True
    types: tuple[type, ...] | None = None
    optional: bool = False

    def check(self, name: str, value: Any) -> None:
        """Check the value of the option `name`.

        Raises:
            InputTypeError: it is of another type.
            InputError: the value isn't allowed.
        """
        if not self.accepts(value):
            error = InputError if self._has_type(value) else InputTypeError
            raise error(f"{name} is {shown(value)}; it must be {self.words}")

    def accepts(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        absent = value is None and self.optional
        return absent or (self._has_type(value) and self.fits(value))

    def _has_type(self, value: Any) -> bool:
        if self.types is None:
            return True
        is_bool = isinstance(value, bool)
        return isinstance(value, self.types) and (bool in self.types or not is_bool)


def optional(validator: Validator) -> Validator:
    """Return a validator that also accepts None."""
    return replace(validator, words=f"{validator.words}, or None", optional=True)


def one_of(values: Iterable[str]) -> Validator:
    """Return a validator that accepts one of several words."""
    known = tuple(values)
    return Validator(f"one of {', '.join(known)}", lambda value: value in known, (str,))


def check_fields(owner: Any, validators: Mapping[str, Validator], name: str = "{}") -> None:
    """Check attributes of `owner`; `name` makes an option's name of an attribute's."""
    for field, validator in validators.items():
        validator.check(name.format(field), getattr(owner, field))


TEXT = Validator("text", types=(str,))
WHOLE = Validator("a whole number", types=(Integral,))
NATURAL = Validator("a whole number, at least 0", lambda value: value >= 0, (Integral,))
COUNT = Validator("a whole number, at least 1", lambda value: value >= 1, (Integral,))
# NaN isn't equal to itself, nor above or below anything.
NUMBER = Validator("a number", lambda value: value == value, (Real,))
AT_LEAST_0 = Validator("a number, at least 0", lambda value: 0 <= value < math.inf, (Real,))
ABOVE_0 = Validator("a number above 0", lambda value: 0 < value < math.inf, (Real,))
SHARE = Validator("a number from 0 to 1", lambda value: 0 <= value <= 1, (Real,))


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise InputError unless the argument `name` is a whole number from `least` up."""
    if type(value) is int and value >= least:  # without a look at the registry of numbers
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {shown(value)}; it must be a whole number, at least {least}")


def check_rate(name: str, value: Any) -> None:
    """Raise InputError unless the argument `name` is a number from 0 to 1."""
    if not SHARE.accepts(value):
        raise InputError(f"{name} is {shown(value)}; it must be a number from 0 to 1")


def check_flag(name: str, value: Any) -> None:
    """Raise InputTypeError unless the argument `name` is True or False."""
    if not isinstance(value, bool):
        raise InputTypeError(f"{name} is {shown(value)}; it must be True or False")


def check_path(name: str, value: Any, way_out: str) -> None:
    """Raise InputTypeError unless the argument `name` is a string or a path."""
    text = value.__fspath__() if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise InputTypeError(f"{name} is {shown(value)}; give {way_out}")


class _Shown(reprlib.Repr):
    """`repr`, of as much of a value as an error shows: quick for whatever a file may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 16
        self.maxstring = self.maxother = self.maxlong = 100

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 200 else f"an integer of {x.bit_length():,} bits"

    def repr_dict(self, x: dict, level: int) -> str:
        if level <= 0 and x:
            return "{...}"
        pairs = (
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in itertools.islice(x.items(), self.maxdict)
        )
        return f"{{{', '.join(pairs)}{', ...' if len(x) > self.maxdict else ''}}}"


_SHOWN = _Shown()


def shown(value: Any) -> str:
    """Return a value as an error names it, however long or deep it is."""
    text = _SHOWN.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shortened(name: str, most: int = 400) -> str:
    """Return a name that a file may hold, in one line however long it is."""
    name = name if len(name) <= most else f"{name[:most]}... ({len(name):,} characters)"
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return the first few of many names, and the number of the others."""
    more = len(names) - most
    return ", ".join(map(shortened, names[:most])) + (f" and {more:,} more" if more > 0 else "")
