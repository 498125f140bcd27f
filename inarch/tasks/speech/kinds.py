"""What an option takes, and the error where it is given anything else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from inarch.checks import shown
from inarch.errors import InputError, InputTypeError


@dataclass(frozen=True)
class Kind:
    """What an option takes.

    Attributes:
        words: what it is, as the end of "it must be ...".
        types: of its values; a bool is a number only where it is named.
        fits: whether a value of these types will do.
        optional: whether None does, too.
    """

    words: str
    types: tuple[type, ...]
    fits: Callable[[Any], bool] = lambda value: True
    optional: bool = False

    def check(self, name: str, value: Any) -> None:
        """Hold the option `name` to this kind.

        Raises:
            InputTypeError: it is of another type.
            InputError: it is a value that won't do.
        """
        if not self.takes(value):
            error = InputError if self._typed(value) else InputTypeError
            raise error(f"{name} is {shown(value)}; it must be {self.words}")

    def takes(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        absent = value is None and self.optional
        return absent or (self._typed(value) and self.fits(value))

    def _typed(self, value: Any) -> bool:
        is_bool = isinstance(value, bool | np.bool_)
        return isinstance(value, self.types) and (bool in self.types or not is_bool)


def optional(kind: Kind) -> Kind:
    """The same, or None."""
    return replace(kind, words=f"{kind.words}, or None", optional=True)


def one_of(values: Iterable[str]) -> Kind:
    """One of a few words."""
    known = tuple(values)
    return Kind(f"one of {', '.join(known)}", (str,), lambda value: value in known)


def check_fields(owner: Any, kinds: Mapping[str, Kind], name: str = "{}") -> None:
    """Hold fields of `owner` to their kinds; `name` makes an option's name of a field's."""
    for field, kind in kinds.items():
        kind.check(name.format(field), getattr(owner, field))


def _is_clip(value: Any) -> bool:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 2:
        return False
    start, end = value
    return AT_LEAST_0.takes(start) and (end is None or AT_LEAST_0.takes(end))


def token_ids(value: Any, least: int = -1) -> tuple[int, ...] | None:
    """Token ids from a list or from text such as "1,2"; None where it holds anything else."""
    try:
        ids = [int(v) for v in value.split(",") if v.strip()] if isinstance(value, str) else value
    except ValueError:
        return None
    whole = all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids)
    found = tuple(int(i) for i in ids) if whole else (least - 1,)
    return found if min(found, default=least) >= least else None


FLAG = Kind("True or False", (bool, np.bool_))
TEXT = Kind("text", (str,))
WHOLE = Kind("a whole number", (Integral,))
NATURAL = Kind("a whole number, at least 0", (Integral,), lambda value: value >= 0)
COUNT = Kind("a whole number, at least 1", (Integral,), lambda value: value >= 1)
# NaN isn't equal to itself, nor above or below anything.
NUMBER = Kind("a number", (Real,), lambda value: value == value)
AT_LEAST_0 = Kind("a number, at least 0", (Real,), lambda value: 0 <= value < math.inf)
ABOVE_0 = Kind("a number above 0", (Real,), lambda value: 0 < value < math.inf)
SHARE = Kind("a number from 0 to 1", (Real,), lambda value: 0 <= value <= 1)
VAD = Kind("True, False or the path of Silero's ONNX model", (bool, np.bool_, str, os.PathLike))
TOKENS = Kind(
    "a list of token ids, or text of ids with commas between them; -1 stands for the model's own",
    (str, list, tuple, np.ndarray),
    lambda value: token_ids(value) is not None,
)
PREFIX = Kind(
    "text, or a list of token ids",
    (str, list, tuple, np.ndarray),
    lambda value: isinstance(value, str) or token_ids(value, least=0) is not None,
)
CLIPS = Kind(
    "a list of stretches (start, end) in seconds; an end of None is the recording's",
    (list, tuple, np.ndarray),
    lambda value: all(map(_is_clip, value)),
)
