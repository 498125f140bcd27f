"""What a caller may get wrong anywhere, each told in one way."""

import itertools
import os
import reprlib
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError, InputError, InputTypeError

# How a file begins that Git LFS has in the place of a large one.
POINTER = b"version https://git-lfs.github.com/spec/"
# Of a file that is read whole: JSON, a vocabulary. The largest that are published have 40 MB.
LARGEST = 200_000_000


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise InputError unless the argument `name` is a whole number from `least` up."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {shown(value)}; it must be a whole number, at least {least}")


def check_rate(name: str, value: Any) -> None:
    """Raise InputError unless the argument `name` is a number from 0 to 1."""
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
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


def read_file(path: Path, limit: int = LARGEST) -> bytes:
    """The content of a file that is read whole.

    Args:
        path: the file.
        limit: the most bytes that it may have.

    Raises:
        CheckpointFileError: the file is absent, can't be read, has more bytes, or is a pointer of
            Git LFS.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as e:
        raise CheckpointFileError(f"{path} does not exist") from e
    except (OSError, ValueError) as e:  # a name with a NUL or a lone surrogate is a ValueError
        raise CheckpointFileError(f"{path} can't be read: {getattr(e, 'strerror', 0) or e}") from e
    if len(data) > limit:
        raise CheckpointFileError(
            f"{path} has more than {limit:,} bytes, so it isn't what its name says; fetch it again"
        )
    refuse_pointer(path, data)
    return data


def refuse_pointer(path: Path, data: bytes) -> None:
    """Refuse a file that only says where its content is.

    Raises:
        CheckpointFileError: `data`, what is in the file, is a pointer of Git LFS.
    """
    if data.startswith(POINTER):
        raise CheckpointFileError(
            f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
        )


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
    """A value as an error names it, however long or deep it is."""
    text = _SHOWN.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a reader, who sees from the first few what all are about."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
