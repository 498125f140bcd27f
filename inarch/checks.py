"""What a caller may get wrong anywhere, each told in one way."""

import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError, InputError, InputTypeError

# How a file begins that Git LFS has in the place of a large one.
POINTER = b"version https://git-lfs.github.com/spec/"


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


def refuse_pointer(path: Path, data: bytes) -> None:
    """Refuse a file that only says where its content is.

    Raises:
        CheckpointFileError: `data`, what is in the file, is a pointer of Git LFS.
    """
    if data.startswith(POINTER):
        raise CheckpointFileError(
            f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
        )


def shown(value: Any) -> str:
    """A value as an error names it, however long it is."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
