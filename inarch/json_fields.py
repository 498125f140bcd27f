"""JSON of files: bounded where it is parsed, and validated where a field of it is read.

A value of a file may be anything until `read_field` has validated it, so that a wrong one ends in
an error that names the file, the field and the value, where it is read.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError, ConfigError, InarchError
from inarch.files import read_file
from inarch.validation import Validator, shown

# No JSON of a checkpoint is nested as deep; Python's own functions fail on much deeper values.
MAX_DEPTH = 100
# Digits. transformers writes 10**30 for "no limit".
MAX_DIGITS = 40
# Of a tensor: the axes that NumPy has, and the numbers of 16 bytes that 63 bits can count.
MAX_AXES, MAX_ELEMENTS = 64, 1 << 59
REQUIRED = object()


def is_text(value: Any) -> bool:
    """Return whether a value is text that UTF-8 can write: without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, which true and false aren't."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_size(value: Any) -> bool:
    """Return whether a value is a size or a place: a whole number from 0 on that 63 bits hold."""
    return is_whole(value) and 0 <= value < 1 << 63


def is_shape(value: Any) -> bool:
    """Return whether a value is a shape that a NumPy array can have, empty axes included."""
    sizes = value if isinstance(value, list | tuple) else [None]
    if len(sizes) > MAX_AXES or not all(map(is_size, sizes)):
        return False
    return math.prod(size for size in sizes if size) <= MAX_ELEMENTS


def is_number(value: Any) -> bool:
    """Return whether a value is a number, neither NaN nor infinite."""
    return (isinstance(value, float) and math.isfinite(value)) or is_whole(value)


FLAG = Validator("true or false", lambda value: isinstance(value, bool))
TEXT = Validator("text", is_text)
INDEX = Validator("a whole number, at least 0", lambda value: is_whole(value) and value >= 0)
COUNT = Validator("a whole number, at least 1", lambda value: is_whole(value) and value >= 1)
NUMBER = Validator("a number", is_number)
OBJECT = Validator("an object, {...}", lambda value: isinstance(value, dict))
LIST = Validator("a list, [...]", lambda value: isinstance(value, list))
TEXTS = Validator(
    "a list of texts", lambda value: isinstance(value, list) and all(map(is_text, value))
)
SHAPE = Validator(f"a list of at most {MAX_AXES} sizes", is_shape)
TEXT_OBJECT = Validator(
    "an object whose values are texts",
    lambda value: isinstance(value, dict) and all(map(is_text, (*value, *value.values()))),
)


def read_field(
    values: Mapping[str, Any],
    name: str,
    validator: Validator,
    default: Any = REQUIRED,
    *,
    where: str | Path,
    error: type[InarchError] = ConfigError,
) -> Any:
    """Return the value of a field, validated.

    Args:
        values: the object that has the field.
        name: the field.
        validator: what it can be.
        default: what is meant where the field is absent or null.
        where: the file, as an error names it.
        error: the class of errors.

    Raises:
        ConfigError, or `error`: the field is absent and has no default, or isn't valid.
    """
    value = values.get(name)
    if value is None and default is not REQUIRED:
        return default
    if name not in values:
        raise error(f"{where} has no {name!r}; it must be {validator.words}")
    if not validator.fits(value):
        raise error(f"{where}: {name!r} is {shown(value)}; it must be {validator.words}")
    return value


def json_text(value: Any) -> str:
    """Return the text of a JSON file, with escapes only where it has what UTF-8 can't write."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text if is_text(text) else json.dumps(value, indent=2) + "\n"


def text_in(data: bytes, where: str | Path, error: type[InarchError] = CheckpointFileError) -> str:
    """Return the text of a JSON file's bytes, which are in one of JSON's encodings.

    Raises:
        CheckpointFileError, or `error`: they aren't.
    """
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as e:
        raise error(f"{where} is not JSON: {e}; it may be truncated: fetch it again") from e


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        CheckpointFileError: the file is absent, can't be read, or holds anything else.
    """
    return object_in(read_file(path), path)


def object_in(
    data: bytes | str, where: str | Path, error: type[InarchError] = CheckpointFileError
) -> dict[str, Any]:
    """Parse the JSON object in `data`; raise `error` naming `where` when it is anything else."""
    value = parse(data, where, error)
    if not isinstance(value, dict):
        raise error(f"{where} holds a JSON {type(value).__name__}, not an object")
    return value


def parse(
    data: bytes | str,
    where: str | Path,
    error: type[InarchError] = CheckpointFileError,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Parse the JSON value in `data`.

    Args:
        data: text, or its bytes.
        where: what an error calls the file.
        error: the class of errors.
        pairs: makes an object of its fields; a `ValueError` of it states what is wrong with them.

    Raises:
        CheckpointFileError, or `error`: it isn't JSON, or has a number or a depth that none of a
            checkpoint has.
    """
    text = text_in(data, where, error) if isinstance(data, bytes) else data
    try:
        value = json.loads(text, parse_int=_whole_number, object_pairs_hook=pairs)
        _check_depth(value)
    except RecursionError as e:
        raise error(f"{where} is not JSON of a checkpoint: it is nested too deep") from e
    except ValueError as e:
        raise error(f"{where} is not JSON: {e}; it may be truncated: fetch it again") from e
    return value


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    # Level by level, for vocabularies of 250,000 lists with as little of Python as it can be.
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = itertools.chain.from_iterable(map(_parts, level))
        level = [part for part in inner if part.__class__ in (dict, list)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> Any:
    if value.__class__ is dict:
        return value.values()
    return value if value.__class__ is list else ()
