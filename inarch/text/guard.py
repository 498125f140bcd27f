"""What goes into the Rust library is checked here, and what it raises becomes an error of ours."""

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from inarch.checks import shown
from inarch.errors import CheckpointError, InputError, InputTypeError


@contextmanager
def rust_errors(what: str) -> Iterator[None]:
    """Turn an error of the library into a CheckpointError that says `what` failed.

    A panic in Rust arrives as a BaseException, which `except Exception` would let through.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, ImportError):
        raise
    except BaseException as error:
        raise CheckpointError(
            f"{what}: the tokenizers library says {str(error) or type(error).__name__!r}. The file "
            "may be damaged, or made for another version of that library: fetch or save it again."
        ) from error


@cache
def quiet_forks() -> None:
    """Keep a process forked after a parallel batch from warning, or from waiting for lost threads.

    Older versions of the library ask for TOKENIZERS_PARALLELISM to be set before such a fork. It
    is set for the instant of the fork: the child works serially and the parent stays parallel.
    """
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ or not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(
        before=lambda: os.environ.__setitem__(name, "false"),
        after_in_parent=lambda: os.environ.pop(name, None),
    )


def check_text(text: object, place: str) -> None:
    """A string that UTF-8 can write."""
    if not isinstance(text, str):
        hint = "decode it first" if isinstance(text, bytes) else "turn it into text first"
        raise InputTypeError(f"{place} is of type {type(text).__name__}, not a string; {hint}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has a lone surrogate, U+{ord(text[error.start]):04X}, at character "
            f"{error.start}, which no encoding can carry. Read the text with the right encoding, "
            "or replace it: text.encode('utf-8', 'replace').decode()"
        ) from None


def check_batch(texts: object) -> None:
    """Several texts, not one."""
    if isinstance(texts, str | bytes):
        raise InputTypeError(f"texts is one {type(texts).__name__}; give a list of strings.")
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise InputTypeError(f"texts is {shown(texts)}; give a list of strings.")


def batch_entry(entry: object, index: int) -> Any:
    """A text, or a tuple of two, of a batch."""
    if not isinstance(entry, tuple | list):
        check_text(entry, f"texts[{index}]")
        return entry
    if len(entry) != 2:
        raise InputError(f"texts[{index}] has {len(entry)} parts; give a string or a pair of two.")
    for part, text in enumerate(entry):
        check_text(text, f"texts[{index}][{part}]")
    return tuple(entry)


def check_room(rust: Any, max_length: int | None, pair: bool, add_special_tokens: bool) -> None:
    """Truncation must have room for the special tokens, else the library doesn't truncate."""
    needed = rust.num_special_tokens_to_add(pair) if add_special_tokens else 0
    if max_length is not None and max_length < needed:
        kind = "a pair" if pair else "a text"
        raise InputError(
            f"max_length={max_length} has no room for the {needed} special tokens of {kind}; "
            f"give at least {needed}, or add_special_tokens=False."
        )


def checked_ids(ids: Iterable[int], known: Container[int], size: int) -> list[int]:
    """Ids as Python numbers, each one known to a vocabulary of `size` ids."""
    values: Any = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(values, Iterable):
        raise InputTypeError(f"ids is the single value {shown(values)}; give a row of token ids.")
    values = list(values)
    for position, value in enumerate(values):
        if not hasattr(value, "__index__") or isinstance(value, bool):
            raise InputTypeError(
                f"ids[{position}] is of type {type(value).__name__}; token ids are whole numbers "
                "in one row, and decode_batch takes several rows."
            )
        values[position] = value = value.__index__()
        if value not in known:
            raise InputError(
                f"ids[{position}] is {value}, which no token has; the ids run from 0 to {size - 1}."
            )
    return values


def checked_rows(rows: Any) -> Iterable[Any]:
    """Several rows of ids, not one number."""
    if not isinstance(rows, Iterable):
        raise InputTypeError(f"rows is {shown(rows)}; give a list of rows of token ids.")
    return rows
